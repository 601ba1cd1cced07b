"""Image pyramid for the patch search: Lab features, hole, allowed sources per level."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CHANNELS = 3
"""Feature channels per pixel: L, a, b."""

LAB_STEPS = 8.0
"""Integer steps per unit of CIE L, a or b; 7x7x3 squares of the largest difference still fit 32 bits."""

COARSEST_SIDE = 20
"""Shortest side (pixels) a level may have."""

COARSEST_DEPTH = 3.0
"""A level is coarse enough when no hole pixel is farther than this from a known one (pixels)."""


@dataclass(frozen=True)
class Level:
    """One pyramid level.

    features: (H, W, CHANNELS) int16, Lab times LAB_STEPS, anything inside the hole.
    hole: (H, W) bool, pixels to fill.
    allowed: (H, W) bool, known pixels that patches may be copied from; never overlaps `hole`.
    """

    features: NDArray[np.int16]
    hole: NDArray[np.bool_]
    allowed: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.hole.shape
        return height, width


def lab_features(srgb: NDArray[np.float32]) -> NDArray[np.int16]:
    """(H, W, 3) sRGB in [0, 1] -> (H, W, 3) int16 CIE Lab (D65) in steps of 1 / LAB_STEPS."""
    lab = cv2.cvtColor(np.ascontiguousarray(srgb, dtype=np.float32), cv2.COLOR_RGB2Lab)
    return np.rint(lab * LAB_STEPS).astype(np.int16)


def build(srgb: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> list[Level]:
    """Levels from full size (first) to the coarsest (last) that still has allowed pixels and a thin enough hole."""
    return list(_levels(srgb, hole, allowed))


def _levels(srgb: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> Iterator[Level]:
    while True:
        yield Level(lab_features(srgb), hole, allowed)
        if min(hole.shape) < 2 * COARSEST_SIDE or hole_depth(hole) <= COARSEST_DEPTH:
            return
        srgb, hole, allowed = _halve(srgb, hole, allowed)
        if not allowed.any():
            return


def hole_depth(hole: NDArray[np.bool_]) -> float:
    """Largest distance (pixels) from a hole pixel to a known one; 0 without a hole."""
    return float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5).max())


def _halve(
    srgb: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Half size, rounded up. A coarse pixel is hole when one of its four is, allowed when all four are."""
    height, width = hole.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    grow = ((0, rows * 2 - height), (0, columns * 2 - width))
    hole_blocks = np.pad(hole, grow, mode="edge").reshape(rows, 2, columns, 2)
    allowed_blocks = np.pad(allowed, grow, mode="edge").reshape(rows, 2, columns, 2)
    srgb_blocks = np.pad(srgb, (*grow, (0, 0)), mode="edge").reshape(rows, 2, columns, 2, 3)
    return (
        srgb_blocks.mean(axis=(1, 3), dtype=np.float32),
        hole_blocks.any(axis=(1, 3)),
        allowed_blocks.all(axis=(1, 3)),
    )
