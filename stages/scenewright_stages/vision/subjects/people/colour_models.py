"""Colour models of person and background: histograms refined iteratively from their own result."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

import cv2
import numpy as np
from numba import njit

from scenewright_stages.vision.imaging.matting.guided import guided_smooth
from scenewright_stages.vision.subjects.people.shape_prior import ShapePrior
from scenewright_stages.vision.types import Float32Array

BINS = 16
_ROUNDS = 5
_COLOUR_WEIGHT = 1.2  # below one for each of the shape's and the colour's evidence would trust neither
_CLEAREST = 4.0  # largest log odds, for a colour never seen on one side
_NOISE_PIXELS = 0.8
_EDGE_WINDOW, _EDGE_REGULARITY = 4, 9e-4

UNSEEN = 2e-5  # share that every bin gets on both sides
TAPS = np.array([0.06, 0.24, 0.4, 0.24, 0.06])


def person_probability(srgb: Float32Array, prior: ShapePrior) -> Float32Array:
    """Probability that each pixel shows the person, from shape and colour.

    Every round learns the colours of both sides from the last result, separately for head and body. Then shape and
    colour evidence are added as log odds, and smoothed along the image's edges.

    Args:
        srgb: (h, w, 3) float32 in [0, 1], at most about 200 pixels wide.
        prior: its shape prior.

    Returns:
        (h, w) float32 in [0, 1], exactly 1 and 0 where the prior is certain.
    """
    bins = colour_bins(cv2.cvtColor(srgb, cv2.COLOR_RGB2LAB), BINS)
    share = np.clip(prior.share, 0.02, 0.98)
    shape_evidence = np.log(share / (1 - share))
    probability = _settled(prior.share, prior)
    for _ in range(_ROUNDS):
        colour_evidence = evidence(bins, probability, prior.telling, prior.head, BINS)
        total = shape_evidence + _COLOUR_WEIGHT * np.clip(colour_evidence, -_CLEAREST, _CLEAREST)
        total = cv2.GaussianBlur(total, (0, 0), _NOISE_PIXELS)
        present = (1 / (1 + np.exp(-total))).astype(np.float32)
        smooth = guided_smooth(srgb, present, _EDGE_WINDOW, _EDGE_REGULARITY)
        probability = _settled(np.clip(smooth, 0, 1), prior)
    return probability


def _settled(probability: Float32Array, prior: ShapePrior) -> Float32Array:
    settled: Float32Array = np.where(prior.certain, 1, np.where(prior.impossible, 0, probability)).astype(np.float32)
    return settled


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
    """(h, w) float32 log likelihood ratio of each pixel's colour, person versus background."""
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
