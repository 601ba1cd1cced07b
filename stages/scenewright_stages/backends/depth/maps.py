"""Shared by the depth models from transformers: image preprocessing, map resizing, and intrinsics."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.depth.interface import DepthEstimate
from scenewright_stages.vision.types import Float32Array

# A wider pinhole image is useless, and a narrower one has no perspective.
_FIELD_OF_VIEW_LIMITS = (1.0, 170.0)


def image_batch(
    srgb: Float32Array, mean: tuple[float, ...], deviation: tuple[float, ...], device: str, dtype: torch.dtype
) -> Tensor:
    """(1, 3, H, W) normalised image on the device; the arithmetic is done in float32 before the conversion."""
    image = torch.from_numpy(np.ascontiguousarray(srgb)).permute(2, 0, 1)[None]
    normalised = (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(deviation).view(1, 3, 1, 1)
    return normalised.to(device, dtype)


def resized_map(values: Tensor, height: int, width: int, align_corners: bool = False) -> Float32Array:
    """(H, W) float32 array from a (1, h, w) tensor, resampled bilinearly."""
    resized = functional.interpolate(
        values.float()[:, None], (height, width), mode="bilinear", align_corners=align_corners
    )
    result: Float32Array = resized[0, 0].cpu().numpy()
    return result


def field_of_view_intrinsics(degrees: float, width: int, height: int) -> NDArray[np.float64]:
    """(3, 3) intrinsics in pixels from the horizontal field of view; square pixels, central principal point.

    Raises:
        ValueError: the angle is not between 1 and 170 degrees.
    """
    low, high = _FIELD_OF_VIEW_LIMITS
    if not low <= degrees <= high:
        raise ValueError(f"a field of view of {degrees} degrees is not between {low:g} and {high:g}")
    focal = 0.5 * width / np.tan(np.radians(degrees) / 2)
    return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def estimate_of(
    depth: Float32Array, intrinsics: NDArray[np.float64] | None, is_metric: bool, notes: tuple[str, ...]
) -> DepthEstimate:
    """An estimate from a model without confidence: 1 where the depth is valid, else 0 and infinite depth."""
    valid = np.isfinite(depth) & (depth > 0)
    return DepthEstimate(
        depth=np.where(valid, depth, np.float32(np.inf)).astype(np.float32),
        confidence=valid.astype(np.float32),
        intrinsics=intrinsics,
        is_metric=is_metric,
        notes=notes,
    )
