"""Zero123++ 1.2 (Shi et al. 2023): six fixed views of an object in one image, by a Stable Diffusion 2 model.

The published pipeline is code in the weights' repository, which is never executed; this adapter reimplements it for the
published weights. The model is conditioned on the object in two ways: by reference-only attention to its noised latents
(:mod:`.reference_attention`), and by a CLIP embedding added to the empty prompt, token by token, with the published
ramping coefficients. Latents and pixels are scaled so that the model can generate flat backgrounds; the object is on
mid-grey. All noise, including the reference's, is drawn on the CPU from the seed.
"""

from __future__ import annotations

import importlib
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.object_views.interface import Camera, OnView, on_plain
from scenewright_stages.backends.object_views.reference_attention import attach
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.backends.runtime.tensors import free_memory, resized, torch_dtype
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.vision.types import Float32Array

AZIMUTHS = (30, 90, 150, 210, 270, 330)
ELEVATIONS = (20, -10, 20, -10, 20, -10)
"""Of version 1.2, in the order of the picture: two in each of three rows."""
GREY = 127 / 255
COLUMNS, ROWS = 2, 3
_CLIP_SIDE = 224
"""Default of transformers' processor."""


@dataclass(frozen=True)
class Zero123Settings:
    """How the model runs.

    Attributes:
        steps: denoising steps.
        guidance: classifier-free guidance scale; disabled at 1 or below.
        side: side of one view in pixels.
    """

    steps: int = 75
    guidance: float = 4.0
    side: int = 320


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing for an image encoder, as transformers' ``CLIPImageProcessor`` does it.

    Attributes:
        size: what the picture is resized to: its shorter side, or height and width; None leaves it as it is.
        crop: height and width of the middle that is kept, with black around smaller pictures; None keeps all.
        mean, deviation: of each channel.
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Preprocessing:
        """The published settings of a feature extractor; what they leave out has the library's defaults."""
        stated = json.loads(path.read_text(encoding="utf-8"))
        size, crop = (_stated_size(stated.get(name, _CLIP_SIDE)) for name in ("size", "crop_size"))
        return cls(
            size if stated.get("do_resize", True) else None,
            ((crop, crop) if isinstance(crop, int) else crop) if stated.get("do_center_crop", True) else None,
            tuple(stated["image_mean"]),
            tuple(stated["image_std"]),
        )

    def __call__(self, srgb: Tensor) -> Tensor:
        """(1, 3, h, w) from a (1, 3, H, W) image in [0, 1]."""
        shown = srgb if self.size is None else resized(srgb, *self._resized(*srgb.shape[-2:]), "bicubic").clamp(0, 1)
        shown = shown if self.crop is None else _middle(shown, *self.crop)
        mean, deviation = (shown.new_tensor(values)[None, :, None, None] for values in (self.mean, self.deviation))
        return (shown - mean) / deviation

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if not isinstance(self.size, int):
            return self.size or (height, width)
        short, long = sorted((height, width))
        longer = int(self.size * long / short)
        return (self.size, longer) if height <= width else (longer, self.size)


def _stated_size(stated: Any) -> int | tuple[int, int]:
    """A size as a processor's file states it: a number, ``shortest_edge``, or ``height`` and ``width``."""
    if isinstance(stated, int):
        return stated
    return int(stated["shortest_edge"]) if "shortest_edge" in stated else (int(stated["height"]), int(stated["width"]))


def _middle(images: Tensor, height: int, width: int) -> Tensor:
    """(N, C, height, width) the middle of images, with black around those that are smaller."""
    rows, columns = images.shape[-2:]
    top, left = (rows - height) // 2, (columns - width) // 2
    if min(top, left) >= 0:
        return images[..., top : top + height, left : left + width]
    above, before = max(0, math.ceil((height - rows) / 2)), max(0, math.ceil((width - columns) / 2))
    border = (before, max(0, width - columns) - before, above, max(0, height - rows) - above)
    return _middle(functional.pad(images, border), height, width)


@dataclass(eq=False)
class Zero123Parts:
    """The published networks and numbers.

    Attributes:
        unet, vae, vision_encoder, scheduler: of diffusers and transformers.
        empty_prompt: (1, 77, C) embeddings of the empty prompt.
        ramping: (77,) weight of the image embedding for each token.
        for_vae, for_vision: preprocessing for the two encoders.
    """

    unet: Any
    vae: Any
    vision_encoder: Any
    scheduler: Any
    empty_prompt: Tensor
    ramping: Tensor
    for_vae: Preprocessing
    for_vision: Preprocessing


