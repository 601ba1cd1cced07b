"""Compiled inner loops of colour separation."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


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
def share_rest(srgb, alpha, foreground, background):
    """Foreground and background corrected so that they explain the image; see `colours.separate`."""
    height, width = alpha.shape
    front, back = np.empty_like(srgb), np.empty_like(srgb)
    zero, one = np.float32(0.0), np.float32(1.0)
    for row in range(height):
        for column in range(width):
            cover = alpha[row, column]
            through = one - cover
            scale = one / (cover * cover + through * through)
            for channel in range(3):
                seen = srgb[row, column, channel]
                near, far = foreground[row, column, channel], background[row, column, channel]
                rest = (seen - cover * near - through * far) * scale
                near = min(max(near + cover * rest, zero), one)
                far = min(max(far + through * rest, zero), one)
                front[row, column, channel] = seen if cover >= one else near
                back[row, column, channel] = seen if cover <= zero else far
    return front, back
