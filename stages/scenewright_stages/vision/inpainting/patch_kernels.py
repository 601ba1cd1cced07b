"""Compiled inner loops of the patch search: distances, search and votes.

The search is PatchMatch (Barnes et al., SIGGRAPH 2009) in a Jacobi form: every target reads the previous field and
writes the next one, so the result does not depend on the number of threads or their order. Random draws come from a
hash of (seed, target, draw), never from a shared generator. Distances are sums of squares of 16-bit integers and hence
exact, whatever the order a compiler adds them in.

Arrays all kernels share (H, W = level size, C = feature channels):
    features     (H, W*C) int16   Lab features; known pixels fixed, hole pixels updated by the votes
    compared     (H, W*C) int16   1 where a target patch compares this pixel, 0 where it ignores it
    valid        (H, W) bool      a source patch centred here lies inside the image and the allowed pixels
    targets      (N, 2) int32     row, column of every patch centre whose patch touches the hole
    source       (H, W, 2) int32  row, column of the source patch of each target
    cost         (H, W) int64     distance + offset penalty of that source
"""

import numpy as np
from numba import njit, prange


FAR = np.int64(1) << 60
"""Cost of a source that was never compared: larger than any distance."""


@njit(cache=True, inline="always")
def _hash(value):  # type: ignore[no-untyped-def]
    """32-bit finaliser of MurmurHash3: every input bit changes half of the output bits."""
    value &= 0xFFFFFFFF
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & 0xFFFFFFFF
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & 0xFFFFFFFF
    value ^= value >> 16
    return value


@njit(cache=True)
def patch_distance(features, compared, channels, radius, row, column, source_row, source_column, limit):  # type: ignore[no-untyped-def]
    """Sum of squared differences over the part of the target patch that is inside the image; stops above `limit`."""
    height = features.shape[0]
    width = features.shape[1] // channels
    left = min(radius, column)
    right = min(radius, width - 1 - column)
    count = (left + right + 1) * channels
    target_start = (column - left) * channels
    source_start = (source_column - left) * channels
    total = np.int64(0)
    for step in range(-min(radius, row), min(radius, height - 1 - row) + 1):
        target_line = features[row + step, target_start : target_start + count]
        source_line = features[source_row + step, source_start : source_start + count]
        weight_line = compared[row + step, target_start : target_start + count]
        line = np.int32(0)
        for index in range(count):
            difference = np.int32(target_line[index]) - np.int32(source_line[index])
            line += difference * difference * np.int32(weight_line[index])
        total += line
        if total >= limit:
            return total
    return total


@njit(cache=True, inline="always")
def _offset_penalty(row, column, source_row, source_column, penalty):  # type: ignore[no-untyped-def]
    distance = np.sqrt(np.float64((row - source_row) ** 2 + (column - source_column) ** 2))
    return np.int64(distance * penalty)


@njit(cache=True, parallel=True)
def score_field(features, compared, channels, radius, targets, source, cost, penalty) -> None:  # type: ignore[no-untyped-def]
    """Recompute `cost` of the current field after the features changed."""
    for index in prange(targets.shape[0]):
        row, column = targets[index, 0], targets[index, 1]
        source_row, source_column = source[row, column, 0], source[row, column, 1]
        cost[row, column] = patch_distance(
            features, compared, channels, radius, row, column, source_row, source_column, FAR
        ) + _offset_penalty(row, column, source_row, source_column, penalty)


