"""Compiled loops of the albedo estimates: the sRGB curve, block means, gradients, Retinex and division by shading.

The sRGB curve is interpolated linearly from tables. The table towards sRGB is spaced uniformly in the square root of
the linear value, where the curve is flattest; errors stay below 1 / 20,000.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit

from scenewright_stages.vision.imaging.colour import linear_from_srgb, srgb_from_linear

STEPS = 4096

_POINTS = np.linspace(0, 1, STEPS + 1)
LINEAR_TABLE = np.append(linear_from_srgb(_POINTS), np.float32(1)).astype(np.float32)
SRGB_TABLE = np.append(srgb_from_linear(_POINTS**2), np.float32(1)).astype(np.float32)

DARK = np.float32(0.004)
SMOOTH = np.float32(0.02)  # weight of "no change" where the picture says nothing about the light
OUTSIDE = np.float32(0.05)

RED, GREEN, BLUE = np.float32(0.2126), np.float32(0.7152), np.float32(0.0722)
DARKEST = np.float32(1e-4)


@njit(cache=True, nogil=True)
def to_linear(value, table):
    """Linear light of an sRGB value, which is clipped to [0, 1]; table is LINEAR_TABLE."""
    place = min(max(value, np.float32(0.0)), np.float32(1.0)) * np.float32(table.shape[0] - 2)
    index = int(place)
    return table[index] + (place - np.float32(index)) * (table[index + 1] - table[index])


@njit(cache=True, nogil=True)
def to_srgb(value, table):
    """sRGB value of linear light, which is clipped to [0, 1]; table is SRGB_TABLE."""
    place = np.sqrt(min(max(value, np.float32(0.0)), np.float32(1.0))) * np.float32(table.shape[0] - 2)
    index = int(place)
    return table[index] + (place - np.float32(index)) * (table[index + 1] - table[index])


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
    """The pixel index for any position, with repeated mirroring about the outermost pixels."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    position = position % period
    return period - position if position >= size else position


@njit(cache=True, nogil=True)
def _runs(start, length, size, firsts, lasts):
    """Splits positions start .. start + length - 1 into runs of consecutive pixels; returns the number of runs."""
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


@njit(cache=True, nogil=True)
def log_luminance_and_chroma(srgb, table):
    """(h, w) mean log of the channels, and (h, w, 3) each channel's difference from it (linear light + offset)."""
    height, width = srgb.shape[:2]
    logs, chroma = np.empty((height, width), np.float32), np.empty((height, width, 3), np.float32)
    for row in range(height):
        for column in range(width):
            total = np.float32(0.0)
            for channel in range(3):
                value = np.log(to_linear(srgb[row, column, channel], table) + DARK)
                chroma[row, column, channel] = value
                total += value
            mean = total / np.float32(3.0)
            logs[row, column] = mean
            for channel in range(3):
                chroma[row, column, channel] -= mean
    return logs, chroma


@njit(cache=True, nogil=True)
def differences(logs, chroma, inside, edges):
    """Weights and target differences (h, w, 2): a pixel's right and lower neighbours minus the pixel."""
    height, width = logs.shape
    weights, wanted = np.zeros((height, width, 2), np.float32), np.zeros((height, width, 2), np.float32)
    one, half = np.float32(1.0), np.float32(0.5)
    for row in range(height):
        for column in range(width):
            for side in range(2):
                below, beside = row + side, column + 1 - side
                if below >= height or beside >= width:
                    continue
                if inside[row, column] < half or inside[below, beside] < half:
                    weights[row, column, side] = OUTSIDE
                    continue
                change = logs[below, beside] - logs[row, column]
                tint = np.float32(0.0)
                for channel in range(3):
                    tint += (chroma[below, beside, channel] - chroma[row, column, channel]) ** 2
                odd = tint / (edges[0] * edges[0])
                odd += (change * change / (edges[1] * edges[1])) ** 2
                trust = one / (one + odd * odd)
                weights[row, column, side] = trust + SMOOTH
                wanted[row, column, side] = trust * change / (trust + SMOOTH)
    return weights, wanted


@njit(cache=True, nogil=True)
def _apply(weights, field, result):
    """The weighted Laplacian, plus a small multiple of the identity that fixes the constant."""
    height, width = field.shape
    for row in range(height):
        for column in range(width):
            result[row, column] = np.float32(1e-6) * field[row, column]
    for row in range(height):
        for column in range(width):
            here = field[row, column]
            if column + 1 < width:
                flow = weights[row, column, 0] * (field[row, column + 1] - here)
                result[row, column] -= flow
                result[row, column + 1] += flow
            if row + 1 < height:
                flow = weights[row, column, 1] * (field[row + 1, column] - here)
                result[row, column] -= flow
                result[row + 1, column] += flow


@njit(cache=True, nogil=True)
def _dot(first, second):
    total = 0.0
    for row in range(first.shape[0]):
        for column in range(first.shape[1]):
            total += first[row, column] * second[row, column]
    return total


@njit(cache=True, nogil=True)
def fit(weights, wanted, steps, tolerance):
    """(h, w) least-squares field for the target differences, by conjugate gradients with a diagonal preconditioner."""
    height, width = weights.shape[:2]
    residual, diagonal = np.zeros((height, width), np.float32), np.full((height, width), np.float32(1e-6))
    for row in range(height):
        for column in range(width):
            for side in range(2):
                weight = weights[row, column, side]
                if weight > np.float32(0.0):
                    below, beside = row + side, column + 1 - side
                    residual[row, column] -= weight * wanted[row, column, side]
                    residual[below, beside] += weight * wanted[row, column, side]
                    diagonal[row, column] += weight
                    diagonal[below, beside] += weight
    field, image = np.zeros((height, width), np.float32), np.empty((height, width), np.float32)
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = _dot(residual, scaled)
    first = energy
    for _ in range(steps):
        if energy <= tolerance * tolerance * first:
            break
        _apply(weights, direction, image)
        step = np.float32(energy / _dot(direction, image))
        for row in range(height):
            for column in range(width):
                field[row, column] += step * direction[row, column]
                residual[row, column] -= step * image[row, column]
                scaled[row, column] = residual[row, column] / diagonal[row, column]
        before, energy = energy, _dot(residual, scaled)
        turn = np.float32(energy / before)
        for row in range(height):
            for column in range(width):
                direction[row, column] = scaled[row, column] + turn * direction[row, column]
    return field


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
    """The image over the shading (h, w), sampled bilinearly: (H, W, 3) albedo in sRGB, (H, W) shading.

    An albedo with a channel above white is darkened as a whole: clipped channel by channel, bright skin would turn
    yellow.
    """
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
            brightest = DARKEST
            for channel in range(3):
                brightest = max(brightest, to_linear(srgb[row, column, channel], linear_table))
            scale = one / max(light, brightest)
            for channel in range(3):
                value = srgb[row, column, channel]
                bare = to_srgb(to_linear(value, linear_table) * scale, srgb_table)
                result[row, column, channel] = bare + blend * (value - bare)
    return result, full
