"""Finds the object of one photo in another image, with a calibrated score.

Templates and local features propose poses, every proposal is finely aligned, the best one is scored, and a graph cut
follows the image's edges around it. The score is calibrated on scenes with distractors in the object's colours: above
0.5 the object is more likely present than absent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.matting import refine_matte
from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.subjects.cutting import grab_cut
from scenewright_stages.vision.subjects.matching.features import features_of
from scenewright_stages.vision.subjects.matching.search import (
    CELL,
    Pose,
    best_pose,
    joined,
    matched_features,
    places,
    scaled,
)
from scenewright_stages.vision.subjects.matching.templates import Template, template_of, views_of
from scenewright_stages.vision.types import Float32Array, Mask

_WORK_SIDE, _FINE_SIDE = 320, 640
"""Longer sides of the picture for the search by stencils and by local features."""
_SIZES = np.geomspace(0.12, 0.95, 17)
"""Longer sides of the object that are searched, of the picture's shorter side."""
_CUT_SIDE = 200
_CORE, _NEAR = 0.09, 0.07
"""Of the object's longer side: what lies so deep inside is the object, what lies so far outside is not."""
_TRUSTED = 0.75
"""Overlap of cut and silhouette below which the cut has gone astray."""
_WEIGHTS = (-9.0, 7.0, 11.0, 2.0)
"""Of a constant, all edges, inner edges and hue, by composites with and without the object."""


class ObjectFinder:
    """Looks for one object in many images. Thread-safe.

    Args:
        srgb: (H, W, 3) float32 in [0, 1], a photo of the object.
        alpha: (H, W) float32, its matte there.
    """

    def __init__(self, srgb: Float32Array, alpha: Float32Array) -> None:
        self._views = views_of(srgb, alpha)
        self._templates: dict[int, tuple[Template, ...]] = {}

    def find(self, srgb: Float32Array) -> Found:
        """The best matching place, whether or not the object is there.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
        """
        work, factor = _work_picture(srgb)
        proposals = places(features_of(work, CELL), self._stencils(min(work.shape[:2])))
        best = best_pose([*proposals, *self._by_local_features(srgb, factor)], work)
        move = joined(scaled(1 / factor[0], 1 / factor[1]), best.move)
        pose = Pose(best.view, move, best.score, best.likeness, best.matches)
        return Found(cut_out(srgb, pose), certainty(pose), pose)

    def _by_local_features(self, srgb: Float32Array, factor: tuple[float, float]) -> list[Pose]:
        """The pose on which local features agree, if any, in pixels of the search image; they use a finer image."""
        finer, fine = _work_picture(srgb, _FINE_SIDE)
        matched = matched_features(self._views[0], finer)
        if matched is None:
            return []
        return [replace(matched, move=joined(scaled(factor[0] / fine[0], factor[1] / fine[1]), matched.move))]

    def _stencils(self, side: int) -> tuple[Template, ...]:
        """Templates of every view and size, for images with that shorter side."""
        if side not in self._templates:
            self._templates[side] = tuple(
                template_of(view, size * side, CELL) for view in self._views for size in _SIZES
            )
        return self._templates[side]


@dataclass(frozen=True, eq=False)
class Found:
    """The result of a search.

    Attributes:
        alpha: (H, W) float32 matte of the best matching place.
        score: probability that the object is there, in [0, 1].
        pose: its pose there.
    """

    alpha: Float32Array
    score: float
    pose: Pose


def certainty(pose: Pose) -> float:
    """Probability in [0, 1] that the object is there, from the components of an aligned pose's likeness."""
    likeness = pose.likeness
    if likeness is None:
        return 0.0
    weights = zip(_WEIGHTS, (1.0, likeness.edges, likeness.inner, likeness.hue), strict=True)
    return 1 / (1 + math.exp(-sum(weight * value for weight, value in weights)))


def cut_out(srgb: Float32Array, pose: Pose) -> Float32Array:
    """(H, W) float32 matte around a pose: 1 deep inside its outline, 0 far outside, and a graph cut in between."""
    height, width = srgb.shape[:2]
    outline = np.asarray(cv2.warpAffine(pose.view.alpha, pose.move, (width, height), flags=cv2.INTER_AREA), np.float32)
    columns, rows = (np.flatnonzero((outline > 0.5).any(axis=axis)) for axis in (0, 1))
    if len(rows) < 2 or len(columns) < 2:
        return np.zeros((height, width), np.float32)
    room = round(0.2 * pose.side) + 4
    top, bottom = max(0, rows[0] - room), min(height, rows[-1] + room + 1)
    left, right = max(0, columns[0] - room), min(width, columns[-1] + room + 1)
    factor = min(1.0, _CUT_SIDE / pose.side)
    size = (max(8, round((right - left) * factor)), max(8, round((bottom - top) * factor)))
    small = cv2.convertScaleAbs(
        cv2.resize(srgb[top:bottom, left:right], size, interpolation=cv2.INTER_AREA), alpha=255.0
    )
    expected = cv2.resize(outline[top:bottom, left:right], size, interpolation=cv2.INTER_AREA) > 0.5
    cut = _followed(np.asarray(small, np.uint8), np.asarray(expected), pose.side * factor)
    whole = np.zeros((height, width), np.float32)
    enlarged = cv2.resize(cut.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    whole[top:bottom, left:right] = enlarged
    return refine_matte(srgb, whole > 0.5, max(1, round(1.5 / factor)))


def _followed(small: NDArray[np.uint8], expected: Mask, side: float) -> Mask:
    """The expected silhouette snapped to nearby image edges."""
    inside = expected.astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    marks = np.where(expected, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    marks[depth > _CORE * side] = cv2.GC_FGD
    marks[depth < -_NEAR * side] = cv2.GC_BGD
    cut = grab_cut(small, marks)
    cleaned = cv2.morphologyEx(cut.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return cleaned if overlap(cleaned, expected) > _TRUSTED else expected


def _work_picture(srgb: Float32Array, side: int = _WORK_SIDE) -> tuple[Float32Array, tuple[float, float]]:
    """The image at search size, in whole cells, and the scale factors."""
    factor = min(1.0, side / max(srgb.shape[:2]))
    width, height = (max(8 * CELL, round(each * factor / CELL) * CELL) for each in (srgb.shape[1], srgb.shape[0]))
    shrink = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    work = np.asarray(cv2.resize(srgb, (width, height), interpolation=shrink), np.float32)
    return work, (width / srgb.shape[1], height / srgb.shape[0])
