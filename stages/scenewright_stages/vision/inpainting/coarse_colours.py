"""A fill put together from two sources: coarse colours from around the hole, texture from the copied patches.

A patch brings its own brightness along, a guess with an error as large as the contrast of the texture. What surrounds a
hole says more about its coarse colours, and nothing about its texture: so what is coarser than a patch comes from the
one and what is finer from the other. An average of two whole pictures would blur the texture instead.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.inpainting.continuation import continued_alike
from scenewright_stages.vision.inpainting.pyramid import liveliness

SHARE = 0.9
"""How much of the way the coarse colours go."""

SIGMA = 5.0
"""Standard deviation (pixels) of the Gaussian that tells coarse colours from texture, near the size of a patch."""

MOST_CONTRAST = 2.0
"""Largest factor by which the texture gains contrast."""

LEAST_LIVELINESS = 0.02
"""In CIE L per pixel: what is flatter has no texture to strengthen."""

FULL_DEPTH = 4.0
"""Distance (pixels) from the known pixels up to which the changes grow from nothing: the seam stays as it is."""


def with_coarse_colours(
    filled: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    wanted_liveliness: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(H, W, 3) float32 in [0, 1] like `filled`, whose `hole` continues the coarse colours of the `allowed` pixels.

    wanted_liveliness: (H, W) float32, that of the copied patches (see `pyramid.liveliness`): averages of several
        patches are flatter than any of them, so the texture is given its contrast back.
    """
    inside = hole.astype(np.float32)
    coarse = _smooth(filled, inside)
    step = _smooth(continued_alike(filled, allowed, coarse) - filled, inside)
    contrast = _lost_contrast(filled, hole, wanted_liveliness)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    change = SHARE * step + (contrast - 1.0)[..., None] * (filled - coarse)
    changed = np.clip(filled + np.clip(depth / FULL_DEPTH, 0.0, 1.0)[..., None] * change, 0.0, 1.0)
    return np.where(hole[..., None], changed, filled).astype(np.float32)


def _lost_contrast(
    filled: NDArray[np.float32], hole: NDArray[np.bool_], wanted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(H, W) float32 factor from 1 to `MOST_CONTRAST` between the liveliness of the fill and the `wanted` one."""
    lightness = np.asarray(cv2.cvtColor(filled, cv2.COLOR_RGB2Lab), np.float32)[..., 0]
    present = np.maximum(liveliness(lightness, hole), LEAST_LIVELINESS)
    factor = np.clip(wanted / present, 1.0, MOST_CONTRAST).astype(np.float32)
    return _smooth(factor[..., None], hole.astype(np.float32))[..., 0]


def _smooth(values: NDArray[np.float32], inside: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, C) float32 `values` under the Gaussian of `SIGMA` that mixes in nothing from outside of the hole."""
    total = np.maximum(cv2.GaussianBlur(inside, (0, 0), SIGMA), 1e-3)[..., None]
    blurred = cv2.GaussianBlur(values * inside[..., None], (0, 0), SIGMA).reshape(values.shape)
    return np.asarray(blurred / total, np.float32)
