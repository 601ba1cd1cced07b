"""Colour space conversions on float arrays; no clipping unless said.

The sRGB transfer curve is that of IEC 61966-2-1, the luminance weights are those of ITU-R BT.709.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

LUMINANCE_WEIGHTS = (0.2126, 0.7152, 0.0722)


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


def luminance_from_linear(linear: NDArray[np.floating]) -> Float32Array:
    """(..., 3) linear RGB to (...) relative luminance; float32."""
    return np.asarray(linear, np.float32) @ np.array(LUMINANCE_WEIGHTS, np.float32)


def uint8_from_unit(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[0, 1] to 0..255 with rounding to nearest; values outside are clipped."""
    scaled: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return scaled


def unit_from_uint8(values: NDArray[np.uint8]) -> Float32Array:
    """0..255 to [0, 1]; float32."""
    return values.astype(np.float32) / np.float32(255)
