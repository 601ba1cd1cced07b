"""Compiled inner loops of the patch search: distances, search and votes.

The search is PatchMatch (Barnes et al., SIGGRAPH 2009) in a Jacobi form: every target reads the previous field and
writes the next one, so the result does not depend on the number of threads or their order. Random draws come from a
hash of (seed, target, draw), never from a shared generator. Distances are sums of squares of 16-bit integers and hence
exact, whatever the order a compiler adds them in.
"""

# Compiled functions are typed by the compiler and take their arrays one by one: handing a tuple of arrays to an inner
# function makes the compiled code count references at every call, which costs three times the search itself.
# mypy: allow-untyped-defs

from typing import NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

FAR = np.int64(1) << 60
"""Cost of a source that was never compared: larger than any distance."""

VOTE_CHANNELS = 4
"""Upper bound of the feature channels (fixed-size accumulator of the vote)."""


class Problem(NamedTuple):
    """What does not change while one level is searched (H, W = level size, C = channels, A = 4 * (H + 1)).

    features: (H, W*C) int16, Lab features of the targets; the votes update the hole pixels.
    compared: (H, W*C) int16, 1 where a target patch compares this pixel, 0 where it ignores it.
    atlas: (A, W*C) int16, features of the source atlas (see `pyramid.source_atlas`).
    valid: (A, W) bool, a source patch centred here lies inside its atlas block and the allowed pixels.
    valid_list: (M, 2) int32, the rows and columns where `valid` is true.
    targets: (N, 2) int32, rows and columns of all patch centres whose patch touches the hole.
    is_target: (H, W) bool, the same as a mask.
    hole_pixels: (P, 2) int32, rows and columns of the hole.
    channels, radius: feature channels, half side of a patch.
    offset_penalty, mirror_penalty: cost of one pixel between target and source, of copying a mirrored patch.
    means: (A, W, 3) float32, mean Lab of the source patch around each pixel.
    guide: (H, W, 4) float32, mean Lab that the patch of a target is expected to have, and the cost of a squared unit.
    """

    features: NDArray[np.int16]
    compared: NDArray[np.int16]
    atlas: NDArray[np.int16]
    valid: NDArray[np.bool_]
    valid_list: NDArray[np.int32]
    targets: NDArray[np.int32]
    is_target: NDArray[np.bool_]
    hole_pixels: NDArray[np.int32]
    channels: int
    radius: int
    offset_penalty: float
    mirror_penalty: float
    means: NDArray[np.float32]
    guide: NDArray[np.float32]


@njit(cache=True, inline="always")
def _hash(value):
    """32-bit finaliser of MurmurHash3: every input bit changes half of the output bits."""
    value &= 0xFFFFFFFF
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & 0xFFFFFFFF
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & 0xFFFFFFFF
    value ^= value >> 16
    return value


@njit(cache=True)
def _distance(features, compared, atlas, channels, radius, row, column, source_row, source_column, limit):
    """Sum of squared differences over the part of the target patch inside the picture; stops at `limit`."""
    height, width = features.shape[0], features.shape[1] // channels
    left = min(radius, column)
    count = (left + min(radius, width - 1 - column) + 1) * channels
    # Unsigned indices spare the compiled loop the test for negative ones.
    target_start, source_start = np.uint64((column - left) * channels), np.uint64((source_column - left) * channels)
    total = np.int64(0)
    for step in range(-min(radius, row), min(radius, height - 1 - row) + 1):
        target_row, atlas_row = np.uint64(row + step), np.uint64(source_row + step)
        line = np.int32(0)
        for offset in range(count):
            at, other = target_start + np.uint64(offset), source_start + np.uint64(offset)
            difference = np.int32(features[target_row, at]) - np.int32(atlas[atlas_row, other])
            line += difference * difference * np.int32(compared[target_row, at])
        total += line
        if total >= limit:
            return total
    return total


@njit(cache=True, inline="always")
def _penalty(means, guide, penalties, row, column, source_row, source_column):
    """Cost of offset, of mirroring and of straying from the guide; `penalties` are their weights in this order."""
    height, width = guide.shape[0], guide.shape[1]
    block = source_row // (height + 1)
    true_row = source_row - block * (height + 1)
    if block & 2:
        true_row = height - 1 - true_row
    true_column = width - 1 - source_column if block & 1 else source_column
    cost = penalties[0] * np.sqrt(np.float64((row - true_row) ** 2 + (column - true_column) ** 2))
    if block > 0:
        cost += penalties[1]
    for channel in range(3):
        difference = np.float64(guide[row, column, channel] - means[source_row, source_column, channel])
        cost += guide[row, column, 3] * difference * difference
    return np.int64(cost)


