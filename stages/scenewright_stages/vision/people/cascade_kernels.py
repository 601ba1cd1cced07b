"""Compiled evaluation of the face cascade over all windows of an image."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _block(integral, row, column, height, width):
    return (
        integral[row + height, column + width]
        - integral[row, column + width]
        - integral[row + height, column]
        + integral[row, column]
    )


@njit(cache=True, nogil=True)
def _pattern(integral, row, column, height, width):
    """The 3x3 blocks from (row, column) on: a bit for each outer block that is at least as bright as the middle.

    The bits run clockwise from the upper left block, which has the highest one.
    """
    middle = _block(integral, row + height, column + width, height, width)
    pattern = 0
    pattern |= (_block(integral, row, column, height, width) >= middle) << 7
    pattern |= (_block(integral, row, column + width, height, width) >= middle) << 6
    pattern |= (_block(integral, row, column + 2 * width, height, width) >= middle) << 5
    pattern |= (_block(integral, row + height, column + 2 * width, height, width) >= middle) << 4
    pattern |= (_block(integral, row + 2 * height, column + 2 * width, height, width) >= middle) << 3
    pattern |= (_block(integral, row + 2 * height, column + width, height, width) >= middle) << 2
    pattern |= (_block(integral, row + 2 * height, column, height, width) >= middle) << 1
    pattern |= (_block(integral, row + height, column, height, width) >= middle) << 0
    return pattern


@njit(cache=True, nogil=True)
def face_windows(integral, window, step, blocks, subsets, leaves, stage_ends, stage_thresholds):
    """Margins of the last stage, (rows, columns) float32; NaN where a window left the cascade.

    integral is (H + 1, W + 1) int32, the sums of a grey image; windows start every `step` pixels.
    """
    rows = (integral.shape[0] - 1 - window) // step + 1
    columns = (integral.shape[1] - 1 - window) // step + 1
    margins = np.full((rows, columns), np.nan, np.float32)
    for row in range(rows):
        for column in range(columns):
            classifier = 0
            total = np.float32(0.0)
            for stage in range(stage_ends.shape[0]):
                total = np.float32(0.0)
                while classifier < stage_ends[stage]:
                    x, y, width, height = blocks[classifier]
                    pattern = _pattern(integral, row * step + y, column * step + x, height, width)
                    unlike = (subsets[classifier, pattern >> 5] >> (pattern & 31)) & 1
                    total += leaves[classifier, 0] if unlike else leaves[classifier, 1]
                    classifier += 1
                if total < stage_thresholds[stage]:
                    total = np.float32(np.nan)
                    break
            if not np.isnan(total):
                margins[row, column] = total - stage_thresholds[-1]
    return margins
