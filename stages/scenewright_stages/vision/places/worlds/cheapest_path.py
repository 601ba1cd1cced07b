"""Finds the cheapest closed path of walls around a panorama, one plane per column; compiled, because it runs often."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float64Array

JUMP, MAXIMUM_JUMP = 10.0, 12.0
"""Cost of a jump between two planes over its logarithm, and the most."""


def closed_path(
    cost: Float64Array, log_reach: Float64Array, entering: Float64Array, leaving: Float64Array, returning: Float64Array
) -> NDArray[np.int64]:
    """(W,) the plane of each column, or -1 for no plane; two rounds make the ends of the path meet.

    Args:
        cost: (W, S) of each plane in each column, relative to no plane; infinite if impossible.
        log_reach: (W, S) logarithm of its distance there.
        entering: (S,) cost of changing to each plane from another one, in addition to the jump cost.
        leaving, returning: (W, S) cost of changing from no plane to a plane at a column's left border, and back.
    """
    width = len(cost)
    back = np.zeros((2 * width, cost.shape[1] + 1), np.int32)
    found = _walked(cost, log_reach, entering, leaving, returning, back)
    return np.asarray(np.roll(found[width // 2 : width // 2 + width], width // 2) - 1)


def jumps(log_reach: Float64Array, before: Float64Array) -> Float64Array:
    """Cost of jumps between logarithms of distances."""
    return np.asarray(np.minimum(JUMP * np.abs(log_reach - before), MAXIMUM_JUMP))


def warm_up() -> None:
    """Compiles the kernel, or loads it from the cache."""
    flat = np.zeros((4, 3))
    closed_path(flat, flat, np.ones(3), flat + 1, flat + 1)


@njit(cache=True, nogil=True)
def _walked(cost, log_reach, entering, leaving, returning, back):
    """States of two rounds; 0 means no plane, n means plane n - 1."""
    width, planes = cost.shape
    best = np.zeros(planes + 1)
    following = np.zeros(planes + 1)
    for place in range(2 * width):
        here = place % width
        before = here - 1 if here > 0 else width - 1
        lowest, chosen = best[0], 0
        for plane in range(planes):
            steps = best[plane + 1] + returning[here, plane]
            if steps < lowest:
                lowest, chosen = steps, plane + 1
        following[0] = lowest
        back[place, 0] = chosen
        least = best[1:].min()
        for plane in range(planes):
            if np.isinf(cost[here, plane]):
                following[plane + 1] = np.inf
                continue
            lowest, chosen = best[0] + leaving[here, plane], 0
            stays = best[plane + 1] < min(lowest, least + entering[plane])
            if stays:
                lowest, chosen = best[plane + 1], plane + 1
            for other in range(0 if stays else planes):
                if other == plane:
                    steps = best[other + 1]
                else:
                    jump = min(JUMP * abs(log_reach[here, plane] - log_reach[before, other]), MAXIMUM_JUMP)
                    steps = best[other + 1] + (entering[plane] + jump)
                if steps < lowest:
                    lowest, chosen = steps, other + 1
            following[plane + 1] = lowest + cost[here, plane]
            back[place, plane + 1] = chosen
        best[:] = following
    found = np.zeros(2 * width, np.int64)
    state = np.argmin(best)
    for place in range(2 * width - 1, -1, -1):
        found[place] = state
        state = back[place, state]
    return found
