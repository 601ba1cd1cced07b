"""SEVA as a view generator: generates anchors first, then the frames between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenewright_stages.backends.novel_views.interface import PathTask, PosedPicture, Progress, check_picture, ignore
from scenewright_stages.backends.novel_views.seva import windows as planning
from scenewright_stages.backends.novel_views.seva.checkpoint import load_network
from scenewright_stages.backends.novel_views.seva.conditioning import REDUCTION, PictureCoder, pluecker
from scenewright_stages.backends.novel_views.seva.sampling import (
    Denoiser,
    PredictNoise,
    Window,
    frame_guidance,
    rotation_angles,
)
from scenewright_stages.backends.runtime.acceleration import NETWORK, begins_eagerly, compile_network, compile_option
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.compile_beside import CompileBeside, network_beside
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array

_SIDE_MULTIPLE = REDUCTION * 8
"""The network halves a latent three times."""


def load_seva(request: LoadRequest) -> SevaViews:
    """SEVA from its three folders of weights: network, autoencoder, CLIP; on a GPU the network is compiled.

    Raises:
        BrokenWeights: a checkpoint does not hold the published network.
    """
    device = request.context.device
    precision = str(request.context.option("precision", "fp16" if device.startswith("cuda") else "fp32"))
    dtype = torch_dtype(precision)
    network, autoencoder, clip = request.folders
    coder = PictureCoder.load(autoencoder, clip, device, dtype)
    module = load_network(network, device, dtype)
    predict: PredictNoise = module
    compiled, beside = compile_option(request.context, NETWORK), None
    if begins_eagerly(request.context, compiled):
        beside = network_beside(module, request.context.cache_dir)
        predict = beside.wrap(module)
    elif compiled == NETWORK:
        compile_network(module, request.context.cache_dir)
    denoiser = Denoiser(predict, device, dtype)
    return SevaViews(denoiser, coder, replace(request.record, precision=precision), device, beside)


class SevaViews:
    """Draws the pictures along a path.

    Args:
        denoiser: wraps the network.
        coder: encodes and decodes images.
        record: of the backend.
        device: where they run.
        beside: compiles the network beside the run.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        coder: PictureCoder,
        record: BackendRecord,
        device: str = "cpu",
        beside: CompileBeside | None = None,
    ) -> None:
        self._models: tuple[Denoiser, PictureCoder] | None = (denoiser, coder)
        self._device = device
        self._record, self._beside = record, beside

    @property
    def record(self) -> BackendRecord:
        """The record, with a note on eager paths."""
        return self._beside.noted(self._record) if self._beside else self._record

    def draw(self, task: PathTask, progress: Progress = ignore) -> list[Float32Array]:
        """See ``ViewGenerator.draw``."""
        if not task.targets:
            return []
        _check_sizes(task)
        if self._models is None:
            raise RuntimeError("seva was released")
        if self._beside:
            self._beside.begin_sample()
        return _Drawing(*self._models, task, self._device, progress).frames()

    def anchors_of(self, targets: int, inputs: int) -> tuple[int, ...]:
        """See ``ViewGenerator.anchors_of``."""
        return planning.anchor_places(targets, inputs)

    def release(self) -> None:
        """Free the models' memory."""
        if self._beside:
            self._beside.release()
        self._models = None
        free_memory()


class _Known:
    """A known image with cached conditioning."""

    def __init__(self, picture: PosedPicture, coder: PictureCoder) -> None:
        self.camera = picture.camera
        self.srgb = picture.srgb
        self._coder = coder
        self._encoded_view: tuple[Tensor, Tensor] | None = None

    def encoded(self) -> tuple[Tensor, Tensor]:
        """Latent and embedding."""
        if self._encoded_view is None:
            self._encoded_view = (self._coder.encode(self.srgb), self._coder.embed(self.srgb))
        return self._encoded_view


