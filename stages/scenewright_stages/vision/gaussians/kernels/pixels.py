"""What compositing and its gradient share.

Inner loops run over the 16 pixels of a tile row without a branch, so that the compiler turns each into
a few vector instructions. A tile's pixels live in one flat scratch buffer of several planes: constant
offsets let the compiler prove that the planes do not overlap, and unsigned indices spare it the test for
negative ones. Without both, the inner loops are not vectorised.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from .layout import MEAN_Y, REACH_Y, TILE

LANES = np.uint64(TILE)
# Fused multiply-add and a free sign of zero change no NaN and no order of summation.
FAST = {"contract", "nsz"}
compiled = njit(cache=True, error_model="numpy", fastmath=FAST)
compiled_parallel = njit(cache=True, error_model="numpy", fastmath=FAST, parallel=True)


@njit(cache=True, error_model="numpy", fastmath=FAST, inline="always")
def decay(sigma: Any) -> Any:
    """exp(-sigma) for 0 <= sigma <= 6, relative error 4e-8 plus rounding; beyond 6, exp(-6).

    exp(-s) = exp(-s / 8)^8 with a degree 6 Chebyshev fit on [0, 0.75]. Larger sigma never counts:
    exp(-6) is below 1/255.
    """
    real = type(sigma)
    t = min(sigma, real(6)) * real(0.125)
    p = real(-7.91964366e-3) + t * real(9.59373140e-4)
    p = real(4.14622848e-2) + t * p
    p = real(-1.66614113e-1) + t * p
    p = real(4.99993520e-1) + t * p
    p = real(-9.99999699e-1) + t * p
    p = real(9.99999998e-1) + t * p
    p = p * p
    p = p * p
    return p * p


@compiled
def reached_rows(splat: Any, top: int) -> Any:
    """First and one-past-last row of the tile, counted from top, that the splat reaches."""
    real = splat.dtype.type
    centre = splat[MEAN_Y] - real(top) - real(0.5)
    # The slack absorbs rounding in the reach.
    reach = splat[REACH_Y] * real(1.0001) + real(1e-3)
    first = max(real(0), min(real(TILE), math.ceil(centre - reach)))
    last = max(real(0), min(real(TILE), math.floor(centre + reach) + real(1)))
    return np.uint64(first), np.uint64(last)
