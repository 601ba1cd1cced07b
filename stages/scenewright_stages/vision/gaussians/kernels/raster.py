"""Front-to-back compositing of depth-sorted splats, tile by tile, and its gradient.

Inner loops run over the 16 pixels of a tile row without a branch, so that the compiler turns each
into a few vector instructions. Tiles share nothing (a tile's gradients go to slots of its own), so
results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from .layout import (
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
    MOMENT,
    MOMENT_X,
    MOMENT_XX,
    MOMENT_XY,
    MOMENT_Y,
    MOMENT_YY,
    OPACITY,
    REACH_Y,
    RED,
    SLOT_BLUE,
    SLOT_DEPTH,
    SLOT_GREEN,
    SLOT_RED,
    TILE,
    TILE_PIXELS,
    TRANSMITTANCE_STOP,
)

# Planes of a tile's scratch buffer, each TILE_PIXELS long. One flat buffer with constant offsets lets
# the compiler prove that the planes do not overlap; unsigned indices spare it the test for negative
# ones. Without both, the inner loops are not vectorised.
_T, _LIVE, _R, _G, _B, _D, _LAST = (np.uint64(k * TILE_PIXELS) for k in range(7))
_LANES = np.uint64(TILE)
_FORWARD_PLANES = 7
_REST, _V_R, _V_G, _V_B, _V_D, _STOP = (np.uint64(k * TILE_PIXELS) for k in range(1, 7))
_BACKWARD_PLANES = 7
# Gradient sums, one a lane: three moments, then the weighted gradients of red, green, blue and depth.
_LANE_SUMS = 7
_SUM, _SUM_Y, _SUM_YY, _SUM_R, _SUM_G, _SUM_B, _SUM_D = (np.uint64(k * TILE) for k in range(_LANE_SUMS))
_LIVENESS_INTERVAL = 16

# Fused multiply-add and a free sign of zero change no NaN and no order of summation.
_FAST = {"contract", "nsz"}
_compiled = njit(cache=True, error_model="numpy", fastmath=_FAST)
_compiled_parallel = njit(cache=True, error_model="numpy", fastmath=_FAST, parallel=True)


@njit(cache=True, error_model="numpy", fastmath=_FAST, inline="always")
def _decay(sigma: Any) -> Any:
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


@_compiled
def _rows(splat: Any, top: int) -> Any:
    """First and one-past-last row of the tile, counted from top, that the splat reaches."""
    real = splat.dtype.type
    centre = splat[MEAN_Y] - real(top) - real(0.5)
    # The slack absorbs rounding in the reach.
    reach = splat[REACH_Y] * real(1.0001) + real(1e-3)
    first = max(real(0), min(real(TILE), math.ceil(centre - reach)))
    last = max(real(0), min(real(TILE), math.floor(centre + reach) + real(1)))
    return np.uint64(first), np.uint64(last)


@_compiled
def _blend(buffer: Any, splat: Any, position: Any, left: int, top: int) -> None:
    """Composite one splat behind what the tile already holds."""
    real = buffer.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    minimum, maximum, stop_below = real(ALPHA_MINIMUM), real(ALPHA_MAXIMUM), real(TRANSMITTANCE_STOP)
    x, y = splat[MEAN_X] - real(left), splat[MEAN_Y] - real(top)
    half_a, b, half_c = half * splat[CONIC_XX], splat[CONIC_XY], half * splat[CONIC_YY]
    opacity = splat[OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    first, last = _rows(splat, top)
    for row in range(first, last):
        dy = y - (real(row) + half)
        along, across = b * dy, half_c * dy * dy
        base = row * _LANES
        for lane in range(_LANES):
            dx = x - (real(lane) + half)
            sigma = dx * (half_a * dx + along) + across
            alpha = min(maximum, opacity * _decay(sigma))
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


@_compiled
def _start(buffer: Any, columns: int, rows: int) -> None:
    """Empty tile; pixels outside the image count as finished."""
    real = buffer.dtype.type
    buffer[: _FORWARD_PLANES * TILE_PIXELS] = 0
    buffer[:TILE_PIXELS] = 1
    for row in range(rows):
        for lane in range(columns):
            buffer[_LIVE + np.uint64(row * TILE + lane)] = real(1)


@_compiled
def _any_live(buffer: Any) -> bool:
    for pixel in range(np.uint64(TILE_PIXELS)):  # noqa: SIM110  (compiled: no generators)
        if buffer[_LIVE + pixel] > 0:
            return True
    return False


@_compiled
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


@_compiled_parallel
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
        buffer = np.empty(_FORWARD_PLANES * TILE_PIXELS, splats.dtype)
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


@_compiled
def _unblend(buffer: Any, splat: Any, position: Any, left: int, top: int) -> None:
    """Step back over a splat whose own gradient nobody needs."""
    real = buffer.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    minimum, maximum = real(ALPHA_MINIMUM), real(ALPHA_MAXIMUM)
    x, y = splat[MEAN_X] - real(left), splat[MEAN_Y] - real(top)
    half_a, b, half_c = half * splat[CONIC_XX], splat[CONIC_XY], half * splat[CONIC_YY]
    opacity = splat[OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    first, last = _rows(splat, top)
    for row in range(first, last):
        dy = y - (real(row) + half)
        along, across = b * dy, half_c * dy * dy
        base = row * _LANES
        for lane in range(_LANES):
            dx = x - (real(lane) + half)
            sigma = dx * (half_a * dx + along) + across
            alpha = min(maximum, opacity * _decay(sigma))
            drawn = (sigma >= zero) & (alpha >= minimum) & (position <= buffer[_STOP + base + lane])
            alpha = alpha if drawn else zero
            transmittance = buffer[_T + base + lane] / (one - alpha)
            value = red * buffer[_V_R + base + lane] + green * buffer[_V_G + base + lane]
            value += blue * buffer[_V_B + base + lane] + depth * buffer[_V_D + base + lane]
            buffer[_T + base + lane] = transmittance
            buffer[_REST + base + lane] += alpha * transmittance * value


@_compiled
def _unblend_with_gradient(buffer: Any, sums: Any, splat: Any, position: Any, left: int, top: int) -> None:
    """Step back over a splat and add its gradient to the lane sums.

    With q the splat's colour and depth dotted with the pixel's gradient, and R what lies behind it
    dotted likewise, dL/dalpha = T q - R / (1 - alpha): one scalar recurrence instead of one a channel.
    """
    real = buffer.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    minimum, maximum = real(ALPHA_MINIMUM), real(ALPHA_MAXIMUM)
    x, y = splat[MEAN_X] - real(left), splat[MEAN_Y] - real(top)
    half_a, b, half_c = half * splat[CONIC_XX], splat[CONIC_XY], half * splat[CONIC_YY]
    opacity = splat[OPACITY]
    red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
    first, last = _rows(splat, top)
    for row in range(first, last):
        dy = y - (real(row) + half)
        along, across = b * dy, half_c * dy * dy
        base = row * _LANES
        for lane in range(_LANES):
            dx = x - (real(lane) + half)
            sigma = dx * (half_a * dx + along) + across
            unclamped = opacity * _decay(sigma)
            alpha = min(maximum, unclamped)
            drawn = (sigma >= zero) & (alpha >= minimum) & (position <= buffer[_STOP + base + lane])
            alpha = alpha if drawn else zero
            inverse = one / (one - alpha)
            transmittance = buffer[_T + base + lane] * inverse
            weight = alpha * transmittance
            v_r, v_g, v_b, v_d = (
                buffer[_V_R + base + lane],
                buffer[_V_G + base + lane],
                buffer[_V_B + base + lane],
                buffer[_V_D + base + lane],
            )
            value = red * v_r + green * v_g + blue * v_b + depth * v_d
            rest = buffer[_REST + base + lane]
            v_alpha = transmittance * value - rest * inverse
            v_sigma = -alpha * v_alpha if unclamped <= maximum else zero
            buffer[_T + base + lane] = transmittance
            buffer[_REST + base + lane] = rest + weight * value
            sums[_SUM + lane] += v_sigma
            sums[_SUM_Y + lane] += v_sigma * dy
            sums[_SUM_YY + lane] += v_sigma * dy * dy
            sums[_SUM_R + lane] += weight * v_r
            sums[_SUM_G + lane] += weight * v_g
            sums[_SUM_B + lane] += weight * v_b
            sums[_SUM_D + lane] += weight * v_d


@_compiled
def _finish_slot(sums: Any, splat: Any, left: int, slot: Any) -> None:
    """Reduce the lane sums into a gradient slot, in lane order, and clear them."""
    real = sums.dtype.type
    x = splat[MEAN_X] - real(left)
    slot[:] = 0
    for lane in range(_LANES):
        dx = x - (real(lane) + real(0.5))
        moment, moment_y = sums[_SUM + lane], sums[_SUM_Y + lane]
        slot[MOMENT] += moment
        slot[MOMENT_X] += moment * dx
        slot[MOMENT_Y] += moment_y
        slot[MOMENT_XX] += moment * dx * dx
        slot[MOMENT_XY] += moment_y * dx
        slot[MOMENT_YY] += sums[_SUM_YY + lane]
        slot[SLOT_RED] += sums[_SUM_R + lane]
        slot[SLOT_GREEN] += sums[_SUM_G + lane]
        slot[SLOT_BLUE] += sums[_SUM_B + lane]
        slot[SLOT_DEPTH] += sums[_SUM_D + lane]
    sums[:] = 0


@_compiled
def _load_gradient(
    buffer: Any,
    left: int,
    top: int,
    columns: int,
    rows: int,
    transmittance: Any,
    last_position: Any,
    d_colour: Any,
    d_depth_sum: Any,
    d_transmittance: Any,
) -> int:
    """Fill the tile's planes; returns the last position that any pixel drew."""
    buffer[:] = 0
    buffer[:TILE_PIXELS] = 1
    deepest = 0
    for row in range(rows):
        for lane in range(columns):
            i, j, pixel = top + row, left + lane, np.uint64(row * TILE + lane)
            buffer[_T + pixel] = transmittance[i, j]
            buffer[_REST + pixel] = transmittance[i, j] * d_transmittance[i, j]
            buffer[_V_R + pixel] = d_colour[i, j, 0]
            buffer[_V_G + pixel] = d_colour[i, j, 1]
            buffer[_V_B + pixel] = d_colour[i, j, 2]
            buffer[_V_D + pixel] = d_depth_sum[i, j]
            buffer[_STOP + pixel] = last_position[i, j]
            deepest = max(deepest, last_position[i, j])
    return deepest