@njit(cache=True)
def _better(features, compared, atlas, valid, means, guide, channels, radius, penalties, row, column, place, best):
    """The cheaper of `best` (row, column, cost) and the source at `place`; an invalid place loses."""
    if place[0] == best[0] and place[1] == best[1]:
        return best
    if not (0 <= place[0] < valid.shape[0] and 0 <= place[1] < valid.shape[1] and valid[place[0], place[1]]):
        return best
    penalty = _penalty(means, guide, penalties, row, column, place[0], place[1])
    if penalty >= best[2]:
        return best
    cost = penalty + _distance(
        features, compared, atlas, channels, radius, row, column, place[0], place[1], best[2] - penalty
    )
    return (place[0], place[1], cost) if cost < best[2] else best


@njit(cache=True, inline="always")
def _neighbour(side, reach):
    """Row and column step to the neighbour at distance `reach`: above, below, left or right."""
    down = reach if side == 0 else (-reach if side == 1 else 0)
    across = reach if side == 2 else (-reach if side == 3 else 0)
    return down, across


@njit(cache=True, inline="always")
def _draw(state, best, window):
    """A place uniform in the square of half side `window` around `best`, from the 32 bits of `state`."""
    span = 2 * window + 1
    return (
        best[0] - window + (((state & 0xFFFF) * span) >> 16),
        best[1] - window + (((state >> 16) * span) >> 16),
    )


@njit(cache=True, parallel=True)
def score_field(problem, source, cost):
    """Recompute `cost` (H, W) int64 of the field `source` (H, W, 2) int32 after the features changed."""
    features, compared, atlas, targets = problem.features, problem.compared, problem.atlas, problem.targets
    channels, radius = problem.channels, problem.radius
    means, guide = problem.means, problem.guide
    penalties = (problem.offset_penalty, problem.mirror_penalty)
    for index in prange(targets.shape[0]):
        row, column = targets[index, 0], targets[index, 1]
        source_row, source_column = source[row, column, 0], source[row, column, 1]
        cost[row, column] = _distance(
            features, compared, atlas, channels, radius, row, column, source_row, source_column, FAR
        ) + _penalty(means, guide, penalties, row, column, source_row, source_column)


@njit(cache=True, parallel=True)
def search_pass(problem, source, cost, next_source, next_cost, reach, draws, seed):
    """One Jacobi pass from (`source`, `cost`) to (`next_source`, `next_cost`).

    The neighbours at distance 1 and `reach` propose the source beside their own; then one random source of the whole
    atlas is tried, and `draws` in a window around the best one that halves each time.
    """
    features, compared, atlas, valid = problem.features, problem.compared, problem.atlas, problem.valid
    valid_list, targets, is_target = problem.valid_list, problem.targets, problem.is_target
    channels, radius = problem.channels, problem.radius
    means, guide = problem.means, problem.guide
    penalties = (problem.offset_penalty, problem.mirror_penalty)
    height, width = is_target.shape
    for index in prange(targets.shape[0]):
        row, column = np.int64(targets[index, 0]), np.int64(targets[index, 1])
        best = (np.int64(source[row, column, 0]), np.int64(source[row, column, 1]), cost[row, column])
        for side in range(8):
            down, across = _neighbour(side & 3, 1 if side < 4 else reach)
            if not (0 <= row + down < height and 0 <= column + across < width):
                continue
            if not is_target[row + down, column + across]:
                continue
            place = (
                np.int64(source[row + down, column + across, 0]) - down,
                np.int64(source[row + down, column + across, 1]) - across,
            )
            best = _better(
                features, compared, atlas, valid, means, guide, channels, radius, penalties, row, column, place, best
            )
        state = _hash(np.int64(seed) ^ _hash(row * width + column + 1))
        chosen = (state * valid_list.shape[0]) >> 32
        place = (np.int64(valid_list[chosen, 0]), np.int64(valid_list[chosen, 1]))
        best = _better(
            features, compared, atlas, valid, means, guide, channels, radius, penalties, row, column, place, best
        )
        window = max(height, width) // 2
        for draw in range(draws):
            state = _hash(state + 0x9E3779B9 * (draw + 1))
            place = _draw(state, best, window)
            best = _better(
                features, compared, atlas, valid, means, guide, channels, radius, penalties, row, column, place, best
            )
            window = max(1, window >> 1)
        next_source[row, column, 0] = best[0]
        next_source[row, column, 1] = best[1]
        next_cost[row, column] = best[2]


