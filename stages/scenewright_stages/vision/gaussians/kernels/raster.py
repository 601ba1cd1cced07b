"""Front-to-back compositing of depth-sorted splats, tile by tile.

Tiles share nothing, so the picture does not depend on the number of threads.

Inner loops run over the 16 pixels of a tile row without a branch, so that the compiler turns each into
a few vector instructions. A tile's pixels live in one flat scratch buffer of several planes: constant
offsets let the compiler prove that the planes do not overlap, and unsigned indices spare it the test for
negative ones. Without both, the inner loops are not vectorised.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from scenewright_stages.vision.gaussians.kernels.layout import (
    ALPHA_MAXIMUM,
    ALPHA_MINIMUM,
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DEPTH,
    GREEN,
    MEAN_X,
    MEAN_Y,
    OPACITY,
    REACH_Y,
    RED,
    TILE,
    TILE_PIXELS,
    TRANSMITTANCE_STOP,
)

LANES = np.uint64(TILE)
# Fused multiply-add and a free sign of zero change no NaN and no order of summation.
FAST = {"contract", "nsz"}
compiled = njit(cache=True, error_model="numpy", fastmath=FAST)
compiled_parallel = njit(cache=True, error_model="numpy", fastmath=FAST, parallel=True)

# Planes of a tile's buffer, see above.
_T, _LIVE, _R, _G, _B, _D, _LAST = (np.uint64(k * TILE_PIXELS) for k in range(7))
_PLANES = 7
_LIVENESS_INTERVAL = 16


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


@compiled
def _start(buffer: Any, columns: int, rows: int) -> None:
    """Empty tile; pixels outside the image count as finished."""
    real = buffer.dtype.type
    buffer[: _PLANES * TILE_PIXELS] = 0
    buffer[:TILE_PIXELS] = 1
    for row in range(rows):
        for lane in range(columns):
            buffer[_LIVE + np.uint64(row * TILE + lane)] = real(1)


@compiled
def _blend(buffer: Any, splat: Any, position: Any, left: int, top: int) -> None:
    """Composite one splat behind what the tile already holds."""
    real = buffer.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    minimum, maximum, stop_below = real(ALPHA_MINIMUM), real(ALPHA_MAXIMUM), real(TRANSMITTANCE_STOP)
    x, y = splat[MEAN_X] - real(left), splat[MEAN_Y] - real(top)
    half_a, b, half_c = half * splat[CONIC_XX], splat[CONIC_XY], half * splat[CONIC_YY]
    opacity = splat[OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    first, last = reached_rows(splat, top)
    for row in range(first, last):
        dy = y - (real(row) + half)
        along, across = b * dy, half_c * dy * dy
        base = row * LANES
        for lane in range(LANES):
            dx = x - (real(lane) + half)
            sigma = dx * (half_a * dx + along) + across
            alpha = min(maximum, opacity * decay(sigma))
            transmittance, live = buffer[_T + base + lane], buffer[_LIVE + base + lane]
            seen = (sigma >= zero) & (alpha >= minimum) & (live > zero)
            alpha = alpha if seen else zero
            behind = transmittance * (one - alpha)
            finished = behind <= stop_below
            weight = zero if finished else alpha * transmittance
            drawn = seen & (behind > stop_below)
            buffer[_T + base + lane] = transmittance if finished else behind
            buffer[_LIVE + base + lane] = zero if finished else live
            buffer[_R + base + lane] += weight * red
            buffer[_G + base + lane] += weight * green
            buffer[_B + base + lane] += weight * blue
            buffer[_D + base + lane] += weight * depth
            old = buffer[_LAST + base + lane]
            buffer[_LAST + base + lane] = position if drawn else old


@compiled
def _any_live(buffer: Any) -> bool:
    for pixel in range(np.uint64(TILE_PIXELS)):  # noqa: SIM110  (compiled: no generators)
        if buffer[_LIVE + pixel] > 0:
            return True
    return False


@compiled
def _blend_entries(
    buffer: Any,
    entries: Any,
    first: int,
    last: int,
    still: Any,
    splats: Any,
    pair_splats: Any,
    left: int,
    top: int,
) -> None:
    real = buffer.dtype.type
    for k in range(first, last):
        if (k - first) % _LIVENESS_INTERVAL == _LIVENESS_INTERVAL - 1 and not _any_live(buffer):
            return
        entry = entries[k]
        splat = still[entry] if entry >= 0 else splats[pair_splats[-1 - entry]]
        _blend(buffer, splat, real(k - first + 1), left, top)


@compiled_parallel
def rasterise(
    tiles: Any,
    offsets: Any,
    entries: Any,
    still: Any,
    splats: Any,
    pair_splats: Any,
    colour: Any,
    depth_sum: Any,
    transmittance: Any,
    last_position: Any,
) -> None:
    """Composite the named tiles over black.

    Entry lists are `binning.merge_tiles`'s. Outputs, written only inside the named tiles: colour
    (H, W, 3), depth_sum (H, W) weighted by alpha, transmittance (H, W), last_position (H, W) int32
    (1-based position in the tile's list of the last splat drawn; 0 is none).
    """
    height, width = transmittance.shape
    tile_columns = (width + TILE - 1) // TILE
    for k in prange(tiles.shape[0]):
        left, top = (tiles[k] % tile_columns) * TILE, (tiles[k] // tile_columns) * TILE
        columns, rows = min(TILE, width - left), min(TILE, height - top)
        buffer = np.empty(_PLANES * TILE_PIXELS, splats.dtype)
        _start(buffer, columns, rows)
        _blend_entries(buffer, entries, offsets[k], offsets[k + 1], still, splats, pair_splats, left, top)
        for row in range(rows):
            for lane in range(columns):
                pixel = np.uint64(row * TILE + lane)
                colour[top + row, left + lane, 0] = buffer[_R + pixel]
                colour[top + row, left + lane, 1] = buffer[_G + pixel]
                colour[top + row, left + lane, 2] = buffer[_B + pixel]
                depth_sum[top + row, left + lane] = buffer[_D + pixel]
                transmittance[top + row, left + lane] = buffer[_T + pixel]
                last_position[top + row, left + lane] = np.int32(buffer[_LAST + pixel])
