"""Finds the light gain that gives a surface the desired brightness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.relight.shading.lights import Light
from scenewright_stages.relight.shading.surfaces import GLARE, shade
from scenewright_stages.vision.types import Float32Array

GAINS = (0.02, 16.0)
"""Least and greatest: what is black stays dark, and what is white stays white, in whatever light."""
LUMINANCE = np.array((0.2126, 0.7152, 0.0722), np.float32)
"""Weights of linear red, green and blue (ITU-R BT.709)."""
_HALVINGS = 24
_UNCLIPPED = 1e9


def mean_luminance(linear: Float32Array, inside: NDArray[np.bool_]) -> float:
    """Mean luminance of (H, W, 3) linear values inside the (H, W) mask; 0 for an empty mask."""
    return float((linear[inside] @ LUMINANCE).mean()) if inside.any() else 0.0


def gain_for(
    luminance: float,
    albedo_linear: Float32Array,
    normals: Float32Array,
    inside: NDArray[np.bool_],
    light: Light,
    shadow: Float32Array | None = None,
) -> float:
    """The gain at which a light gives the surface that mean luminance; brighter pixels than white are as in `shade`.

    Args:
        luminance: target, linear.
        albedo_linear: (H, W, 3) float32 linear.
        normals: (H, W, 3) float32 unit vectors.
        inside: (H, W) bool, the surface.
        light: the light; its own gain is ignored.
        shadow: (H, W) float32, visibility of the direct light; None = 1.

    Returns:
        Within :data:`GAINS`.
    """
    bare = shade(albedo_linear, normals, light, shadow, white=_UNCLIPPED)[inside] / np.float32(light.gain)
    seen, brightest = bare @ LUMINANCE, bare.max(axis=-1, initial=0)
    low, high = np.log(GAINS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        gain = np.float32(np.exp(middle))
        dimmed = seen * gain / np.maximum(brightest * gain, 1)
        reached = float((dimmed + GLARE * (np.minimum(seen * gain, 1) - dimmed)).mean()) if len(bare) else 0.0
        low, high = (middle, high) if reached < luminance else (low, middle)
    return float(np.exp((low + high) / 2))