class _Drawing:
    """The state of one task."""

    def __init__(
        self, denoiser: Denoiser, coder: PictureCoder, task: PathTask, device: str, progress: Progress
    ) -> None:
        self._denoiser, self._coder, self._task, self._device = denoiser, coder, task, device
        self._progress = progress
        self._generator = torch.Generator().manual_seed(task.seed)
        self._steps = count(1)
        self._all_steps = 1

    def frames(self) -> list[Float32Array]:
        """A picture of each target."""
        task, targets = self._task, self._task.targets
        path = (len(targets), len(task.inputs), task.anchors)
        cameras = [targets[place] for place in planning.anchor_places(*path)]
        first = self._first_windows(cameras)
        between = planning.between_anchors(*path)
        self._all_steps = task.settings.steps * (len(first) + len(between))
        anchors = self._drawn(first, [*task.inputs, *task.memory], cameras, task.settings.guidance)
        if not between:
            return anchors
        known = [PosedPicture(srgb, camera) for srgb, camera in zip(anchors, cameras, strict=True)]
        return self._drawn(between, known, targets, task.settings.guidance_between)

    def _first_windows(self, cameras: Sequence[Camera]) -> list[planning.Window]:
        memory = self._task.memory
        earlier = [*(each.camera for each in memory), *cameras]
        usable = self._task.usable or [True] * len(memory)
        return planning.first_pass(len(self._task.inputs), rotation_angles(earlier, cameras), len(memory), usable)

    def _drawn(
        self, plan: Sequence[planning.Window], given: Sequence[PosedPicture], cameras: Sequence[Camera], guidance: float
    ) -> list[Float32Array]:
        """An image per camera; later windows use the results of earlier ones."""
        known = [_Known(picture, self._coder) for picture in given]
        drawn: dict[int, Float32Array] = {}
        for window in plan:
            latents = self._window(planning.padded(window), known, cameras, guidance)
            for place, latent in zip(window, latents, strict=False):
                if not place.known:
                    drawn[place.number] = check_picture(self._coder.decode(latent))
                    known.append(_Known(PosedPicture(drawn[place.number], cameras[place.number]), self._coder))
        return [drawn[number] for number in range(len(cameras))]

    def _window(
        self, places: planning.Window, known: Sequence[_Known], cameras: Sequence[Camera], guidance: float
    ) -> Tensor:
        settings = self._task.settings
        seen = [known[place.number].camera if place.known else cameras[place.number] for place in places]
        shown = [place.known for place in places]
        encoded = [known[place.number].encoded() for place in places if place.known]
        size = (len(places), *encoded[0][0].shape)
        latents = torch.zeros(size, device=self._device)
        latents[torch.tensor(shown, device=self._device)] = torch.stack([latent for latent, _ in encoded])
        factors = frame_guidance(seen, shown, guidance, settings.guidance_near, settings.translation_scale)
        window = Window(
            latents=latents,
            known=torch.tensor(shown, device=self._device),
            rays=_tensor(pluecker(seen, settings.translation_scale), self._device),
            embedding=torch.stack([embedding for _, embedding in encoded]).mean(0),
            guidance=_tensor(factors, self._device),
        )
        return self._denoiser.sample(window, settings.steps, self._generator, self._stepped)

    def _stepped(self) -> None:
        self._progress(next(self._steps) / self._all_steps)


def _tensor(values: NDArray[np.float64], device: str) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(device)


def _check_sizes(task: PathTask) -> None:
    width, height = task.targets[0].width, task.targets[0].height
    if width % _SIDE_MULTIPLE or height % _SIDE_MULTIPLE:
        raise UnsupportedOption(
            "novel-views.size", f"{width}x{height}", [f"sides that are multiples of {_SIDE_MULTIPLE} pixels"]
        )
    cameras = [*task.targets, *(each.camera for each in (*task.inputs, *task.memory))]
    if any((camera.width, camera.height) != (width, height) for camera in cameras):
        raise ValueError("all pictures and cameras of a task have the same size")
