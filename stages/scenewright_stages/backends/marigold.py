"""Marigold (Ke et al. 2024, 2025) from diffusers: albedo by intrinsic image decomposition, and surface normals.

All noise of this latent diffusion model (initial latents, and the LCM weights' noise at each step) is drawn on the CPU
from the sample's seed, so it depends neither on the device nor on other images in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scenewright_stages.backends.albedo.interface import check_albedo
from scenewright_stages.backends.normals.interface import check_normals
from scenewright_stages.backends.runtime.batching import Batcher
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BrokenWeights, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import batch_size, quiet_diffusers
from scenewright_stages.backends.runtime.tensors import (
    Returning,
    device_batch,
    free_memory,
    returning,
    staged,
    torch_dtype,
)
from scenewright_stages.vision.types import Float32Array

# Marigold's camera looks along -z with y up (diffusers' docs); this project's looks along z with y down.
_CAMERA_FROM_MARIGOLD = (1.0, -1.0, -1.0)

_FULL_LIGHT = 85.0  # percentile of the shading that counts as full light, as for the classic albedo
_DARK = 0.01


@dataclass(frozen=True)
class MarigoldSettings:
    """How the model runs.

    Attributes:
        precision: ``bf16``, ``fp16`` or ``fp32``.
        batch: maximum batch size.
        steps: denoising steps; None: the weights' default.
        resolution: longer side for processing, pixels; None: the weights' default, 0: the image's own size.
    """

    precision: str = "fp16"
    batch: int = 8
    steps: int | None = None
    resolution: int | None = None

    @classmethod
    def from_request(cls, request: LoadRequest) -> MarigoldSettings:
        """The backend's options. Raises UnsupportedOption for a batch or steps below 1 or an odd resolution."""
        option = request.context.option
        steps, resolution = option("steps", None), option("resolution", None)
        if steps is not None and int(steps) < 1:
            raise UnsupportedOption(f"{request.facts.name}.steps", steps, ["1 and above"])
        if resolution is not None and (int(resolution) < 0 or int(resolution) % 8):
            raise UnsupportedOption(f"{request.facts.name}.resolution", resolution, ["multiples of 8"])
        precision = str(option("precision", "fp32" if request.context.device == "cpu" else "fp16"))
        return cls(
            precision,
            batch_size(request, 8),
            None if steps is None else int(steps),
            None if resolution is None else int(resolution),
        )


@dataclass(frozen=True)
class _Question:
    image: Tensor
    seed: int


class MarigoldModel:
    """A Marigold pipeline with batching, for one of its prediction targets."""

    def __init__(
        self, pipeline: Any, record: BackendRecord, device: str, settings: MarigoldSettings, target: int = 0
    ) -> None:
        self._held: Any = pipeline
        self._device, self._settings, self._target = device, settings, target
        self.record = replace(record, precision=settings.precision)
        self._ask: Batcher[_Question, Returning] = Batcher(
            self._answer, lambda question: tuple(question.image.shape), settings.batch if device != "cpu" else 1
        )
        pipeline.set_progress_bar_config(disable=True)

    def predict(self, srgb: Float32Array, seed: int) -> Float32Array:
        """(H, W, 3) float32 values of the target at the image's size."""
        return self._ask(_Question(staged(srgb, self._device), seed)).array()

    def release(self) -> None:
        """Frees the model's memory."""
        self._ask.close()
        self._held = None
        free_memory()

    @torch.inference_mode()
    def _answer(self, questions: list[_Question]) -> list[Returning]:
        pipeline, settings = self._held, self._settings
        images = device_batch([question.image for question in questions], self._device)
        resolution = settings.resolution
        if resolution is None:
            resolution = int(pipeline.default_processing_resolution)
        generators = [torch.Generator("cpu").manual_seed(question.seed % 2**63) for question in questions]
        prediction = pipeline(
            images.contiguous(),
            num_inference_steps=settings.steps,
            processing_resolution=resolution,
            match_input_resolution=True,
            batch_size=len(questions),
            generator=generators,
            output_type="pt",
            return_dict=False,
        )[0]
        targets = prediction.reshape(len(questions), -1, *prediction.shape[1:])[:, self._target]
        return returning(targets.float().permute(0, 2, 3, 1).contiguous())


