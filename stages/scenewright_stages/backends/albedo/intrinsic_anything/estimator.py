"""Albedo by IntrinsicAnything: the subject on white at 256 pixels, denoised in 200 steps and upsampled to full size.

Settings follow the authors' single-view inference: DDIM with eta 1, guidance 1 (conditional only), white outside the
subject. Initial latents and noise are drawn on the CPU from the sample's seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.albedo.interface import check_albedo
from scenewright_stages.backends.albedo.intrinsic_anything.checkpoint import (
    CHECKPOINT,
    IntrinsicNetworks,
    networks_of,
    read_checkpoint,
)
from scenewright_stages.backends.runtime.batching import Batcher
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import batch_size, quiet_diffusers
from scenewright_stages.backends.runtime.tensors import (
    Returning,
    device_batch,
    free_memory,
    normalised,
    returning,
    staged,
    torch_dtype,
)
from scenewright_stages.vision.types import Float32Array

SIDE = 256
_CLIP_MEAN, _CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_EDGE_WINDOW, _EDGE_REGULARITY = 4, 1e-3


@dataclass(frozen=True)
class IntrinsicSettings:
    """How the model runs.

    Attributes:
        precision: ``fp16``, ``bf16`` or ``fp32``.
        batch: maximum batch size.
        steps: denoising steps.
        guidance: classifier-free guidance scale; 1 = conditional only.
    """

    precision: str = "fp16"
    batch: int = 8
    steps: int = 200
    guidance: float = 1.0


@dataclass(frozen=True, eq=False)
class _Question:
    image: Tensor
    seed: int


class IntrinsicAnythingAlbedo:
    """An ``AlbedoEstimator`` without shading."""

    def __init__(
        self, networks: IntrinsicNetworks, record: BackendRecord, device: str, settings: IntrinsicSettings
    ) -> None:
        self._networks: IntrinsicNetworks | None = networks
        self._device, self._settings = device, settings
        self.record = replace(record, precision=settings.precision)
        self._ask: Batcher[_Question, Returning] = Batcher(
            self._answer, lambda question: 0, settings.batch if device != "cpu" else 1
        )

    def estimate(
        self, srgb: Float32Array, alpha: Float32Array, seed: int = 0
    ) -> tuple[Float32Array, Float32Array | None]:
        """See ``AlbedoEstimator.estimate``; outside the subject's bounding box it returns the photograph."""
        place = subject_window(alpha)
        if place is None:
            return srgb.copy(), None
        seen, inner = on_white(srgb[place], alpha[place])
        answer = self._ask(_Question(staged(seen, self._device), seed)).array()
        albedo = srgb.copy()
        albedo[place] = at_full_size(srgb[place], seen[inner], answer[inner])
        return check_albedo(albedo, srgb), None

    def release(self) -> None:
        """Free the model's memory."""
        self._ask.close()
        self._networks = None
        free_memory()

    @torch.inference_mode()
    def _answer(self, questions: list[_Question]) -> list[Returning]:
        networks = self._networks
        assert networks is not None, "the batcher is closed before the networks go"
        kind = networks.unet.dtype
        pixels = device_batch([question.image for question in questions], self._device)
        latents = self._denoised(networks, pixels, [question.seed for question in questions])
        scale = float(networks.autoencoder.config.scaling_factor)
        decoded = networks.autoencoder.decode((latents / scale).to(kind), return_dict=False)[0].float()
        return returning((decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous())

    def _denoised(self, networks: IntrinsicNetworks, pixels: Tensor, seeds: list[int]) -> Tensor:
        settings, kind = self._settings, networks.unet.dtype
        # The condition's latents are not scaled, as in training.
        picture = networks.autoencoder.encode((pixels * 2 - 1).to(kind)).latent_dist.mode()
        meaning = networks.picture_encoder(pixel_values=_for_clip(networks, pixels).to(kind)).image_embeds[:, None]
        scheduler = quiet_diffusers().DDIMScheduler(
            1000, 0.00085, 0.012, "scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
        )
        scheduler.set_timesteps(settings.steps, device=self._device)
        generators = [torch.Generator("cpu").manual_seed(seed % 2**63) for seed in seeds]
        latents = self._noise(generators, picture)
        for step in scheduler.timesteps:
            noise = _guided(networks.unet, latents.to(kind), step, picture, meaning, settings.guidance)
            fresh = self._noise(generators, picture)
            latents = scheduler.step(noise.float(), step, latents, eta=1.0, variance_noise=fresh).prev_sample
        return latents

    def _noise(self, generators: list[torch.Generator], like: Tensor) -> Tensor:
        drawn = [torch.randn(tuple(like.shape[1:]), generator=generator) for generator in generators]
        return torch.stack(drawn).to(self._device)


def _guided(unet: Any, latents: Tensor, step: Tensor, picture: Tensor, meaning: Tensor, guidance: float) -> Tensor:
    """The predicted noise, with classifier-free guidance if guidance is above 1."""
    conditioned: Tensor = unet(torch.cat([latents, picture], 1), step, meaning, return_dict=False)[0]
    if guidance == 1:
        return conditioned
    nothing = torch.cat([latents, torch.zeros_like(picture)], 1)
    free: Tensor = unet(nothing, step, torch.zeros_like(meaning), return_dict=False)[0]
    return free + guidance * (conditioned - free)


def _for_clip(networks: IntrinsicNetworks, pixels: Tensor) -> Tensor:
    side = int(networks.picture_encoder.config.image_size)
    fitted = functional.interpolate(pixels, (side, side), mode="bicubic", align_corners=True)
    return normalised(fitted, _CLIP_MEAN, _CLIP_DEVIATION)


def subject_window(alpha: Float32Array) -> tuple[slice, slice] | None:
    """The bounding box of the subject (alpha above a half); None without a subject."""
    left, top, width, height = cv2.boundingRect((alpha > 0.5).view(np.uint8))
    return None if width == 0 else (slice(top, top + height), slice(left, left + width))


def on_white(srgb: Float32Array, alpha: Float32Array) -> tuple[Float32Array, tuple[slice, slice]]:
    """The subject on a white square of 256 pixels, scaled to its longer side, and its position there."""
    height, width = alpha.shape
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = np.where(alpha[..., None] > 0.5, srgb, np.float32(1))
    fitted = cv2.resize(shown, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    inner = (slice(top, top + size[1]), slice(left, left + size[0]))
    square: NDArray[np.float32] = np.ones((SIDE, SIDE, 3), np.float32)
    square[inner] = fitted
    return square, inner


def at_full_size(srgb: Float32Array, seen: Float32Array, answer: Float32Array) -> Float32Array:
    """The model's output (h, w, 3) upsampled to the photograph's size, guided by its edges."""
    from scenewright_stages.vision.imaging.matting.guided import enlarged_by_guide

    channels = [
        enlarged_by_guide(srgb, seen, np.ascontiguousarray(answer[..., channel]), _EDGE_WINDOW, _EDGE_REGULARITY)
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


def load_intrinsic_anything(request: LoadRequest) -> IntrinsicAnythingAlbedo:
    """Load the published checkpoint from the copy of its Space.

    Raises:
        UnsupportedOption: steps, batch or guidance is below 1.
        BrokenWeights: the checkpoint contains more than tensors, or the wrong ones.
    """
    option = request.context.option
    on_cpu = request.context.device == "cpu"
    settings = IntrinsicSettings(
        str(option("precision", "fp32" if on_cpu else "fp16")),
        batch_size(request, 8),
        int(option("steps", 200)),
        float(option("guidance", 1.0)),
    )
    if settings.steps < 1 or settings.guidance < 1:
        values = (settings.steps, settings.guidance)
        raise UnsupportedOption("intrinsic-anything.steps, guidance", values, ["1 and above"])
    path = request.folder / CHECKPOINT
    networks = networks_of(read_checkpoint(path), path)
    kind = torch_dtype(settings.precision)
    placed = IntrinsicNetworks(*(part.to(request.context.device, kind) for part in vars(networks).values()))
    return IntrinsicAnythingAlbedo(placed, request.record, request.context.device, settings)
