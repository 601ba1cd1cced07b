"""Corrects a world's initial Gaussians with depths measured in its images.

The scaffold's depth is a guess that the images along the paths may contradict. Surfaces on which several images agree
are added, and Gaussians that would occlude them are removed. The depths may come from plane sweeps, a model, or
triangulated points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.depth.plane_sweep import Shot
from scenewright_stages.vision.geometry.points import project, sample_nearest, unproject
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.places.worlds.surfels import surfels
from scenewright_stages.vision.types import Float32Array, Mask

_AGREE, _IN_FRONT = 0.03, 0.9
_VOTES = 2
_NEAREST = np.float32(1e6)
_GAP, _ONE_SURFACE = 11, 1.15
"""Pixels of a gap that is closed, and the ratio of depths around it that counts as one surface."""


@dataclass(frozen=True, eq=False)
class Measured:
    """An image with measured z-depth (H, W); 0 where unreliable."""

    shot: Shot
    depth: Float32Array


@dataclass(frozen=True, eq=False)
class CorrectedStart:
    """Corrected Gaussians, the numbers of added and removed ones, and the number of measured images."""

    scene: GaussianScene
    added: int
    removed: int
    pictures: int


def corrected_start(start: GaussianScene, measured: Sequence[Measured], opacity: float) -> CorrectedStart:
    """The initial Gaussians plus surfaces on which the measurements agree.

    Args:
        start: one Gaussian per pixel of the guessed depth.
        measured: depths of images of the place.
        opacity: of added Gaussians.
    """
    confirmed = [Measured(each.shot, _closed(np.where(_confirmed(each, measured), each.depth, 0))) for each in measured]
    parts, before = [without_contradicted(start, confirmed)], list[Measured]()
    for each in confirmed:
        new = (each.depth > 0) & ~_known(each, before)
        if new.any():
            parts.append(surfels(Surface.of_view(each.shot.srgb, each.depth, each.shot.camera), new, opacity))
        before.append(each)
    added = sum(len(part) for part in parts[1:])
    return CorrectedStart(GaussianScene.concatenate(parts), added, len(start) - len(parts[0]), len(measured))


def without_contradicted(start: GaussianScene, measured: Sequence[Measured]) -> GaussianScene:
    """Removes Gaussians that at least two images see through, and more images than see them."""
    places = start.means.numpy().astype(np.float64)
    against, support = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
    for each in measured:
        ratio = _ratio(places, each)
        against += ratio < _IN_FRONT
        support += np.abs(ratio - 1) < 1 - _IN_FRONT
    return start.select(torch.from_numpy(~((against >= _VOTES) & (against > support))))


def _confirmed(measured: Measured, others: Sequence[Measured]) -> Mask:
    """(H, W) bool: pixels whose depth another image confirms."""
    places, count = unproject(measured.depth, measured.shot.camera), np.zeros(measured.depth.shape, np.int64)
    for other in others:
        if other is not measured:
            count += np.abs(_ratio(places, other) - 1) < _AGREE
    return (measured.depth > 0) & (count > 0)


def _closed(depth: Float32Array) -> Float32Array:
    """(H, W) depth with small gaps filled if their surroundings form one surface."""
    known = (depth > 0).astype(np.float32)
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32)
    window = np.ones((_GAP, _GAP), np.uint8)
    gap = (cv2.morphologyEx(known, cv2.MORPH_CLOSE, window) > 0) & (depth <= 0)
    farthest = np.minimum(cv2.erode(np.where(depth > 0, inverse, np.inf).astype(np.float32), window), _NEAREST)
    even = cv2.dilate(inverse, window) < _ONE_SURFACE * farthest
    share, total = (cv2.blur(each, (_GAP, _GAP)) for each in (known, inverse))
    filled = np.where(gap & even & (total > 0), share / np.maximum(total, 1e-9), depth)
    return filled.astype(np.float32)


def _known(measured: Measured, before: Sequence[Measured]) -> Mask:
    """(H, W) bool: pixels that an earlier image also shows."""
    places, found = unproject(measured.depth, measured.shot.camera), np.zeros(measured.depth.shape, np.bool_)
    for other in before:
        found |= np.abs(_ratio(places, other) - 1) < _AGREE
    return found


def _ratio(places: NDArray[np.float64], measured: Measured) -> NDArray[np.float64]:
    """(...) ratio of the z-depth of points (..., 3) to an image's measured depth there; NaN where unreliable."""
    with np.errstate(invalid="ignore"):
        pixels, z = project(places, measured.shot.camera)
        return np.asarray(np.where(z > 0, z, np.nan) / sample_nearest(measured.depth, pixels))
