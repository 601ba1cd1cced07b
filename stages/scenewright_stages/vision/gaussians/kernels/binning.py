"""Depth order and tile lists.

Splats are sorted once by depth; appending them in that order leaves every tile's list sorted too.
Ties keep the order of the scene, as gsplat's radix sort does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from scenewright_stages.vision.gaussians.kernels.layout import (
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DEPTH,
    MEAN_X,
    MEAN_Y,
    REACH_X,
    REACH_Y,
    TILE,
)

_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS
_compiled = njit(cache=True, error_model="numpy")
_compiled_parallel = njit(cache=True, error_model="numpy", parallel=True)


@_compiled
def visible_ids(visible: Any) -> Any:
    """Indices (M,) int32 of the true entries, ascending."""
    ids = np.empty(visible.shape[0], np.int32)
    count = 0
    for i in range(visible.shape[0]):
        if visible[i]:
            ids[count] = i
            count += 1
    return ids[:count].copy()


@_compiled
def _digit_counts(keys: Any, shift: int, counts: Any) -> int:
    """Histogram of one digit; returns how many different digits occur (at most 2 matter)."""
    counts[:] = 0
    for i in range(keys.shape[0]):
        counts[(keys[i] >> np.uint64(shift)) & np.uint64(_DIGITS - 1)] += 1
    different = 0
    for digit in range(_DIGITS):
        if counts[digit] > 0:
            different += 1
    return different


@_compiled
def _scatter_by_digit(keys: Any, values: Any, shift: int, counts: Any, sorted_keys: Any, sorted_values: Any) -> None:
    start = 0
    for digit in range(_DIGITS):
        count = counts[digit]
        counts[digit] = start
        start += count
    for i in range(keys.shape[0]):
        digit = (keys[i] >> np.uint64(shift)) & np.uint64(_DIGITS - 1)
        target = counts[digit]
        counts[digit] = target + 1
        sorted_keys[target] = keys[i]
        sorted_values[target] = values[i]


@_compiled
def sorted_by_key(keys: Any, values: Any, bits: int) -> Any:
    """values (M,) int32 in stable ascending order of keys (M,) uint64 (LSD radix sort)."""
    counts = np.empty(_DIGITS, np.int64)
    other_keys, other_values = np.empty_like(keys), np.empty_like(values)
    for shift in range(0, bits, _DIGIT_BITS):
        if _digit_counts(keys, shift, counts) > 1:
            _scatter_by_digit(keys, values, shift, counts, other_keys, other_values)
            keys, other_keys = other_keys, keys
            values, other_values = other_values, values
    return values


@_compiled_parallel
def gather_rows(rows: Any, ids: Any) -> Any:
    """rows[ids] for a 2D array."""
    out = np.empty((ids.shape[0], rows.shape[1]), rows.dtype)
    for m in prange(ids.shape[0]):
        for column in range(rows.shape[1]):
            out[m, column] = rows[ids[m], column]
    return out


@_compiled
def _tile_span(centre: Any, reach: Any, tiles: int) -> Any:
    """First and one-past-last tile along one axis whose pixels lie within reach of centre."""
    real = type(centre)
    first = math.floor((centre - reach) / real(TILE))
    last = math.floor((centre + reach) / real(TILE)) + real(1)
    return int(max(real(0), min(real(tiles), first))), int(max(real(0), min(real(tiles), last)))


@_compiled
def _touches(splat: Any, column: int, row: int) -> bool:
    """Whether the splat's visible ellipse meets the tile's pixel centres (never falsely no).

    The ellipse is sigma <= extent²/2 with extent² = reach_x² / cov_xx; sigma is convex, so its minimum
    over the rectangle of pixel centres lies at the mean or on a side that faces it.
    """
    real = splat.dtype.type
    half, one = real(0.5), real(1)
    low_x, low_y = real(column * TILE) + half, real(row * TILE) + half
    high_x, high_y = low_x + real(TILE - 1), low_y + real(TILE - 1)
    x, y = splat[MEAN_X], splat[MEAN_Y]
    near_x, near_y = min(high_x, max(low_x, x)), min(high_y, max(low_y, y))
    if near_x == x or near_y == y:
        return True
    a, b, c = splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY]
    dx, dy = near_x - x, near_y - y
    best_y = min(high_y, max(low_y, y - b * dx / c))
    best_x = min(high_x, max(low_x, x - b * dy / a))
    offset_y, offset_x = best_y - y, best_x - x
    on_side_x = half * (a * dx * dx + c * offset_y * offset_y) + b * dx * offset_y
    on_side_y = half * (a * offset_x * offset_x + c * dy * dy) + b * offset_x * dy
    # cov_xx = c / det(conic), hence extent² = reach_x² * det / c; one part in 1000 absorbs rounding.
    limit = half * splat[REACH_X] * splat[REACH_X] * (a * c - b * b) / c
    return bool(min(on_side_x, on_side_y) <= limit * (one + real(1e-3)) + real(1e-3))


@_compiled_parallel
def count_tiles(splats: Any, columns: int, rows: int) -> Any:
    """Number (M,) int32 of tiles that each splat touches."""
    counts = np.empty(splats.shape[0], np.int32)
    for m in prange(splats.shape[0]):
        splat = splats[m]
        first_x, last_x = _tile_span(splat[MEAN_X], splat[REACH_X], columns)
        first_y, last_y = _tile_span(splat[MEAN_Y], splat[REACH_Y], rows)
        count = 0
        for row in range(first_y, last_y):
            for column in range(first_x, last_x):
                count += _touches(splat, column, row)
        counts[m] = count
    return counts


@_compiled
def running_offsets(counts: Any) -> Any:
    """(M + 1,) int64 exclusive prefix sum, total last."""
    offsets = np.empty(counts.shape[0] + 1, np.int64)
    offsets[0] = 0
    for m in range(counts.shape[0]):
        offsets[m + 1] = offsets[m] + counts[m]
    return offsets


@_compiled_parallel
def list_pairs(splats: Any, offsets: Any, columns: int, rows: int) -> Any:
    """Tile (P,) and splat (P,) of every pair, both int32, grouped by splat."""
    pair_tiles = np.empty(offsets[-1], np.int32)
    pair_splats = np.empty(offsets[-1], np.int32)
    for m in prange(splats.shape[0]):
        splat = splats[m]
        first_x, last_x = _tile_span(splat[MEAN_X], splat[REACH_X], columns)
        first_y, last_y = _tile_span(splat[MEAN_Y], splat[REACH_Y], rows)
        pair = offsets[m]
        for row in range(first_y, last_y):
            for column in range(first_x, last_x):
                if _touches(splat, column, row):
                    pair_tiles[pair] = row * columns + column
                    pair_splats[pair] = m
                    pair += 1
    return pair_tiles, pair_splats


@_compiled
def list_by_tile(pair_tiles: Any, tile_count: int) -> Any:
    """Pairs (P,) int32 grouped by tile in their own order, and the groups' offsets (T + 1,)."""
    offsets = np.zeros(tile_count + 1, np.int64)
    for pair in range(pair_tiles.shape[0]):
        offsets[pair_tiles[pair] + 1] += 1
    for tile in range(tile_count):
        offsets[tile + 1] += offsets[tile]
    cursor = offsets[:-1].copy()
    pairs = np.empty(pair_tiles.shape[0], np.int32)
    for pair in range(pair_tiles.shape[0]):
        tile = pair_tiles[pair]
        pairs[cursor[tile]] = pair
        cursor[tile] += 1
    return pairs, offsets