def scale_of(albedo_linear: Float32Array, image_linear: Float32Array, alpha: Float32Array) -> float:
    """The scale of an albedo of unknown scale, such that the subject's brightest shading is full light.

    Args:
        albedo_linear, image_linear: (H, W, 3) float32 linear.
        alpha: (H, W) float32, the subject's matte.
    """
    inside = (alpha > 0.5) & (albedo_linear.mean(axis=2) > _DARK)
    if not inside.any():
        return 1.0
    shading = image_linear[inside].mean(axis=1) / albedo_linear[inside].mean(axis=1)
    return float(np.percentile(shading, _FULL_LIGHT))


class MarigoldAlbedo(MarigoldModel):
    """An ``AlbedoEstimator`` without shading, which only one of the models predicts."""

    def __init__(self, pipeline: Any, record: BackendRecord, device: str, settings: MarigoldSettings) -> None:
        properties = dict(pipeline.target_properties or {})
        names = list(properties.get("target_names", []))
        if "albedo" not in names:
            raise BrokenWeights(record.weights_id, "model_index.json", f"it predicts {names}, no albedo")
        super().__init__(pipeline, record, device, settings, names.index("albedo"))
        about = properties.get("albedo", {})
        self._is_linear = about.get("prediction_space", "srgb") == "linear"
        self._is_up_to_scale = bool(about.get("up_to_scale", False))

    def estimate(
        self, srgb: Float32Array, alpha: Float32Array, seed: int = 0
    ) -> tuple[Float32Array, Float32Array | None]:
        """See ``AlbedoEstimator.estimate``."""
        from scenewright_stages.vision.imaging.colour import linear_from_srgb, srgb_from_linear

        values = self.predict(srgb, seed)
        linear = values if self._is_linear else linear_from_srgb(values)
        if self._is_up_to_scale:
            linear = linear * scale_of(linear, linear_from_srgb(srgb), alpha)
        elif not self._is_linear:
            return check_albedo(values, srgb), None
        return check_albedo(srgb_from_linear(np.clip(linear, 0, 1)), srgb), None


class MarigoldNormals(MarigoldModel):
    """A ``NormalEstimator``."""

    def estimate(self, srgb: Float32Array, alpha: Float32Array) -> Float32Array:
        """See ``NormalEstimator.estimate``; the first latents are those of seed 0."""
        return check_normals(self.predict(srgb, 0) * np.array(_CAMERA_FROM_MARIGOLD, np.float32), srgb)


def load_marigold_albedo(request: LoadRequest) -> MarigoldAlbedo:
    """Load the published pipeline from its folder. Raises BrokenWeights if it predicts no albedo."""
    settings = MarigoldSettings.from_request(request)
    pipeline = _load_pipeline("MarigoldIntrinsicsPipeline", request, settings)
    return MarigoldAlbedo(pipeline, request.record, request.context.device, settings)


def load_marigold_normals(request: LoadRequest) -> MarigoldNormals:
    """Load the published pipeline from its folder."""
    settings = MarigoldSettings.from_request(request)
    pipeline = _load_pipeline("MarigoldNormalsPipeline", request, settings)
    return MarigoldNormals(pipeline, request.record, request.context.device, settings)


def _load_pipeline(class_name: str, request: LoadRequest, settings: MarigoldSettings) -> Any:
    pipeline = getattr(quiet_diffusers(), class_name).from_pretrained(
        request.folder, dtype=torch_dtype(settings.precision), local_files_only=True, use_safetensors=True
    )
    return pipeline.to(request.context.device)
