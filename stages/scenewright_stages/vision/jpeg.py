"""What repeated JPEG compression leaves of a picture, without writing a single file.

A JPEG file loses nothing in its entropy coding, so that part, more than half of the time, is left out. Everything else
is done in the integers of libjpeg's default path (4:2:0, accurate DCT, smooth chroma), so the values are those of a
file written and read. Pictures are held by macroblocks: all values at one place of a 16 x 16 macroblock lie side by
side, and every step is the same few operations on long rows.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import int32, njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
"""Quantisation at quality 50, of the standard's annex K."""
_INTEGERS = (
    *(f"{letter}{number}" for letter in "vtzs" for number in range(14)),
    *("half", "up", "shift", "down", "down_half", "value", "count", "size"),
    *("red", "green", "blue", "y", "cb", "cr", "a", "b", "total", "sample"),
)
_NARROW = dict.fromkeys(_INTEGERS, int32)
"""Numba computes integers in 64 bits, of which a register holds half as many, unless variables say otherwise."""


def compressed(pixels: Bytes, qualities: Sequence[int]) -> Bytes:
    """(H, W, 3) uint8 RGB after being written as a JPEG file and read again, once for each quality.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        qualities: 1 to 100 each.
    """
    height, width = pixels.shape[:2]
    down, across = -(-height // 16), -(-width // 16)
    padded = np.pad(pixels, ((0, 16 * down - height), (0, 16 * across - width), (0, 0)), mode="edge")
    # (channel, row in the macroblock, column in it, macroblock row, macroblock column)
    blocks = np.ascontiguousarray(padded.reshape(down, 16, across, 16, 3).transpose(4, 0, 1, 3, 2))
    for quality in qualities:
        _round_trip(blocks, _table(_LUMA, quality), _table(_CHROMA, quality), height, width)
    whole = blocks.transpose(1, 2, 4, 3, 0).reshape(16 * down, 16 * across, 3)
    return np.ascontiguousarray(whole[:height, :width])


def warm_up() -> None:
    """Compile the kernels, or find them compiled."""
    compressed(np.zeros((20, 20, 3), np.uint8), [50])


def _table(base: Sequence[int], quality: int) -> NDArray[np.int32]:
    """(64,) divisors at a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(base, np.int32) * scale + 50) // 100, 1, 255).astype(np.int32)


@njit(cache=True, nogil=True)
def _round_trip(blocks, luma, chroma, height, width):
    """Writes into (3, down, 16, 16, across) uint8 what a file of it would give back."""
    down, across = blocks.shape[1], blocks.shape[4]
    colour = np.empty((2, down, 8, 8, across), np.uint8)
    bright = np.empty((down, 16, 16, across), np.uint8)
    work = np.empty((64, across), np.int32)
    full = np.empty((2, 16, 16, across), np.int32)
    for row in range(down):
        _to_luma_and_chroma(blocks, row, full, bright, colour)
    # Encoders continue chroma below the picture after they have reduced it.
    _continue_rows(colour, (height + 1) // 2)
    for row in range(down):
        for quarter in range(4):
            top, left = 8 * (quarter // 2), 8 * (quarter % 2)
            _lossy(bright[row, top : top + 8, left : left + 8], work, luma)
        for channel in range(2):
            _lossy(colour[channel, row], work, chroma)
    # Decoders smooth chroma with nothing from beyond the picture.
    _continue_columns(colour, (width + 1) // 2)
    _continue_rows(colour, (height + 1) // 2)
    for row in range(down):
        _to_colours(blocks, row, full, bright, colour)
    _continue_columns(blocks, width)
    _continue_rows(blocks, height)


@njit(cache=True, nogil=True, locals=_NARROW)
def _to_luma_and_chroma(blocks, row, full, bright, colour):
    across = blocks.shape[4]
    for r in range(16):
        for c in range(16):
            for i in range(across):
                red, green, blue = blocks[0, row, r, c, i], blocks[1, row, r, c, i], blocks[2, row, r, c, i]
                s0 = 19595 * red + 38470 * green + 7471 * blue + 32768
                s1 = -11059 * red - 21709 * green + 32768 * blue + 8421375
                s2 = 32768 * red - 27439 * green - 5329 * blue + 8421375
                bright[row, r, c, i] = s0 >> 16
                full[0, r, c, i] = s1 >> 16
                full[1, r, c, i] = s2 >> 16
    for channel in range(2):
        for r in range(8):
            for c in range(8):
                bias = 1 + c % 2
                for i in range(across):
                    a = full[channel, 2 * r, 2 * c, i] + full[channel, 2 * r, 2 * c + 1, i]
                    b = full[channel, 2 * r + 1, 2 * c, i] + full[channel, 2 * r + 1, 2 * c + 1, i]
                    total = a + b + bias
                    colour[channel, row, r, c, i] = total >> 2


@njit(cache=True, nogil=True, locals=_NARROW)
def _lossy(samples, work, table):
    """(8, 8, N) samples through DCT, quantisation, and back; `work` is (64, N)."""
    across = work.shape[1]
    for k in range(64):
        for i in range(across):
            sample = samples[k // 8, k % 8, i]
            work[k, i] = sample - 128
    for r in range(8):
        _forward(work, 8 * r, 1, True)
    for c in range(8):
        _forward(work, c, 8, False)
    for k in range(64):
        step = np.float32(8 * table[k])
        rounding = np.float32(4 * table[k])
        size = table[k]
        for i in range(across):
            value = work[k, i]
            count = np.int32((np.float32(abs(value)) + rounding) / step)
            total = count * size
            work[k, i] = total if value >= 0 else -total
    for c in range(8):
        _backward(work, c, 8, True)
    for r in range(8):
        _backward(work, 8 * r, 1, False)
    for k in range(64):
        for i in range(across):
            sample = work[k, i] + 128
            samples[k // 8, k % 8, i] = min(max(sample, np.int32(0)), np.int32(255))


@njit(cache=True, nogil=True, locals=_NARROW)
def _forward(work, start, step, first):
    """One pass of the accurate integer DCT over eight rows of `work`; the result of both is eight times the DCT."""
    up = 2 if first else 0
    shift = 11 if first else 15
    half = 1 << (shift - 1)
    down = 0 if first else 2
    down_half = 0 if first else 2
    for i in range(work.shape[1]):
        v0, v1 = work[start, i], work[start + step, i]
        v2, v3 = work[start + 2 * step, i], work[start + 3 * step, i]
        v4, v5 = work[start + 4 * step, i], work[start + 5 * step, i]
        v6, v7 = work[start + 6 * step, i], work[start + 7 * step, i]
        t0, t7, t1, t6 = v0 + v7, v0 - v7, v1 + v6, v1 - v6
        t2, t5, t3, t4 = v2 + v5, v2 - v5, v3 + v4, v3 - v4
        t10, t13, t11, t12 = t0 + t3, t0 - t3, t1 + t2, t1 - t2
        s0, s4 = ((t10 + t11) << up) + down_half, ((t10 - t11) << up) + down_half
        z1 = (t12 + t13) * 4433
        s2, s6 = z1 + t13 * 6270 + half, z1 - t12 * 15137 + half
        z1, z2, z3, z4 = t4 + t7, t5 + t6, t4 + t6, t5 + t7
        z5 = (z3 + z4) * 9633
        z1, z2 = -z1 * 7373, -z2 * 20995
        z3, z4 = -z3 * 16069 + z5, -z4 * 3196 + z5
        s7, s5 = t4 * 2446 + z1 + z3 + half, t5 * 16819 + z2 + z4 + half
        s3, s1 = t6 * 25172 + z2 + z3 + half, t7 * 12299 + z1 + z4 + half
        work[start, i], work[start + 4 * step, i] = s0 >> down, s4 >> down
        work[start + step, i], work[start + 2 * step, i] = s1 >> shift, s2 >> shift
        work[start + 3 * step, i], work[start + 5 * step, i] = s3 >> shift, s5 >> shift
        work[start + 6 * step, i], work[start + 7 * step, i] = s6 >> shift, s7 >> shift


@njit(cache=True, nogil=True, locals=_NARROW)
def _backward(work, start, step, first):
    """One pass of the accurate integer inverse DCT."""
    shift = 11 if first else 18
    half = 1 << (shift - 1)
    for i in range(work.shape[1]):
        v0, v1 = work[start, i], work[start + step, i]
        v2, v3 = work[start + 2 * step, i], work[start + 3 * step, i]
        v4, v5 = work[start + 4 * step, i], work[start + 5 * step, i]
        v6, v7 = work[start + 6 * step, i], work[start + 7 * step, i]
        z1 = (v2 + v6) * 4433
        t2, t3 = z1 - v6 * 15137, z1 + v2 * 6270
        t0, t1 = (v0 + v4) << 13, (v0 - v4) << 13
        t10, t13, t11, t12 = t0 + t3 + half, t0 - t3 + half, t1 + t2 + half, t1 - t2 + half
        z1, z2, z3, z4 = v7 + v1, v5 + v3, v7 + v3, v5 + v1
        z5 = (z3 + z4) * 9633
        z1, z2 = -z1 * 7373, -z2 * 20995
        z3, z4 = -z3 * 16069 + z5, -z4 * 3196 + z5
        t0, t1 = v7 * 2446 + z1 + z3, v5 * 16819 + z2 + z4
        t2, t3 = v3 * 25172 + z2 + z3, v1 * 12299 + z1 + z4
        s0, s7, s1, s6 = t10 + t3, t10 - t3, t11 + t2, t11 - t2
        s2, s5, s3, s4 = t12 + t1, t12 - t1, t13 + t0, t13 - t0
        work[start, i], work[start + step, i] = s0 >> shift, s1 >> shift
        work[start + 2 * step, i], work[start + 3 * step, i] = s2 >> shift, s3 >> shift
        work[start + 4 * step, i], work[start + 5 * step, i] = s4 >> shift, s5 >> shift
        work[start + 6 * step, i], work[start + 7 * step, i] = s6 >> shift, s7 >> shift


@njit(cache=True, nogil=True)
def _continue_columns(blocks, columns):
    """Beyond the first `columns` of (C, down, S, S, across) values stands the last of them."""
    channels, down, side, _, across = blocks.shape
    last = columns - 1
    for channel in range(channels):
        for row in range(down):
            for r in range(side):
                end = blocks[channel, row, r, last % side, last // side]
                for column in range(columns, across * side):
                    blocks[channel, row, r, column % side, column // side] = end


@njit(cache=True, nogil=True)
def _continue_rows(blocks, rows):
    """Beyond the first `rows` of (C, down, S, S, across) values stands the last of them."""
    channels, down, side, _, across = blocks.shape
    last = rows - 1
    for channel in range(channels):
        for row in range(rows, down * side):
            for c in range(side):
                for i in range(across):
                    end = blocks[channel, last // side, last % side, c, i]
                    blocks[channel, row // side, row % side, c, i] = end


@njit(cache=True, nogil=True, locals=_NARROW)
def _to_colours(blocks, row, full, bright, colour):
    """One row of macroblocks: chroma enlarged with weights of 3 and 1 in both directions, and back to RGB."""
    down, across = colour.shape[1], colour.shape[4]
    sums = np.empty((8, across), np.int32)
    for channel in range(2):
        for r in range(16):
            near = r // 2
            far = min(max(8 * row + near - 1 + 2 * (r % 2), 0), 8 * down - 1)
            for c in range(8):
                for i in range(across):
                    a, b = colour[channel, row, near, c, i], colour[channel, far // 8, far % 8, c, i]
                    sums[c, i] = 3 * a + b
            _enlarged(sums, full[channel, r])
    for r in range(16):
        for c in range(16):
            for i in range(across):
                y = bright[row, r, c, i]
                cb, cr = full[0, r, c, i] - 128, full[1, r, c, i] - 128
                s0 = 91881 * cr + 32768
                s1 = -22554 * cb - 46802 * cr + 32768
                s2 = 116130 * cb + 32768
                red, green, blue = y + (s0 >> 16), y + (s1 >> 16), y + (s2 >> 16)
                blocks[0, row, r, c, i] = min(max(red, np.int32(0)), np.int32(255))
                blocks[1, row, r, c, i] = min(max(green, np.int32(0)), np.int32(255))
                blocks[2, row, r, c, i] = min(max(blue, np.int32(0)), np.int32(255))


@njit(cache=True, nogil=True, locals=_NARROW)
def _enlarged(sums, line):
    """Writes the (16, N) pixels of a line for (8, N) sums of two rows of chroma."""
    across = sums.shape[1]
    for c in range(8):
        # At the edge of a macroblock the neighbour is in the next one; at the picture's there is none.
        if c > 0:
            for i in range(across):
                total = 3 * sums[c, i] + sums[c - 1, i] + 8
                line[2 * c, i] = total >> 4
        else:
            for i in range(1, across):
                total = 3 * sums[0, i] + sums[7, i - 1] + 8
                line[0, i] = total >> 4
            line[0, 0] = (4 * sums[0, 0] + 8) >> 4
        if c < 7:
            for i in range(across):
                total = 3 * sums[c, i] + sums[c + 1, i] + 7
                line[2 * c + 1, i] = total >> 4
        else:
            for i in range(across - 1):
                total = 3 * sums[7, i] + sums[0, i + 1] + 7
                line[15, i] = total >> 4
            line[15, across - 1] = (4 * sums[7, across - 1] + 7) >> 4
