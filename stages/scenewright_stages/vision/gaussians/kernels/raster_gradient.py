"""Gradient of compositing: each tile walks its list back to front.

A tile writes only to gradient slots of its own (one per tile and splat), so the result does not depend
on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

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
    RED,
    SLOT_COLUMNS,
    TILE,
    TILE_PIXELS,
)
from scenewright_stages.vision.gaussians.kernels.raster import LANES, compiled, compiled_parallel, decay, reached_rows

# Planes of a tile's buffer, see `raster`: transmittance, gradient-weighted colour behind, gradients of the
# pixel's colour and depth sum, position at which the pixel was finished.
_T, _REST, _V_R, _V_G, _V_B, _V_D, _STOP = (np.uint64(k * TILE_PIXELS) for k in range(7))
_PLANES = 7
# Gradient sums, one a lane, in the order of a slot's columns. The moments in x are only filled at the end:
# x is the same for all rows.
_SUM, _SUM_X, _SUM_Y, _SUM_XX, _SUM_XY, _SUM_YY, _SUM_R, _SUM_G, _SUM_B, _SUM_D = (
    np.uint64(column * TILE) for column in range(SLOT_COLUMNS)
)


@compiled
def _unblend(buffer: Any, splat: Any, position: Any, left: int, top: int) -> None:
    """Step back over a splat whose own gradient is not needed."""
    real = buffer.dtype.type
    half, zero, one = real(0.5), real(0), real(1)
    minimum, maximum = real(ALPHA_MINIMUM), real(ALPHA_MAXIMUM)
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
            drawn = (sigma >= zero) & (alpha >= minimum) & (position <= buffer[_STOP + base + lane])
            alpha = alpha if drawn else zero
            transmittance = buffer[_T + base + lane] / (one - alpha)
            value = red * buffer[_V_R + base + lane] + green * buffer[_V_G + base + lane]
            value += blue * buffer[_V_B + base + lane] + depth * buffer[_V_D + base + lane]
            buffer[_T + base + lane] = transmittance
            buffer[_REST + base + lane] += alpha * transmittance * value


@compiled
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
    first, last = reached_rows(splat, top)
    for row in range(first, last):
        dy = y - (real(row) + half)
        along, across = b * dy, half_c * dy * dy
        base = row * LANES
        for lane in range(LANES):
            dx = x - (real(lane) + half)
            sigma = dx * (half_a * dx + along) + across
            unclamped = opacity * decay(sigma)
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


@compiled
def _finish_slot(sums: Any, splat: Any, left: int, slot: Any) -> None:
    """Reduce the lane sums into a gradient slot, always in the same order, and clear them."""
    real = sums.dtype.type
    x = splat[MEAN_X] - real(left) - real(0.5)
    for lane in range(LANES):
        dx = x - real(lane)
        moment = sums[_SUM + lane]
        sums[_SUM_X + lane] = moment * dx
        sums[_SUM_XX + lane] = moment * dx * dx
        sums[_SUM_XY + lane] = sums[_SUM_Y + lane] * dx
    for row in range(SLOT_COLUMNS):
        first = np.uint64(row) * LANES
        for half in (np.uint64(8), np.uint64(4), np.uint64(2), np.uint64(1)):
            for lane in range(half):
                sums[first + lane] += sums[first + half + lane]
        slot[row] = sums[first]
    sums[:] = 0


@compiled
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


@compiled
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


@compiled_parallel
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
        buffer = np.empty(_PLANES * TILE_PIXELS, splats.dtype)
        sums = np.zeros(SLOT_COLUMNS * TILE, splats.dtype)
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