class Zero123Views:
    """A ``ViewPainter`` that handles one object at a time.

    Args:
        parts: on the device, in one precision.
        settings: how the model runs.
        record: goes into the samples' records.
    """

    def __init__(self, parts: Zero123Parts, settings: Zero123Settings, record: BackendRecord) -> None:
        self._held: Zero123Parts | None = parts
        self._settings = settings
        self._memory = attach(parts.unet)
        self._lock = threading.Lock()
        self.record = record

    def views(
        self, srgb: Float32Array, alpha: Float32Array, cameras: Sequence[Camera], seed: int, on_view: OnView
    ) -> list[Float32Array]:
        """See ``ViewPainter.views``. The background is mid-grey; always generates all six views."""
        wanted = [_number_of(camera) for camera in cameras]
        grey = torch.from_numpy(on_plain(srgb, alpha, GREY)).permute(2, 0, 1)[None]
        with self._lock:
            picture = self._painted(grey, seed)
        if not bool(torch.isfinite(picture).all()):
            raise BackendContractError("zero123 answered values that are not finite")
        on_view(len(wanted))
        side = self._settings.side
        tiles = [
            picture[row * side : (row + 1) * side, column * side : (column + 1) * side]
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
        return [tiles[number].numpy() for number in wanted]

    def release(self) -> None:
        """Free the model's memory."""
        self._held = None
        free_memory()

    @property
    def _parts(self) -> Zero123Parts:
        if self._held is None:
            raise RuntimeError("zero123 was released")
        return self._held

    @torch.no_grad()
    def _painted(self, grey: Tensor, seed: int) -> Tensor:
        """(3 S, 2 S, 3) float32 on the CPU: the six views."""
        parts, generator = self._parts, torch.Generator("cpu").manual_seed(seed % 2**63)
        guided = self._settings.guidance > 1
        prompt = self.prompt_of(grey, guided)
        reference = self.reference_of(grey, guided, generator)
        latents = self._denoised(prompt, reference, generator)
        decoded = parts.vae.decode(unscaled_latents(latents) / parts.vae.config.scaling_factor, return_dict=False)[0]
        picture: Tensor = (unscaled_pixels(decoded.float()) / 2 + 0.5).clamp(0, 1)[0]
        return picture.permute(1, 2, 0).cpu().contiguous()

    def prompt_of(self, grey: Tensor, guided: bool) -> Tensor:
        """(1 or 2, 77, C): with guidance the empty prompt comes first."""
        parts = self._parts
        seen = parts.for_vision(grey).to(parts.unet.device, parts.unet.dtype)
        embedding = parts.vision_encoder(seen).image_embeds[:, None]
        shown = parts.empty_prompt + embedding * parts.ramping[None, :, None]
        return torch.cat([parts.empty_prompt, shown]) if guided else shown

    def reference_of(self, grey: Tensor, guided: bool, generator: torch.Generator) -> Tensor:
        """(1 or 2, 4, h, w) unscaled latents of the object; with guidance, those of plain mid-grey come first."""
        parts = self._parts
        pixels = parts.for_vae(grey)
        shown = [torch.zeros_like(pixels), pixels] if guided else [pixels]
        return torch.cat([self._encoded(each, generator) for each in reversed(shown)][::-1])

    def _encoded(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        parts = self._parts
        spread = parts.vae.encode(pixels.to(parts.vae.device, parts.vae.dtype)).latent_dist
        return spread.mean + spread.std * _noise(spread.mean, generator)  # type: ignore[no-any-return]

    def _denoised(self, prompt: Tensor, reference: Tensor, generator: torch.Generator) -> Tensor:
        """(1, 4, h, w) latents of the six views."""
        parts, settings = self._parts, self._settings
        reduction = 2 ** (len(parts.vae.config.block_out_channels) - 1)
        shape = (1, reference.shape[1], ROWS * settings.side // reduction, COLUMNS * settings.side // reduction)
        parts.scheduler.set_timesteps(settings.steps, device=parts.unet.device)
        latents: Tensor = _noise(prompt.new_empty(shape), generator) * parts.scheduler.init_noise_sigma
        for time in parts.scheduler.timesteps:
            noisy = parts.scheduler.add_noise(reference, _noise(reference, generator), time.reshape(1))
            with self._memory.writing():
                self._predicted(noisy, time, prompt)
            with self._memory.reading():
                predicted = self._predicted(latents.expand(len(prompt), -1, -1, -1), time, prompt)
            if len(prompt) == 2:
                predicted = predicted[:1] + settings.guidance * (predicted[1:] - predicted[:1])
            latents = parts.scheduler.step(predicted, time, latents, generator=generator).prev_sample
        return latents

    def _predicted(self, latents: Tensor, time: Tensor, prompt: Tensor) -> Tensor:
        parts = self._parts
        scaled = parts.scheduler.scale_model_input(latents, time)
        answer: Tensor = parts.unet(scaled, time, encoder_hidden_states=prompt, return_dict=False)[0]
        return answer


def unscaled_latents(latents: Tensor) -> Tensor:
    """Inverts the training scaling of latents, ``(latents - 0.22) * 0.75``."""
    return latents / 0.75 + 0.22


def unscaled_pixels(pixels: Tensor) -> Tensor:
    """Inverts the training scaling of pixels, to 5/8 of [-1, 1]."""
    return pixels / 0.5 * 0.8


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Noise drawn on the CPU, so that it does not depend on the device."""
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def _number_of(camera: Camera) -> int:
    """The index of a camera among the six. Raises UnsupportedOption."""
    for number, (azimuth, elevation) in enumerate(zip(AZIMUTHS, ELEVATIONS, strict=True)):
        if round(camera.azimuth) % 360 == azimuth and round(camera.elevation) == elevation:
            return number
    raise UnsupportedOption("zero123.camera", camera, [f"azimuth {each}" for each in AZIMUTHS])


def load_zero123(request: LoadRequest) -> Zero123Views:
    """Load the published networks from their folder.

    Raises:
        UnsupportedOption: steps below 1, a negative guidance, or half precision on the CPU.
        ConfigurationError: the folder's index has no ramping coefficients.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    option, device = request.context.option, request.context.device
    settings = Zero123Settings(
        int(option("steps", Zero123Settings.steps)), float(option("guidance", Zero123Settings.guidance))
    )
    if settings.steps < 1:
        raise UnsupportedOption("zero123.steps", settings.steps, ["1 and above"])
    if not settings.guidance >= 0:
        raise UnsupportedOption("zero123.guidance", settings.guidance, ["0 and above"])
    precision = str(option("precision", "fp32" if device == "cpu" else "fp16"))
    parts = load_parts(request.folder, device, torch_dtype(precision))
    return Zero123Views(parts, settings, replace(request.record, precision=precision))


def load_parts(folder: Path, device: str, dtype: torch.dtype) -> Zero123Parts:
    """Loads the networks to the device; frees the text encoder after encoding the empty prompt.

    Raises:
        ConfigurationError: the folder's index has no ramping coefficients.
    """
    diffusers, transformers = quiet_diffusers(), importlib.import_module("transformers")

    def network(library: Any, kind: str, part: str) -> Any:
        where = {"local_files_only": True, "use_safetensors": True}
        model = getattr(library, kind).from_pretrained(folder / part, **where, torch_dtype=dtype)
        return model.to(device).eval()

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    ramping = index.get("ramping_coefficients")
    if not ramping:
        raise ConfigurationError("models", folder.name, "its model_index.json has no ramping_coefficients")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = network(transformers, "CLIPTextModel", "text_encoder")
    with torch.no_grad():
        tokens = tokenizer("", padding="max_length", max_length=len(ramping), truncation=True, return_tensors="pt")
        empty = encoder(tokens.input_ids.to(device))[0]
    del encoder
    free_memory()
    scheduler = diffusers.EulerAncestralDiscreteScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    return Zero123Parts(
        unet=network(diffusers, "UNet2DConditionModel", "unet"),
        vae=network(diffusers, "AutoencoderKL", "vae"),
        vision_encoder=network(transformers, "CLIPVisionModelWithProjection", "vision_encoder"),
        # The published examples use trailing timestep spacing.
        scheduler=diffusers.EulerAncestralDiscreteScheduler.from_config(scheduler.config, timestep_spacing="trailing"),
        empty_prompt=empty,
        ramping=torch.tensor(ramping, device=device, dtype=dtype),
        for_vae=Preprocessing.read(folder / "feature_extractor_vae" / "preprocessor_config.json"),
        for_vision=Preprocessing.read(folder / "feature_extractor_clip" / "preprocessor_config.json"),
    )
