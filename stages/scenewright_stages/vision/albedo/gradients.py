"""Colour Retinex in the gradient domain (Land and McCann 1971; Horn 1974; Grosse et al. 2009).

Light changes slowly and keeps the chromaticity, albedo changes at edges. Between neighbouring pixels of the subject
the change of log luminance is taken for light unless the chromaticity jumps or the change is large; the shading is
the smooth field whose differences fit those, by weighted least squares (a Poisson equation with unequal weights).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision import curves
from scenewright_stages.vision.albedo import gradient_kernels
from scenewright_stages.vision.resampling import reduced, reduced_size

Float32Array = NDArray[np.float32]

_GRID = 128
_WHITE_PERCENTILE = 85.0  # that much of the subject is lit less than fully
_STEPS = 120
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class GradientSettings:
    """What counts as an edge of the albedo, between neighbours on a grid of 128 along the longer side.

    Attributes:
        chroma_edge: change of the log chromaticity (root of the squares' sum over the three channels).
        brightness_edge: change of the log luminance.
    """

    chroma_edge: float = 0.08
    brightness_edge: float = 0.30


def shading_from_gradients(srgb: Float32Array, mask: Float32Array, settings: GradientSettings) -> Float32Array:
    """(h, w) float32 shading on a reduced grid, linear; 1 is full light. Outside the subject it continues smoothly.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        mask: (H, W) float32, the subject's matte.
        settings: see :class:`GradientSettings`.
    """
    size, _ = reduced_size(mask.shape, _GRID, least=2)
    small, inside = reduced(srgb, size), reduced(mask, size)
    if inside.max() < 0.5:
        return np.ones(inside.shape, np.float32)
    logs, chroma = gradient_kernels.log_luminance_and_chroma(small, curves.LINEAR_TABLE)
    edges = np.array([settings.chroma_edge, settings.brightness_edge], np.float32)
    weights, wanted = gradient_kernels.differences(logs, chroma, inside, edges)
    log_shading = gradient_kernels.fit(weights, wanted, _STEPS, _TOLERANCE)
    level = np.percentile(log_shading[inside > 0.5], _WHITE_PERCENTILE)
    shading: Float32Array = np.exp(log_shading - np.float32(level)).astype(np.float32)
    return shading