@_compiled
def _before(depth: Any, index: int, other_depth: Any, other_index: int) -> bool:
    return bool(depth < other_depth or (depth == other_depth and index < other_index))


@_compiled
def _merge_tile(
    still_pairs: Any,
    still_splats: Any,
    still_rows: Any,
    still_ids: Any,
    still: int,
    still_end: int,
    pairs: Any,
    pair_splats: Any,
    splats: Any,
    ids: Any,
    moving: int,
    moving_end: int,
    entries: Any,
    cursor: int,
) -> None:
    while still < still_end or moving < moving_end:
        take_still = moving == moving_end
        if still < still_end and not take_still:
            s, m = still_splats[still_pairs[still]], pair_splats[pairs[moving]]
            take_still = _before(still_rows[s, DEPTH], still_ids[s], splats[m, DEPTH], ids[m])
        if take_still:
            entries[cursor] = still_splats[still_pairs[still]]
            still += 1
        else:
            entries[cursor] = -1 - pairs[moving]
            moving += 1
        cursor += 1


@_compiled_parallel
def merge_tiles(
    tiles: Any,
    offsets: Any,
    still_pairs: Any,
    still_splats: Any,
    still_tile_offsets: Any,
    still_rows: Any,
    still_ids: Any,
    pairs: Any,
    pair_splats: Any,
    tile_offsets: Any,
    splats: Any,
    ids: Any,
) -> Any:
    """Depth-sorted entries (E,) int32 of the named tiles from two sorted lists per tile.

    An entry e >= 0 is splat e of the still (frozen) list; e < 0 is pair -1 - e of the moving one.
    """
    entries = np.empty(offsets[-1], np.int32)
    for k in prange(tiles.shape[0]):
        tile = tiles[k]
        _merge_tile(
            still_pairs,
            still_splats,
            still_rows,
            still_ids,
            still_tile_offsets[tile],
            still_tile_offsets[tile + 1],
            pairs,
            pair_splats,
            splats,
            ids,
            tile_offsets[tile],
            tile_offsets[tile + 1],
            entries,
            offsets[k],
        )
    return entries
