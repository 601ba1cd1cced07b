"""Compiled loops of the colour models."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit

UNSEEN = 2e-5  # share that every bin gets on both sides
TAPS = np.array([0.06, 0.24, 0.4, 0.24, 0.06])


@njit(cache=True, nogil=True)
def colour_bins(lab, bins):
    """(h, w) int64 bin of CIE Lab colours (L in 0..100, a and b in -64..64, the rest goes to the last bins)."""
    height, width = lab.shape[:2]
    result = np.empty((height, width), np.int64)
    for row in range(height):
        for column in range(width):
            place = 0
            for channel in range(3):
                value = lab[row, column, channel]
                share = value / 100.0 if channel == 0 else value / 128.0 + 0.5
                place = place * bins + min(max(int(share * bins), 0), bins - 1)
            result[row, column] = place
    return result


@njit(cache=True, nogil=True)
def _smoothed(counts, bins):
    """The counts blurred by TAPS along the three axes, scaled to the sum 1."""
    for axis in range(3):
        stride = bins ** (2 - axis)
        blurred = np.zeros_like(counts)
        for place in range(counts.shape[0]):
            position = (place // stride) % bins
            for tap in range(5):
                other = position + tap - 2
                if 0 <= other < bins:
                    blurred[place] += TAPS[tap] * counts[place + (tap - 2) * stride]
        counts = blurred
    return counts / max(counts.sum(), 1e-12)


@njit(cache=True, nogil=True)
def evidence(places, probability, telling, head, bins):
    """(h, w) float32 log of how much likelier each pixel's colour is on the person than beside them."""
    height, width = places.shape
    counts = np.full((2, 2, bins * bins * bins), 1e-9)
    for row in range(height):
        for column in range(width):
            part = 1 if head[row, column] else 0
            share = probability[row, column]
            if share > 0.5:
                counts[part, 0, places[row, column]] += share * telling[row, column]
            else:
                counts[part, 1, places[row, column]] += 1.0 - share
    logs = np.empty((2, bins * bins * bins), np.float32)
    for part in range(2):
        person, rest = _smoothed(counts[part, 0], bins), _smoothed(counts[part, 1], bins)
        logs[part] = np.log((person + UNSEEN) / (rest + UNSEEN))
    result = np.empty((height, width), np.float32)
    for row in range(height):
        for column in range(width):
            result[row, column] = logs[1 if head[row, column] else 0, places[row, column]]
    return result
