"""Smooth extension of values into a hole: the solution of Laplace's equation with the known values at its border."""

import cv2
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

RELAXATION = 1.7
SWEEPS = 40
SWEEPS_PER_DEPTH = 10
"""Sweeps for a hole, and more per pixel of its depth: enough for a start of a search, not for a picture."""


def extend(values: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W, C) float32 copy of `values` whose `hole` continues the `allowed` pixels smoothly.

    The hole starts from the mean of the allowed pixels; known pixels that are not allowed and the picture's border do
    not pull (zero gradient across them). Meant for holes that are shallow (a few pixels from a known one).
    """
    mean = values[allowed].mean(axis=0, dtype=np.float64)
    extended = np.where(hole[..., None], mean, values).astype(np.float32)
    pixels = np.argwhere(hole).astype(np.int32)
    is_red = (pixels[:, 0] + pixels[:, 1]) % 2 == 0
    red, black = np.ascontiguousarray(pixels[is_red]), np.ascontiguousarray(pixels[~is_red])
    active = hole | allowed
    depth = float(cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5).max())
    for _ in range(SWEEPS + int(SWEEPS_PER_DEPTH * depth)):
        for part in (red, black):
            _relax(extended, active, part, np.float32(RELAXATION))
    return extended


def refine(coarser: NDArray[np.float32], values: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`values` (H, W, C) float32 with the hole filled from the membrane of the level of half its size."""
    height, width = hole.shape
    doubled = cv2.resize(coarser, (2 * coarser.shape[1], 2 * coarser.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.where(hole[..., None], doubled[:height, :width], values).astype(np.float32)


@njit(cache=True, parallel=True)
def _relax(values, active, pixels, relaxation):  # type: ignore[no-untyped-def]
    """One over-relaxed sweep over `pixels`, all of one chequerboard colour, that leaves out inactive neighbours."""
    height, width, channels = values.shape
    for index in prange(pixels.shape[0]):
        row, column = pixels[index, 0], pixels[index, 1]
        for channel in range(channels):
            total, count = np.float32(0.0), np.float32(0.0)
            for side in range(4):
                other_row = row + (side == 0) - (side == 1)
                other_column = column + (side == 2) - (side == 3)
                if 0 <= other_row < height and 0 <= other_column < width and active[other_row, other_column]:
                    total += values[other_row, other_column, channel]
                    count += np.float32(1.0)
            if count > 0:
                values[row, column, channel] += relaxation * (total / count - values[row, column, channel])
