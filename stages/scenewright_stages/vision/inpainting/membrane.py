"""Smooth extension of values into a hole: the solution of Laplace's equation with the known values at its border."""

import cv2
import numpy as np
from numpy.typing import NDArray

SWEEPS_PER_PIXEL = 8
"""Relaxation sweeps per pixel of the longer side: enough to converge on the small levels this is used for."""


def extend(
    values: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(H, W, C) float32 copy of `values` whose `hole` continues the `allowed` pixels smoothly.

    The hole starts from the mean of the allowed pixels; known pixels that are not allowed and the picture's border do
    not pull (zero gradient across them). Meant for small pictures (a side below about 60 pixels).
    """
    active = (hole | allowed)[..., None]
    extended = np.where(hole[..., None], values[allowed].mean(axis=0), values).astype(np.float32)
    count = np.maximum(_sum_of_neighbours(active.astype(np.float32)), 1.0)
    for _ in range(SWEEPS_PER_PIXEL * max(hole.shape)):
        mean = _sum_of_neighbours(np.where(active, extended, 0.0)) / count
        extended[hole] = mean[hole]
    return extended


def refine(
    coarser: NDArray[np.float32], values: NDArray[np.float32], hole: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """`values` (H, W, C) float32 with the hole filled from the membrane of the level of half its size."""
    height, width = hole.shape
    doubled = cv2.resize(coarser, (2 * coarser.shape[1], 2 * coarser.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.where(hole[..., None], doubled[:height, :width], values).astype(np.float32)


def _sum_of_neighbours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    return np.asarray(padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:], np.float32)
