"""Colour conversions of float arrays (no clipping unless stated), and colour maps for depth.

The sRGB transfer curve is that of IEC 61966-2-1. Depth is shown by the Turbo map (Mikhailov 2019), warm near and cold
far.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float32Array


def linear_from_srgb(srgb: NDArray[np.floating]) -> Float32Array:
    """sRGB values in [0, 1], any shape, to linear light; float32."""
    value = np.asarray(srgb, np.float32)
    curve = ((np.maximum(value, 0) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(value <= 0.04045, value / np.float32(12.92), curve).astype(np.float32)


def srgb_from_linear(linear: NDArray[np.floating]) -> Float32Array:
    """Linear light in [0, 1], any shape, to sRGB values; float32."""
    value = np.asarray(linear, np.float32)
    curve = np.float32(1.055) * np.maximum(value, 0) ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(value <= 0.0031308, value * np.float32(12.92), curve).astype(np.float32)


def uint8_from_unit(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[0, 1] to 0..255 with rounding to nearest; values outside are clipped."""
    scaled: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return scaled


def unit_from_uint8(values: NDArray[np.uint8]) -> Float32Array:
    """0..255 to [0, 1]; float32."""
    return values.astype(np.float32) / np.float32(255)


Depth = NDArray[np.floating[Any]]

_LIMIT_PERCENTILES = (2, 98)
_LEAST_RATIO = 1.01


def depth_colours(
    depth: Depth, near: float | None = None, far: float | None = None, valid: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """Depth (H, W) in metres as sRGB (H, W, 3) uint8: near is warm, far is cold, invalid is black.

    Colours are linear in inverse depth, which keeps detail in the foreground. Limits default to those of this map; pass
    them to make the frames of a video comparable.

    Args:
        valid: (H, W) pixels to show; by default the finite positive ones.
    """
    usable = np.isfinite(depth) & (depth > 0)
    if valid is not None:
        usable &= valid
    low, high = depth_limits(depth[usable])
    farthest = 1 / (far or high)
    inverse = 1 / np.where(usable, depth, 1.0)
    pictures = turbo((inverse - farthest) / max(1 / (near or low) - farthest, 1e-12))
    pictures[~usable] = 0
    return pictures


def depth_limits(depth: Depth) -> tuple[float, float]:
    """2nd and 98th percentile of the finite positive values, metres, at least 1 % apart; (1, 2) if there are none."""
    values = depth[np.isfinite(depth) & (depth > 0)]
    if values.size == 0:
        return 1.0, 2.0
    near, far = (float(value) for value in np.percentile(values, _LIMIT_PERCENTILES))
    return near, max(far, near * _LEAST_RATIO)


def turbo(level: Depth) -> NDArray[np.uint8]:
    """The map's colours, (..., 3) uint8 sRGB, for levels (...) from 0 (cold) to 1 (warm), clipped."""
    flat = uint8_from_unit(np.asarray(level)).reshape(1, -1)
    colours = np.asarray(cv2.applyColorMap(flat, cv2.COLORMAP_TURBO))[..., ::-1]
    return np.asarray(colours.reshape((*np.shape(level), 3)), np.uint8).copy()
