"""Compiled loops that divide photographs by shading and blend."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit

from scenewright_stages.vision.curves import to_linear, to_srgb

RED, GREEN, BLUE = np.float32(0.2126), np.float32(0.7152), np.float32(0.0722)
DARKEST = np.float32(1e-4)


@njit(cache=True, nogil=True)
def _luminance(pixel, table):
    return RED * to_linear(pixel[0], table) + GREEN * to_linear(pixel[1], table) + BLUE * to_linear(pixel[2], table)


@njit(cache=True, nogil=True)
def blended_with_shading(srgb, albedo, blend, linear_table):
    """(H, W, 3) albedo + blend * (srgb - albedo), and (H, W) the luminance of the image over that of the result."""
    height, width = srgb.shape[:2]
    result, shading = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                value = albedo[row, column, channel]
                result[row, column, channel] = value + blend * (srgb[row, column, channel] - value)
            seen, white = _luminance(srgb[row, column], linear_table), _luminance(result[row, column], linear_table)
            shading[row, column] = (seen + DARKEST) / (white + DARKEST)
    return result, shading


@njit(cache=True, nogil=True)
def divided(srgb, shading, blend, linear_table, srgb_table):
    """The image over the shading (h, w), sampled bilinearly: (H, W, 3) albedo in sRGB, (H, W) shading."""
    height, width = srgb.shape[:2]
    rows, columns = shading.shape
    down, across = np.float32(rows / height), np.float32(columns / width)
    result, full = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
    half, zero, one = np.float32(0.5), np.float32(0.0), np.float32(1.0)
    for row in range(height):
        y = min(max((np.float32(row) + half) * down - half, zero), np.float32(rows - 1))
        top = int(y)
        bottom, below = min(top + 1, rows - 1), y - np.float32(top)
        for column in range(width):
            x = min(max((np.float32(column) + half) * across - half, zero), np.float32(columns - 1))
            left = int(x)
            right, beside = min(left + 1, columns - 1), x - np.float32(left)
            upper = shading[top, left] + beside * (shading[top, right] - shading[top, left])
            lower = shading[bottom, left] + beside * (shading[bottom, right] - shading[bottom, left])
            light = upper + below * (lower - upper)
            full[row, column] = light
            scale = one / max(light, DARKEST)
            for channel in range(3):
                value = srgb[row, column, channel]
                bare = to_srgb(to_linear(value, linear_table) * scale, srgb_table)
                result[row, column, channel] = bare + blend * (value - bare)
    return result, full