@njit(cache=True, parallel=True)
def vote(problem, source, weight, proposal):
    """Put the mean of what the patches over a hole pixel propose, `weight` (H, W) float32, into `proposal`.

    proposal: (H, W*C) int16, written at the hole pixels only; may be `problem.features`, which is not read.
    """
    atlas, hole_pixels, channels, radius = problem.atlas, problem.hole_pixels, problem.channels, problem.radius
    height, width = problem.is_target.shape
    for index in prange(hole_pixels.shape[0]):
        row, column = hole_pixels[index, 0], hole_pixels[index, 1]
        total = np.float32(0.0)
        sums = np.zeros(VOTE_CHANNELS, np.float32)
        for centre_row in range(max(0, row - radius), min(height, row + radius + 1)):
            for centre_column in range(max(0, column - radius), min(width, column + radius + 1)):
                share = weight[centre_row, centre_column]
                from_row = source[centre_row, centre_column, 0] + row - centre_row
                start = (source[centre_row, centre_column, 1] + column - centre_column) * channels
                total += share
                for channel in range(channels):
                    sums[channel] += share * atlas[from_row, start + channel]
        for channel in range(channels):
            proposal[row, column * channels + channel] = np.int16(np.rint(sums[channel] / total))


@njit(cache=True, inline="always")
def _least(badness, first_row, last_row, first_column, last_column):
    least = np.float32(np.inf)
    for row in range(first_row, last_row):
        for column in range(first_column, last_column):
            least = min(least, badness[row, column])
    return least


@njit(cache=True, parallel=True)
def vote_colours(problem, atlas_srgb, atlas_allowed, source, badness, softness, floor, colours, steps):
    """Final colours and colour steps of every hole pixel, voted by the patches over it.

    A patch's share falls by 1/e when its `badness` (H, W) float32 exceeds the least one over the pixel by `softness`
    of that least one plus `floor`: close to a choice of the best patch, yet without a jagged line where two meet.

    atlas_srgb: (A, W, 3) float32. atlas_allowed: (A, W) bool. colours: (H, W, 3) float32, written at the hole pixels.
    steps: (H, W, 4, 3) float32, written there too: colour of the pixel minus that of the neighbour above, below, left
    and right as the sources have it, NaN where none of them has that neighbour.
    """
    hole_pixels, radius = problem.hole_pixels, problem.radius
    height, width = problem.is_target.shape
    for index in prange(hole_pixels.shape[0]):
        row, column = hole_pixels[index, 0], hole_pixels[index, 1]
        first_row, end_row = max(0, row - radius), min(height, row + radius + 1)
        first_column, end_column = max(0, column - radius), min(width, column + radius + 1)
        least = _least(badness, first_row, end_row, first_column, end_column)
        fall = softness * least + floor
        sums = np.zeros((5, 4), np.float32)
        for centre_row in range(first_row, end_row):
            for centre_column in range(first_column, end_column):
                share = np.exp((least - badness[centre_row, centre_column]) / fall)
                if share < 1e-3:
                    continue
                at_row = source[centre_row, centre_column, 0] + row - centre_row
                at_column = source[centre_row, centre_column, 1] + column - centre_column
                _add_votes(atlas_srgb, atlas_allowed, at_row, at_column, share, sums)
        for channel in range(3):
            colours[row, column, channel] = sums[4, channel] / sums[4, 3]
            for side in range(4):
                steps[row, column, side, channel] = sums[side, channel] / sums[side, 3] if sums[side, 3] > 0 else np.nan


@njit(cache=True)
def _add_votes(atlas_srgb, atlas_allowed, row, column, share, sums):
    """Add one source pixel to sums (5, 4): steps to the four neighbours, then the colour; shares in the last column."""
    sums[4, 3] += share
    for channel in range(3):
        sums[4, channel] += share * atlas_srgb[row, column, channel]
    for side in range(4):
        down, across = _neighbour(side, 1)
        if not (0 <= row - down < atlas_srgb.shape[0] and 0 <= column - across < atlas_srgb.shape[1]):
            continue
        if not atlas_allowed[row - down, column - across]:
            continue
        sums[side, 3] += share
        for channel in range(3):
            step = atlas_srgb[row, column, channel] - atlas_srgb[row - down, column - across, channel]
            sums[side, channel] += share * step
