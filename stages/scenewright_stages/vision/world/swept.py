"""Corrects a world's start by what its pictures say: surfaces that several of them agree on are added, and what would
stand in their way is removed.

The scaffold's depth is a guess, and the pictures along the paths may show something else. Their depth comes from plane
sweeps; it is added only where patches match well and a second picture confirms it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.depth.plane_sweep import Shot, sweep
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry import project, sample_nearest, unproject
from scenewright_stages.vision.world.mesh import Surface
from scenewright_stages.vision.world.surfels import surfels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

NEIGHBOURS = 4
_LEAST_CONFIDENCE = 0.6
_WIDEST_DEGREES = 40.0
_BASELINES = (0.03, 0.5)
"""Of the distance of what is seen: nearer cameras measure nothing, farther ones show other things."""
_BEST_BASELINE = 0.15
_AGREE, _IN_FRONT = 0.03, 0.9
_VOTES = 2
_NEAREST = np.float32(1e6)
_GAP, _ONE_SURFACE = 11, 1.15
"""Pixels of a gap that is closed, and the ratio of depths around it that counts as one surface."""
_RANGE = (0.4, 2.5)


@dataclass(frozen=True, eq=False)
class SweptStart:
    """A corrected start: the scene, how many Gaussians were added and removed, and how many pictures were swept."""

    scene: GaussianScene
    added: int
    removed: int
    pictures: int


@dataclass(frozen=True, eq=False)
class _Swept:
    """A picture with the depth that the sweep is sure of; 0 elsewhere."""

    shot: Shot
    depth: Floats


def corrected_start(
    start: GaussianScene, shots: Sequence[Shot], depths: Sequence[Floats], references: int, opacity: float
) -> SweptStart:
    """The start of a training with the surfaces that the pictures agree on.

    Args:
        start: one Gaussian for each pixel of the guess.
        shots: pictures of the place.
        depths: of each picture (H, W) a guess of its z-depth, which bounds the search; 0 where unknown.
        references: how many pictures are swept at most, evenly chosen.
        opacity: of added Gaussians.
    """
    chosen = np.unique(np.linspace(0, len(shots) - 1, min(references, len(shots))).round().astype(int))
    swept = [each for number in chosen.tolist() if (each := _swept(number, shots, depths)) is not None]
    confirmed = [_Swept(each.shot, _closed(np.where(_confirmed(each, swept), each.depth, 0))) for each in swept]
    kept = start.select(torch.from_numpy(~_contradicted(start.means.numpy().astype(np.float64), confirmed)))
    parts, before = [kept], list[_Swept]()
    for each in confirmed:
        new = (each.depth > 0) & ~_known(each, before)
        if new.any():
            parts.append(surfels(Surface.of_view(each.shot.srgb, each.depth, each.shot.camera), new, opacity))
        before.append(each)
    added = sum(len(part) for part in parts[1:])
    return SweptStart(GaussianScene.concatenate(parts), added, len(start) - len(kept), len(swept))


def chosen_neighbours(number: int, cameras: Sequence[Camera], distance: float) -> list[int]:
    """The cameras that see the same from a little beside, the best ones first.

    Args:
        number: of the camera whose neighbours are wanted.
        cameras: all of them.
        distance: of what it sees.
    """
    own = cameras[number]
    scores = {}
    for other, camera in enumerate(cameras):
        baseline = float(np.linalg.norm(camera.position - own.position)) / distance
        cosine = float(camera.camera_from_world[2, :3] @ own.camera_from_world[2, :3])
        if _BASELINES[0] <= baseline <= _BASELINES[1] and cosine > np.cos(np.radians(_WIDEST_DEGREES)):
            scores[other] = abs(np.log(baseline / _BEST_BASELINE)) + 2 * (1 - cosine)
    return sorted(scores, key=lambda other: (scores[other], other))[:NEIGHBOURS]


def _swept(number: int, shots: Sequence[Shot], depths: Sequence[Floats]) -> _Swept | None:
    known = depths[number][depths[number] > 0]
    if not known.size:
        return None
    near, middle, far = (float(each) for each in np.percentile(known, (5, 50, 95)))
    neighbours = chosen_neighbours(number, [shot.camera for shot in shots], middle)
    if len(neighbours) < 2:
        return None
    found = sweep(shots[number], [shots[other] for other in neighbours], _RANGE[0] * near, _RANGE[1] * far)
    sure = found.textured & (found.confidence >= _LEAST_CONFIDENCE)
    return _Swept(shots[number], np.where(sure, found.depth, 0).astype(np.float32))


def _confirmed(swept: _Swept, others: Sequence[_Swept]) -> Mask:
    """(H, W) bool: pixels whose place another picture puts at the same depth."""
    places, count = unproject(swept.depth, swept.shot.camera), np.zeros(swept.depth.shape, np.int64)
    for other in others:
        if other is not swept:
            count += np.abs(_ratio(places, other) - 1) < _AGREE
    return (swept.depth > 0) & (count > 0)


def _closed(depth: Floats) -> Floats:
    """(H, W) depth with small gaps filled, where all that is known around them is one surface."""
    known = (depth > 0).astype(np.float32)
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-6), 0).astype(np.float32)
    window = np.ones((_GAP, _GAP), np.uint8)
    gap = (cv2.morphologyEx(known, cv2.MORPH_CLOSE, window) > 0) & (depth <= 0)
    farthest = np.minimum(cv2.erode(np.where(depth > 0, inverse, np.inf).astype(np.float32), window), _NEAREST)
    even = cv2.dilate(inverse, window) < _ONE_SURFACE * farthest
    share, total = (cv2.blur(each, (_GAP, _GAP)) for each in (known, inverse))
    filled = np.where(gap & even & (total > 0), share / np.maximum(total, 1e-9), depth)
    return filled.astype(np.float32)


def _known(swept: _Swept, before: Sequence[_Swept]) -> Mask:
    """(H, W) bool: pixels that an earlier picture shows as well."""
    places, found = unproject(swept.depth, swept.shot.camera), np.zeros(swept.depth.shape, np.bool_)
    for other in before:
        found |= np.abs(_ratio(places, other) - 1) < _AGREE
    return found


def _contradicted(places: NDArray[np.float64], swept: Sequence[_Swept]) -> Mask:
    """(N,) bool: places that more pictures see through than show."""
    against, support = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
    for each in swept:
        ratio = _ratio(places, each)
        against += ratio < _IN_FRONT
        support += np.abs(ratio - 1) < 1 - _IN_FRONT
    return np.asarray((against >= _VOTES) & (against > support))


def _ratio(places: NDArray[np.float64], swept: _Swept) -> NDArray[np.float64]:
    """(...) z-depth of places (..., 3) over that of what a picture shows there; NaN where it is not sure."""
    with np.errstate(invalid="ignore"):
        pixels, z = project(places, swept.shot.camera)
        return np.asarray(np.where(z > 0, z, np.nan) / sample_nearest(swept.depth, pixels))
