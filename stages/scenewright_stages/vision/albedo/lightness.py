"""Albedo by dividing the lightness by its own smooth part: the relighting seed's simple fallback.

The smooth part is a bilateral filter of CIE Lab's lightness (9 pixels, 75 of 255 in value and 75 pixels in space, as
relightingDataGen has it). It is taken on a reduced copy, as on a large photograph nine pixels would see nothing of
the light.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

_REDUCED_SIDE = 256
_DIAMETER, _SIGMA_VALUE, _SIGMA_SPACE = 9, 75.0, 75.0
_DARKEST = 5.0  # of 100: keeps black from being torn up


def lightness_albedo(srgb: Float32Array) -> Float32Array:
    """(H, W, 3) float32 sRGB values in [0, 1] with the lightness levelled; the mean lightness and hue stay."""
    height, width = srgb.shape[:2]
    scale = min(1.0, _REDUCED_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    lab = cv2.cvtColor(srgb, cv2.COLOR_RGB2LAB)
    small = cv2.resize(lab[..., 0], size, interpolation=cv2.INTER_AREA)
    smooth = cv2.bilateralFilter(small, _DIAMETER, _SIGMA_VALUE * 100 / 255, _SIGMA_SPACE)
    light = np.maximum(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), _DARKEST)
    gain = np.float32(small.mean()) / light
    lab[..., 0] = np.minimum(lab[..., 0] * gain, 100)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
