"""Compiled reduction of a mirrored image to block means."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def running_sums(image):
    """(H, W + 1, 3) float64 sums of each row up to a column."""
    height, width = image.shape[:2]
    sums = np.empty((height, width + 1, 3), np.float64)
    for row in range(height):
        first, second, third = 0.0, 0.0, 0.0
        sums[row, 0, 0] = sums[row, 0, 1] = sums[row, 0, 2] = 0.0
        for column in range(width):
            first += image[row, column, 0]
            second += image[row, column, 1]
            third += image[row, column, 2]
            sums[row, column + 1, 0] = first
            sums[row, column + 1, 1] = second
            sums[row, column + 1, 2] = third
    return sums


@njit(cache=True, nogil=True)
def mirrored(position, size):
    """The pixel that stands at any position of an image mirrored about its outermost pixels, again and again."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    position = position % period
    return period - position if position >= size else position


@njit(cache=True, nogil=True)
def _runs(start, length, size, firsts, lasts):
    """Split positions start .. start + length - 1 into stretches of neighbouring pixels; how many there are."""
    count = 0
    position = start
    end = start + length
    while position < end:
        pixel = mirrored(position, size)
        last = pixel
        position += 1
        step = 0
        while position < end:
            following = mirrored(position, size)
            if step == 0:
                step = following - last
            if following - last != step or step == 0:
                break
            last = following
            position += 1
        firsts[count], lasts[count] = min(pixel, last), max(pixel, last)
        count += 1
    return count


@njit(cache=True, nogil=True)
def mirrored_block_means(sums, factor, border):
    """(h, w, 3) float32 means over blocks of factor x factor pixels, `border` blocks beyond the image on each side."""
    height, width = sums.shape[0], sums.shape[1] - 1
    rows, columns = -(-height // factor) + 2 * border, -(-width // factor) + 2 * border
    narrow = np.zeros((height, columns, 3), np.float32)
    firsts, lasts = np.empty(factor, np.int64), np.empty(factor, np.int64)
    for column in range(columns):
        count = _runs((column - border) * factor, factor, width, firsts, lasts)
        for row in range(height):
            for channel in range(3):
                total = 0.0
                for run in range(count):
                    total += sums[row, lasts[run] + 1, channel] - sums[row, firsts[run], channel]
                narrow[row, column, channel] = total
    result = np.zeros((rows, columns, 3), np.float32)
    scale = np.float32(1.0 / (factor * factor))
    for row in range(rows):
        for offset in range(factor):
            source = mirrored((row - border) * factor + offset, height)
            for column in range(columns):
                for channel in range(3):
                    result[row, column, channel] += narrow[source, column, channel]
        for column in range(columns):
            for channel in range(3):
                result[row, column, channel] *= scale
    return result