@njit(cache=True, parallel=True)
def search_pass(  # type: ignore[no-untyped-def]
    features, compared, channels, radius, valid, sources, targets, is_target, source, cost, new_source, new_cost,
    step, draws, seed, penalty,
) -> None:  # fmt: skip
    """One Jacobi pass: neighbours at distance 1 and `step` propose their offsets, then `draws` random sources.

    The random ones are uniform in a window around the best source that halves with each draw, the first of them
    uniform over all valid `sources` (M, 2).
    """
    height, width = valid.shape
    for index in prange(targets.shape[0]):
        row, column = targets[index, 0], targets[index, 1]
        best_row, best_column = source[row, column, 0], source[row, column, 1]
        best = cost[row, column]
        for proposal in range(8):
            reach = 1 if proposal < 4 else step
            side = proposal & 3
            down = reach if side == 0 else (-reach if side == 1 else 0)
            across = reach if side == 2 else (-reach if side == 3 else 0)
            other_row, other_column = row + down, column + across
            if other_row < 0 or other_row >= height or other_column < 0 or other_column >= width:
                continue
            if not is_target[other_row, other_column]:
                continue
            try_row = source[other_row, other_column, 0] - down
            try_column = source[other_row, other_column, 1] - across
            if try_row < 0 or try_row >= height or try_column < 0 or try_column >= width:
                continue
            if not valid[try_row, try_column] or (try_row == best_row and try_column == best_column):
                continue
            extra = _offset_penalty(row, column, try_row, try_column, penalty)
            if extra >= best:
                continue
            found = extra + patch_distance(
                features, compared, channels, radius, row, column, try_row, try_column, best - extra
            )
            if found < best:
                best, best_row, best_column = found, try_row, try_column
        window = max(height, width)
        state = _hash(np.int64(seed) ^ _hash(np.int64(row * width + column + 1)))
        for draw in range(draws):
            state = _hash(state + np.int64(0x9E3779B9) * (draw + 1))
            if draw == 0:
                chosen = (state * sources.shape[0]) >> 32
                try_row, try_column = sources[chosen, 0], sources[chosen, 1]
            else:
                span = 2 * window + 1
                try_row = best_row - window + (((state & 0xFFFF) * span) >> 16)
                try_column = best_column - window + (((state >> 16) * span) >> 16)
                window = max(1, window >> 1)
                if try_row < 0 or try_row >= height or try_column < 0 or try_column >= width:
                    continue
            if not valid[try_row, try_column]:
                continue
            extra = _offset_penalty(row, column, try_row, try_column, penalty)
            if extra >= best:
                continue
            found = extra + patch_distance(
                features, compared, channels, radius, row, column, try_row, try_column, best - extra
            )
            if found < best:
                best, best_row, best_column = found, try_row, try_column
        new_source[row, column, 0] = best_row
        new_source[row, column, 1] = best_column
        new_cost[row, column] = best


@njit(cache=True, parallel=True)
def vote(features, channels, radius, hole_pixels, is_target, source, weight, new_features) -> None:  # type: ignore[no-untyped-def]
    """New feature of every hole pixel: the `weight`ed (H, W float32) mean of what the patches over it propose."""
    height, width = is_target.shape
    for index in prange(hole_pixels.shape[0]):
        row, column = hole_pixels[index, 0], hole_pixels[index, 1]
        total = np.float32(0.0)
        sums = np.zeros(8, np.float32)
        for centre_row in range(max(0, row - radius), min(height, row + radius + 1)):
            for centre_column in range(max(0, column - radius), min(width, column + radius + 1)):
                if not is_target[centre_row, centre_column]:
                    continue
                share = weight[centre_row, centre_column]
                from_row = source[centre_row, centre_column, 0] + row - centre_row
                from_column = (source[centre_row, centre_column, 1] + column - centre_column) * channels
                total += share
                for channel in range(channels):
                    sums[channel] += share * features[from_row, from_column + channel]
        for channel in range(channels):
            new_features[row, column * channels + channel] = np.int16(np.rint(sums[channel] / total))


@njit(cache=True, parallel=True)
def choose_sources(hole_pixels, radius, is_target, source, cost, chosen) -> None:  # type: ignore[no-untyped-def]
    """Source pixel of every hole pixel: what the cheapest patch over it proposes (`chosen` (H, W, 2) int32)."""
    height, width = is_target.shape
    for index in prange(hole_pixels.shape[0]):
        row, column = hole_pixels[index, 0], hole_pixels[index, 1]
        best = FAR
        for centre_row in range(max(0, row - radius), min(height, row + radius + 1)):
            for centre_column in range(max(0, column - radius), min(width, column + radius + 1)):
                if is_target[centre_row, centre_column] and cost[centre_row, centre_column] < best:
                    best = cost[centre_row, centre_column]
                    chosen[row, column, 0] = source[centre_row, centre_column, 0] + row - centre_row
                    chosen[row, column, 1] = source[centre_row, centre_column, 1] + column - centre_column