@_compiled
def _unblend_entries(
    buffer: Any,
    sums: Any,
    entries: Any,
    first: int,
    last: int,
    deepest: int,
    still: Any,
    splats: Any,
    pair_splats: Any,
    left: int,
    top: int,
    slots: Any,
) -> None:
    real = buffer.dtype.type
    for k in range(first + deepest, last):
        if entries[k] < 0:
            slots[-1 - entries[k]] = 0
    for k in range(first + deepest - 1, first - 1, -1):
        entry = entries[k]
        position = real(k - first + 1)
        if entry >= 0:
            _unblend(buffer, still[entry], position, left, top)
        else:
            splat = splats[pair_splats[-1 - entry]]
            _unblend_with_gradient(buffer, sums, splat, position, left, top)
            _finish_slot(sums, splat, left, slots[-1 - entry])


@_compiled_parallel
def rasterise_backward(
    tiles: Any,
    offsets: Any,
    entries: Any,
    still: Any,
    splats: Any,
    pair_splats: Any,
    transmittance: Any,
    last_position: Any,
    d_colour: Any,
    d_depth_sum: Any,
    d_transmittance: Any,
    slots: Any,
) -> None:
    """Fill slots (P, SLOT_COLUMNS) of every pair in the named tiles from the pixels' gradients."""
    height, width = transmittance.shape
    tile_columns = (width + TILE - 1) // TILE
    for k in prange(tiles.shape[0]):
        left, top = (tiles[k] % tile_columns) * TILE, (tiles[k] // tile_columns) * TILE
        columns, rows = min(TILE, width - left), min(TILE, height - top)
        buffer = np.empty(_BACKWARD_PLANES * TILE_PIXELS, splats.dtype)
        sums = np.zeros(_LANE_SUMS * TILE, splats.dtype)
        deepest = _load_gradient(
            buffer,
            left,
            top,
            columns,
            rows,
            transmittance,
            last_position,
            d_colour,
            d_depth_sum,
            d_transmittance,
        )
        _unblend_entries(
            buffer,
            sums,
            entries,
            offsets[k],
            offsets[k + 1],
            deepest,
            still,
            splats,
            pair_splats,
            left,
            top,
            slots,
        )
