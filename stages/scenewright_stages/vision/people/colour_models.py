"""Which colours belong to the person: histograms that learn from their own answer."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.matting.guided import guided_smooth
from scenewright_stages.vision.people import histogram_kernels
from scenewright_stages.vision.people.shape_prior import ShapePrior

Float32Array = NDArray[np.float32]

BINS = 16
_ROUNDS = 5
_COLOUR_WEIGHT = 1.2  # below one for each of the shape's and the colour's evidence would trust neither
_CLEAREST = 4.0  # log odds; a colour never seen on one side proves no more than that
_NOISE_PIXELS = 0.8
_EDGE_WINDOW, _EDGE_REGULARITY = 4, 9e-4


def person_probability(srgb: Float32Array, prior: ShapePrior) -> Float32Array:
    """Probability of each pixel to show the person, from shape and colour together.

    Every round learns the colours of both sides from the last answer, head and body apart; then the two kinds of
    evidence are added (as log odds) and smoothed along the image's edges.

    Args:
        srgb: (h, w, 3) float32 in [0, 1], at most about 200 pixels wide.
        prior: its shape prior.

    Returns:
        (h, w) float32 in [0, 1], exactly 1 and 0 where the prior is certain.
    """
    bins = histogram_kernels.colour_bins(cv2.cvtColor(srgb, cv2.COLOR_RGB2LAB), BINS)
    share = np.clip(prior.share, 0.02, 0.98)
    shape_evidence = np.log(share / (1 - share))
    probability = _settled(prior.share, prior)
    for _ in range(_ROUNDS):
        colour_evidence = histogram_kernels.evidence(bins, probability, prior.telling, prior.head, BINS)
        total = shape_evidence + _COLOUR_WEIGHT * np.clip(colour_evidence, -_CLEAREST, _CLEAREST)
        total = cv2.GaussianBlur(total, (0, 0), _NOISE_PIXELS)
        present = (1 / (1 + np.exp(-total))).astype(np.float32)
        smooth = guided_smooth(srgb, present, _EDGE_WINDOW, _EDGE_REGULARITY)
        probability = _settled(np.clip(smooth, 0, 1), prior)
    return probability


def _settled(probability: Float32Array, prior: ShapePrior) -> Float32Array:
    settled: Float32Array = np.where(prior.certain, 1, np.where(prior.impossible, 0, probability)).astype(np.float32)
    return settled
