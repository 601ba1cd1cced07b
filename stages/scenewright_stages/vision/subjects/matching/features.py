"""Dense image features that are invariant to lighting: edge directions and relative colours.

Both are computed from log colours, where a change of light is only an offset. The search and the fine alignment compare
images by these features; a feature cell covers a few pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.vision.types import Float32Array

ORIENTATIONS = 8
_DARK = 0.06
"""Added to sRGB values before the logarithm: the noise of dark places is no edge."""
_FAINT = 0.05
"""Strength of edges that count half."""
_NEIGHBOURHOOD = 2.5
"""Cells over which edges are compared with each other."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of an image on a grid.

    Attributes:
        edges: (h, w, 8) float32, strength of each direction minus the mean; norm at most about 1.
        colours: (h, w, 3) float32, logarithms of the mean sRGB values.
    """

    edges: Float32Array
    colours: Float32Array


def features_of(srgb: Float32Array, cell: int) -> Features:
    """The features of an image whose sides are multiples of `cell` pixels.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        cell: side of a cell in pixels.
    """
    logs = np.log(np.maximum(srgb, 0) + np.float32(_DARK))
    size = (srgb.shape[1] // cell, srgb.shape[0] // cell)
    colours = cv2.resize(logs, size, interpolation=cv2.INTER_AREA)
    return Features(_edges(cv2.GaussianBlur(logs.mean(axis=2), (0, 0), 0.8), cell, size), colours.astype(np.float32))


def _edges(logs: Float32Array, cell: int, size: tuple[int, int]) -> Float32Array:
    across = cv2.Scharr(logs, cv2.CV_32F, 1, 0, scale=1 / 32)
    down = cv2.Scharr(logs, cv2.CV_32F, 0, 1, scale=1 / 32)
    strength = cv2.magnitude(across, down)
    place = (np.arctan2(down, across) * np.float32(ORIENTATIONS / np.pi)) % np.float32(ORIENTATIONS)
    found = np.empty((size[1], size[0], ORIENTATIONS), np.float32)
    for number in range(ORIENTATIONS):
        apart = np.abs(place - number)
        share = np.maximum(0, 1 - np.minimum(apart, ORIENTATIONS - apart))
        blurred = cv2.GaussianBlur(strength * share, (0, 0), cell / 2)
        found[..., number] = cv2.resize(blurred, size, interpolation=cv2.INTER_AREA)
    energy = cv2.GaussianBlur(np.einsum("hwc,hwc->hw", found, found), (0, 0), _NEIGHBOURHOOD)
    found /= np.sqrt(energy + np.float32(_FAINT**2))[..., None]
    return np.asarray(found - found.mean(axis=2, keepdims=True), np.float32)
