"""Conditioning of SEVA's network: image latents, CLIP embeddings of known frames, and the rays of every camera."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.runtime.pretrained import quiet_diffusers
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array

LATENT_SCALE = 0.18215
REDUCTION = 8
"""Pixels of a side for each latent pixel."""
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def pluecker(cameras: Sequence[Camera], translation_scale: float = 1.0) -> NDArray[np.float64]:
    """(T, 6, h, w) Plücker coordinates (direction and moment) of each latent pixel's ray, in the first camera's frame.

    Args:
        cameras: of the frames, of one size in pixels.
        translation_scale: factor of the distances between them.
    """
    width, height = (side // REDUCTION for side in (cameras[0].width, cameras[0].height))
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    first = cameras[0].camera_from_world
    found = []
    for camera in cameras:
        relative = first @ camera.world_from_camera
        directions = pixels @ np.linalg.inv(camera.scaled(width, height).intrinsics).T @ relative[:3, :3].T
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        moments = np.cross(relative[:3, 3] * translation_scale, directions)
        found.append(np.concatenate([directions, moments], axis=-1).transpose(2, 0, 1))
    return np.stack(found)


class PictureCoder:
    """The image autoencoder and CLIP's picture encoder.

    Args:
        autoencoder: of diffusers.
        clip: of transformers, with its projection.
        device: where both are.
        dtype: of their weights.
    """

    def __init__(self, autoencoder: Any, clip: Any, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self._autoencoder, self._clip = autoencoder.eval(), clip.eval()
        self._device, self._dtype = device, dtype

    @classmethod
    def load(cls, autoencoder: Path, clip: Path, device: str, dtype: torch.dtype) -> PictureCoder:
        """Both from their folders of weights."""
        transformers: Any = importlib.import_module("transformers")
        options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
        loaded = quiet_diffusers().AutoencoderKL.from_pretrained(
            autoencoder, subfolder="vae", torch_dtype=dtype, **options
        )
        config = transformers.CLIPConfig.from_pretrained(clip, local_files_only=True)
        # The published config gives the width for both encoders; the image encoder's part has another default.
        config.vision_config.projection_dim = config.projection_dim
        encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(
            clip, config=config.vision_config, dtype=dtype, **options
        )
        return cls(loaded.to(device), encoder.to(device), device, dtype)

    @torch.no_grad()
    def encode(self, srgb: Float32Array) -> Tensor:
        """(4, H / 8, W / 8) float32 latent of an image: the mean, without sampling."""
        found = self._autoencoder.encode(self._picture(srgb).to(self._dtype)).latent_dist.mean
        latent: Tensor = found[0].float() * LATENT_SCALE
        return latent

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Float32Array:
        """(H, W, 3) float32 picture of a latent, not clipped."""
        values = self._autoencoder.decode((latent[None] / LATENT_SCALE).to(self._dtype)).sample[0].float()
        picture: Float32Array = ((values + 1) / 2).permute(1, 2, 0).cpu().numpy()
        return picture

    @torch.no_grad()
    def embed(self, srgb: Float32Array) -> Tensor:
        """(C,) float32 embedding of a picture."""
        side = int(self._clip.config.image_size)
        small = (clip_resized(self._picture(srgb), side) + 1) / 2
        statistics = (torch.tensor(each, device=self._device)[:, None, None] for each in (_CLIP_MEAN, _CLIP_DEVIATION))
        mean, deviation = statistics
        found: Tensor = self._clip(pixel_values=((small - mean) / deviation).to(self._dtype)).image_embeds[0].float()
        return found

    def _picture(self, srgb: Float32Array) -> Tensor:
        """(1, 3, H, W) in [-1, 1]."""
        planes = torch.from_numpy(np.ascontiguousarray(srgb.transpose(2, 0, 1), np.float32))
        return planes[None].to(self._device) * 2 - 1


def clip_resized(pictures: Tensor, side: int) -> Tensor:
    """(N, C, side, side): antialiasing blur when shrinking, then bicubic with aligned corners.

    This is how images were resized in training.
    """
    factors = [size / side for size in pictures.shape[-2:]]
    if max(factors) > 1:
        for axis, factor in zip((-2, -1), factors, strict=True):
            pictures = _blurred(pictures, max((factor - 1) / 2, 0.001), axis)
    return functional.interpolate(pictures, (side, side), mode="bicubic", align_corners=True)


def _blurred(pictures: Tensor, deviation: float, axis: int) -> Tensor:
    """A Gaussian along one axis, four deviations wide and mirrored at the border."""
    reach = int(max(4 * deviation, 3)) // 2
    steps = torch.arange(-reach, reach + 1, dtype=pictures.dtype, device=pictures.device)
    kernel = torch.exp(-(steps**2) / (2 * deviation**2))
    kernel = (kernel / kernel.sum())[:, None] if axis == -2 else (kernel / kernel.sum())[None]
    border = (0, 0, reach, reach) if axis == -2 else (reach, reach, 0, 0)
    channels = pictures.shape[1]
    wide = functional.pad(pictures, border, mode="reflect")
    return functional.conv2d(wide, kernel.expand(channels, 1, *kernel.shape), groups=channels)
