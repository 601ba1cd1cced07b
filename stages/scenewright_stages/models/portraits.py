"""What the segmentation models share: from a model's mask probabilities to a person's matte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scenewright_stages.models.errors import BackendContractError
from scenewright_stages.models.interfaces import FloatImage
from scenewright_stages.models.relight_interfaces import Box

if TYPE_CHECKING:
    from scenewright_stages.vision.people import PersonMask

_LEAST_SHARE = 0.002  # of the picture: less is no subject


def matte_of(srgb: FloatImage, probability: FloatImage, score: float, method: str, blocks: int) -> PersonMask:
    """A person's matte from the probability of each pixel, which the model knew on a coarser grid.

    Args:
        srgb: (H, W, 3) float32.
        probability: (H, W) float32 in [0, 1], enlarged smoothly.
        score: of the instance.
        method: what goes into the mask's ``method``.
        blocks: pixels of the image per pixel of the model's grid.

    Raises:
        NoSubject: hardly a pixel is likely.
        BackendContractError: the probability is not finite.
    """
    from scenewright_stages.vision.matting import refine_matte
    from scenewright_stages.vision.people import NoSubject, PersonMask

    if not np.isfinite(probability).all():
        raise BackendContractError("the model answered a mask that is not finite")
    rough = probability > 0.5
    if rough.mean() < _LEAST_SHARE:
        raise NoSubject("the model found nothing that fits the prompt")
    alpha = refine_matte(srgb, rough, 2 * blocks)
    return PersonMask(alpha, alpha >= 0.5, round(float(score), 4), method)


def overlap(box: Box, other: Box) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((one[2] - one[0]) * (one[3] - one[1]) for one in (box, other))
    return shared / (areas - shared) if areas > shared else 0.0
