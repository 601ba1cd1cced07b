"""Compiled loops of mattes: the guided filter, and the separation of colours at soft outlines."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def moments(guide, target):
    """Colour, its products, target and target times colour: three (h, w, 4) and one (h, w), all float32.

    Order: r g b t, rr rg rb gg, gb bb tr tg, and tb. Each array is contiguous: OpenCV copies slices of a larger one
    before it filters them, which takes longer than the filter.
    """
    height, width = target.shape
    colour, squares = np.empty((height, width, 4), np.float32), np.empty((height, width, 4), np.float32)
    mixed, last = np.empty((height, width, 4), np.float32), np.empty((height, width), np.float32)
    for row in range(height):
        for column in range(width):
            red, green, blue = guide[row, column, 0], guide[row, column, 1], guide[row, column, 2]
            value = target[row, column]
            out = colour[row, column]
            out[0], out[1], out[2], out[3] = red, green, blue, value
            out = squares[row, column]
            out[0], out[1], out[2], out[3] = red * red, red * green, red * blue, green * green
            out = mixed[row, column]
            out[0], out[1], out[2], out[3] = green * blue, blue * blue, value * red, value * green
            last[row, column] = value * blue
    return colour, squares, mixed, last


@njit(cache=True, nogil=True)
def solve(colour, squares, mixed, last, regularity):
    """(h, w, 4) slopes and offset of the least squares fit in every window, from the means of `moments`."""
    height, width = last.shape
    result = np.empty((height, width, 4), np.float32)
    zero = np.float32(0.0)
    for row in range(height):
        for column in range(width):
            mean, more, rest = colour[row, column], squares[row, column], mixed[row, column]
            red, green, blue, value = mean[0], mean[1], mean[2], mean[3]
            x = rest[2] - value * red
            y = rest[3] - value * green
            z = last[row, column] - value * blue
            out = result[row, column]
            if x == zero and y == zero and z == zero:
                # Most windows see only one side of the outline.
                out[0], out[1], out[2], out[3] = zero, zero, zero, value
                continue
            a = more[0] - red * red + regularity
            b = more[1] - red * green
            c = more[2] - red * blue
            d = more[3] - green * green + regularity
            e = rest[0] - green * blue
            f = rest[1] - blue * blue + regularity
            aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
            dd, ee, ff = a * f - c * c, b * c - a * e, a * d - b * b
            scale = np.float32(1.0) / (a * aa + b * bb + c * cc)
            first = (aa * x + bb * y + cc * z) * scale
            second = (bb * x + dd * y + ee * z) * scale
            third = (cc * x + ee * y + ff * z) * scale
            out[0], out[1], out[2] = first, second, third
            out[3] = value - first * red - second * green - third * blue
    return result


@njit(cache=True, nogil=True)
def _settled(coefficients):
    """(h, w) int8: 0 or 1 where the fit says so whatever the colour, else 2."""
    rows, columns = coefficients.shape[:2]
    result = np.full((rows, columns), 2, np.int8)
    tiny = np.float32(1e-4)
    for row in range(rows):
        for column in range(columns):
            one = coefficients[row, column]
            if abs(one[0]) + abs(one[1]) + abs(one[2]) < tiny:
                if abs(one[3]) < tiny:
                    result[row, column] = 0
                elif abs(one[3] - np.float32(1.0)) < tiny:
                    result[row, column] = 1
    return result


@njit(cache=True, nogil=True)
def apply_coefficients(srgb, coefficients, certain):
    """(H, W) matte: coefficients sampled bilinearly, stretched so that `certain` and 1 - `certain` are exact."""
    height, width = srgb.shape[:2]
    rows, columns = coefficients.shape[:2]
    settled = _settled(coefficients)
    result = np.empty((height, width), np.float32)
    down, across = np.float32(rows / height), np.float32(columns / width)
    half, one, zero = np.float32(0.5), np.float32(1.0), np.float32(0.0)
    stretch = one / (one - certain - certain)
    for row in range(height):
        y = min(max((np.float32(row) + half) * down - half, zero), np.float32(rows - 1))
        top = min(int(y), rows - 1)
        bottom = min(top + 1, rows - 1)
        lower = y - np.float32(top)
        for column in range(width):
            x = min(max((np.float32(column) + half) * across - half, zero), np.float32(columns - 1))
            left = min(int(x), columns - 1)
            right = min(left + 1, columns - 1)
            beside = x - np.float32(left)
            known = settled[top, left]
            if known < 2 and known == settled[top, right] == settled[bottom, left] == settled[bottom, right]:
                result[row, column] = np.float32(known)
                continue
            value = zero
            for channel in range(4):
                above = coefficients[top, left, channel] * (one - beside) + coefficients[top, right, channel] * beside
                below = (
                    coefficients[bottom, left, channel] * (one - beside) + coefficients[bottom, right, channel] * beside
                )
                slope = above * (one - lower) + below * lower
                value += slope * srgb[row, column, channel] if channel < 3 else slope
            result[row, column] = min(max((value - certain) * stretch, zero), one)
    return result


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
def share_rest(colours, alpha, foreground, background, front, back, plain):
    """Write foreground and background, corrected so that they explain the image, to the soft pixels of front and back.

    The image lies in [0, 1], so there is always such a pair in [0, 1]: it explains the image to rounding, even where
    the two continued colours alone could not. plain becomes the image as those explain it that each took its own share
    of the rest and were clipped: its distance from the image says how wrong the outline is. foreground and background
    may have fewer pixels than the image; see `matting.separate`.
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
                seen = colours[row, column, channel]
                rest = (seen - cover * near - through * far) * scale
                found, behind = near + cover * rest, far + through * rest
                clipped = min(max(behind, zero), one)
                plain[row, column, channel] = cover * min(max(found, zero), one) + through * clipped
                # The least change of both that explains the pixel, within what leaves both in [0, 1].
                found = min(max(found, zero, (seen - through) / cover), one, seen / cover)
                front[row, column, channel] = found
                back[row, column, channel] = min(max((seen - cover * found) / through, zero), one)
