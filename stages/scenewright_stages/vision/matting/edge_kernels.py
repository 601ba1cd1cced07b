"""Compiled inner loops of colour separation."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def certain_colours(colours, alpha, factor, opaque, clear):
    """Sums of the colours that surely are foreground, and background, over blocks of factor x factor pixels.

    Returns (h, w, 4) float32 twice: red, green, blue and weight, divided by the pixels of a block.
    """
    height, width = alpha.shape
    rows, columns = -(-height // factor), -(-width // factor)
    front, back = np.zeros((rows, columns, 4), np.float32), np.zeros((rows, columns, 4), np.float32)
    share = np.float32(1.0 / (factor * factor))
    for row in range(height):
        for column in range(width):
            cover = alpha[row, column]
            if cover >= opaque:
                block = front[row // factor, column // factor]
            elif cover <= clear:
                block = back[row // factor, column // factor]
            else:
                continue
            for channel in range(3):
                block[channel] += share * colours[row, column, channel]
            block[3] += share
    return front, back


@njit(cache=True, nogil=True)
def lay_over(weighted, coarse):
    """(h, w, 3): the weighted colours (r, g, b, weight <= 1) of a level over the coarser ones."""
    height, width = coarse.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    for row in range(height):
        for column in range(width):
            weight = min(weighted[row, column, 3], np.float32(1.0))
            for channel in range(3):
                rest = (np.float32(1.0) - weight) * coarse[row, column, channel]
                result[row, column, channel] = weighted[row, column, channel] + rest
    return result


@njit(cache=True, nogil=True)
def _at(plane, y, x, channel):
    """Bilinear sample of one channel, held at the border."""
    rows, columns = plane.shape[:2]
    y = min(max(y, np.float32(0.0)), np.float32(rows - 1))
    x = min(max(x, np.float32(0.0)), np.float32(columns - 1))
    top, left = int(y), int(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    down, across = y - np.float32(top), x - np.float32(left)
    above = plane[top, left, channel] + across * (plane[top, right, channel] - plane[top, left, channel])
    below = plane[bottom, left, channel] + across * (plane[bottom, right, channel] - plane[bottom, left, channel])
    return above + down * (below - above)


@njit(cache=True, nogil=True)
def share_rest(colours, alpha, foreground, background, front, back):
    """Write foreground and background, corrected so that they explain the image, to the soft pixels of front and back.

    foreground and background may have fewer pixels than the image; see `colours.separate`.
    """
    height, width = alpha.shape
    down = np.float32(round(height / foreground.shape[0]))
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    for row in range(height):
        y = (np.float32(row) + half) / down - half
        for column in range(width):
            cover = alpha[row, column]
            if cover <= zero or cover >= one:
                continue
            x = (np.float32(column) + half) / down - half
            through = one - cover
            scale = one / (cover * cover + through * through)
            for channel in range(3):
                near, far = _at(foreground, y, x, channel), _at(background, y, x, channel)
                rest = (colours[row, column, channel] - cover * near - through * far) * scale
                front[row, column, channel] = min(max(near + cover * rest, zero), one)
                back[row, column, channel] = min(max(far + through * rest, zero), one)
