"""What the patch search works on: a pyramid of features, and at each level a source atlas.

A level holds Lab colour and liveliness, the hole and the allowed sources. Its atlas is the picture and its mirror
images below one another, so that patches may be copied mirrored too. Block b starts at row b * (H + 1): 0 is the
picture, 1 is mirrored left-right, 2 top-bottom, 3 both. A spare row separates the blocks, so neighbours in the atlas
are neighbours in the picture (or are not allowed). A row and a column of the atlas therefore say which pixel is copied
and how its surroundings are oriented.
"""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

CHANNELS = 4
"""Feature channels per pixel: L, a, b, liveliness."""

STEPS_PER_UNIT = 8.0
"""Integer steps per unit of CIE Lab; the squares over a row of a patch still fit 32 bits."""

LIVELINESS_SIGMA = 2.5
LIVELINESS_WEIGHT = 4.0
"""Liveliness is the gradient magnitude of L averaged over this Gaussian (pixels), times this weight. Without it the
search prefers flat patches, since those are never far off (Newson et al., SIAM J. Imaging Sci. 2014)."""

COARSEST_SIDE = 20
"""Shortest side (pixels) a level may have."""

COARSEST_DEPTH = 3.0
"""A level is coarse enough when no hole pixel is farther than this from a known one (pixels)."""

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Level:
    """One pyramid level.

    features: (H, W, CHANNELS) float32 in units of CIE Lab, anything inside the hole.
    hole: (H, W) bool, pixels to fill.
    allowed: (H, W) bool, known pixels that patches may be copied from; never overlaps `hole`.
    scale: pixels of the finest level per pixel of this one.
    """

    features: NDArray[np.float32]
    hole: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    scale: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.hole.shape
        return height, width


def build(srgb: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> list[Level]:
    """Levels from full size (first) to the coarsest (last) that still has allowed pixels and a thin enough hole.

    srgb: (H, W, 3) float32 in [0, 1], finite everywhere. hole, allowed: (H, W) bool.
    """
    levels = [Level(_features(srgb, hole), hole, allowed)]
    while min(levels[-1].shape) >= 2 * COARSEST_SIDE and _depth(levels[-1].hole) > COARSEST_DEPTH:
        coarser = _halve(levels[-1])
        if not coarser.allowed.any():
            break
        levels.append(coarser)
    return levels


def _features(srgb: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(srgb), cv2.COLOR_RGB2Lab), np.float32)
    return np.dstack((lab, LIVELINESS_WEIGHT * liveliness(lab[..., 0], ~hole))).astype(np.float32)


def liveliness(lightness: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) float32 mean gradient magnitude around each pixel, over known pixels only."""
    across = np.diff(lightness, axis=1, append=lightness[:, -1:])
    down = np.diff(lightness, axis=0, append=lightness[-1:])
    usable = known.copy()
    usable[:, :-1] &= known[:, 1:]
    usable[:-1] &= known[1:]
    magnitude = np.where(usable, np.hypot(across, down), 0.0).astype(np.float32)
    share = cv2.GaussianBlur(usable.astype(np.float32), (0, 0), LIVELINESS_SIGMA)
    total = cv2.GaussianBlur(magnitude, (0, 0), LIVELINESS_SIGMA)
    return np.asarray(total / np.maximum(share, 1e-3), np.float32)


def _depth(hole: NDArray[np.bool_]) -> float:
    """Largest distance (pixels) from a hole pixel to a known one; 0 without a hole."""
    return float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5).max())


def _halve(level: Level) -> Level:
    """Half size, rounded up. A coarse pixel is hole when one of its four is, allowed when all four are."""
    height, width = level.shape
    rows, columns = (height + 1) // 2, (width + 1) // 2
    grow = ((0, rows * 2 - height), (0, columns * 2 - width))
    blocks = (rows, 2, columns, 2)
    features = np.pad(level.features, (*grow, (0, 0)), mode="edge").reshape(*blocks, CHANNELS)
    hole = np.pad(level.hole, grow, mode="edge").reshape(blocks)
    allowed = np.pad(level.allowed, grow, mode="edge").reshape(blocks)
    return Level(
        features=features.mean(axis=(1, 3), dtype=np.float32),
        hole=np.asarray(hole.any(axis=(1, 3))),
        allowed=np.asarray(allowed.all(axis=(1, 3))),
        scale=2 * level.scale,
    )


def source_atlas(plane: NDArray[T]) -> NDArray[T]:
    """(H, W, ...) -> atlas (4 * (H + 1), W, ...); the rows between the blocks are zero."""
    gap = np.zeros_like(plane[:1])
    parts = [plane, gap, plane[:, ::-1], gap, plane[::-1], gap, plane[::-1, ::-1], gap]
    return np.ascontiguousarray(np.concatenate(parts, axis=0))


def to_atlas(
    rows: NDArray[np.int64], columns: NDArray[np.int64], block: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Atlas positions (..., 2) int32 of the picture's pixels, seen in the given blocks."""
    height, width = shape
    atlas_columns = np.where(block & 1, width - 1 - columns, columns)
    atlas_rows = np.where(block & 2, height - 1 - rows, rows) + block * (height + 1)
    return np.stack((atlas_rows, atlas_columns), axis=-1).astype(np.int32)


def from_atlas(
    positions: NDArray[np.int32], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and blocks of atlas positions (..., 2) in a picture of `shape`; inverse of `to_atlas`."""
    height, width = shape
    rows, columns = positions[..., 0].astype(np.int64), positions[..., 1].astype(np.int64)
    block = rows // (height + 1)
    rows = rows - block * (height + 1)
    rows = np.where(block & 2, height - 1 - rows, rows)
    return rows, np.where(block & 1, width - 1 - columns, columns), block
