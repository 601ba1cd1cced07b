"""Compiled loops of the multi-scale Retinex."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def multiplied(product, blurred):
    """product * (blurred + 1); product may be a single pixel."""
    height, width = blurred.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    single = product.shape[0] == 1 and product.shape[1] == 1
    one = np.float32(1.0)
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                before = product[0, 0, channel] if single else product[row, column, channel]
                result[row, column, channel] = before * (blurred[row, column, channel] + one)
    return result


@njit(cache=True, nogil=True)
def log_ratio(image, product, scales):
    """log2((image + 1)^scales / product) / scales, and its least and greatest value."""
    height, width = image.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    low, high = np.float32(np.inf), np.float32(-np.inf)
    share, one = np.float32(1.0 / scales), np.float32(1.0)
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                value = np.log2(image[row, column, channel] + one) - share * np.log2(product[row, column, channel])
                result[row, column, channel] = value
                low, high = min(low, value), max(high, value)
    return result, low, high


@njit(cache=True, nogil=True)
def histograms(values, low, high, bins):
    """(3, bins) int64 counts per channel between low and high."""
    counts = np.zeros((3, bins), np.int64)
    height, width = values.shape[:2]
    scale = np.float32(bins) / max(high - low, np.float32(1e-12))
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                place = int((values[row, column, channel] - low) * scale)
                counts[channel, min(place, bins - 1)] += 1
    return counts


@njit(cache=True, nogil=True)
def stretched(values, image, limits):
    """Each channel from its limits (3, 2) to [0, 1]; a flat one is image / 255."""
    height, width = values.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    zero, one = np.float32(0.0), np.float32(1.0)
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                reach = limits[channel, 1] - limits[channel, 0]
                if reach > np.float32(1e-5):
                    value = (values[row, column, channel] - limits[channel, 0]) / reach
                else:
                    value = image[row, column, channel] / np.float32(255.0)
                result[row, column, channel] = min(max(value, zero), one)
    return result
