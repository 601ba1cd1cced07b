"""Searches for the object's pose in an image.

Candidates come from two searches: templates at every position and size, and local features (SIFT) that agree on one
transform, which also finds rotated objects. Each candidate is then finely aligned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.subjects.matching.features import Features, features_of
from scenewright_stages.vision.subjects.matching.similarity import PlaceScores, Similarity, similarity
from scenewright_stages.vision.subjects.matching.templates import Template, View, template_of
from scenewright_stages.vision.types import Float32Array, Float64Array

CELL = 4
_FINE_CELL = 2
_FINE_SIDE = 96
"""Longer side of the object during the fine alignment, pixels."""
_PEAKS = 3
_KEPT = 16
_ALIGNED = 4
"""Candidates that are left after a first, rough alignment of all."""
_APART = 0.3
"""Of the object's size: closer candidates are the same one."""
_STEPS = np.array([4.0, 4.0, 0.06, 0.07, 0.06, 0.06])
"""First steps of the fine alignment: right and down in pixels, size, turn, height over width, slant."""
_HALVINGS = 5
_LEAST_MATCHES = 8
_RATIO = 0.8


@dataclass(frozen=True, eq=False)
class Pose:
    """A pose of the object in an image.

    Attributes:
        view: the view of the object.
        move: (2, 3) affine matrix from pixels of the view to pixels of the image.
        score: of the position.
        likeness: its components; None before the fine alignment.
        matches: number of local features that agree with it.
    """

    view: View
    move: Float64Array
    score: float
    likeness: Similarity | None = None
    matches: int = 0

    @property
    def centre(self) -> NDArray[np.float64]:
        """x, y in the image."""
        height, width = self.view.alpha.shape
        return np.asarray(self.move @ np.array([width / 2, height / 2, 1.0]))

    @property
    def side(self) -> float:
        """Approximate longer side of the object in the image."""
        return self.view.extent * math.sqrt(abs(float(np.linalg.det(self.move[:, :2]))))


def places(features: Features, templates: Sequence[Template]) -> list[Pose]:
    """The best positions over all templates, best first, without duplicates."""
    compared = PlaceScores(features, max(max(each.outline.shape) for each in templates))
    found: list[Pose] = []
    for template in templates:
        scores, (first_row, first_column) = compared.scores(template)
        reach = max(1, round(_APART * max(template.outline.shape)))
        for _ in range(_PEAKS):
            row, column = np.unravel_index(int(scores.argmax()), scores.shape)
            if scores[row, column] <= 0:
                break
            x, y = CELL * (column + first_column), CELL * (row + first_row)
            move = scaled(template.scale, template.scale) + np.array([[0, 0, x], [0, 0, y]])
            found.append(Pose(template.view, move, float(scores[row, column])))
            scores[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = -1
    return _distinct(found)


def matched_features(view: View, srgb: Float32Array) -> Pose | None:
    """The transform on which local features agree, or None."""
    sift = cv2.SIFT_create(nfeatures=1500, contrastThreshold=0.02)  # type: ignore[attr-defined]
    inside = (view.alpha > 0.9).astype(np.uint8) * 255
    own_points, own = sift.detectAndCompute(_grey(view.srgb), inside)
    points, described = sift.detectAndCompute(_grey(srgb), None)
    if own is None or described is None or len(own) < _LEAST_MATCHES or len(described) < 2:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(own, described, k=2)
    good = [first for first, second in pairs if first.distance < _RATIO * second.distance]
    if len(good) < _LEAST_MATCHES:
        return None
    start = np.array([own_points[each.queryIdx].pt for each in good])
    end = np.array([points[each.trainIdx].pt for each in good])
    cv2.setRNGSeed(1)
    move, agree = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=5.0, maxIters=4000)
    if move is None or int(agree.sum()) < _LEAST_MATCHES:
        return None
    scale = math.sqrt(abs(float(np.linalg.det(move[:, :2]))))
    return Pose(view, np.asarray(move, np.float64), 0.0, matches=int(agree.sum())) if 0.08 < scale < 4 else None


def best_pose(candidates: Sequence[Pose], srgb: Float32Array) -> Pose:
    """The candidate with the highest likeness after fine alignment.

    Args:
        candidates: at least one.
        srgb: (H, W, 3) float32 in [0, 1], the searched image.
    """
    views = {pose.view.yaw: pose.view for pose in candidates}
    fine = {yaw: template_of(view, _FINE_SIDE, _FINE_CELL) for yaw, view in views.items()}
    alignments = [_Alignment(pose, fine[pose.view.yaw], srgb) for pose in candidates]
    for each in alignments:
        each.improve(_STEPS)
    alignments.sort(key=lambda each: -each.likeness.total)
    for each in alignments[:_ALIGNED]:
        for halving in range(1, _HALVINGS):
            each.improve(_STEPS / 2**halving)
    return max(alignments[:_ALIGNED], key=lambda each: each.likeness.total).pose


class _Alignment:
    """Optimises the affine transform that maximises the likeness of the object and the image."""

    def __init__(self, pose: Pose, template: Template, srgb: Float32Array) -> None:
        self._pose, self._template = pose, template
        frame, self._to_picture = _cropped(srgb, pose, _FINE_SIDE / pose.side)
        self._features = features_of(frame, _FINE_CELL)
        size = self._template.scale
        # Maps pixels of the template to pixels of the frame.
        self._start = joined(_inverted(self._to_picture), joined(pose.move, scaled(1 / size, 1 / size)))
        self._best: Float64Array = np.zeros(6)
        self.likeness = _compared(self._template, self._features, self._start)

    @property
    def pose(self) -> Pose:
        """The pose with the best transform so far."""
        size = self._template.scale
        moved = joined(self._start, _change(self._best, self._template))
        move = joined(self._to_picture, joined(moved, scaled(size, size)))
        return replace(self._pose, move=move, score=self.likeness.total, likeness=self.likeness)

    def improve(self, steps: Float64Array) -> None:
        """Improves the parameters by coordinate descent with fixed steps."""
        for number in [*range(6), 0, 1, 2]:
            for sign in (1.0, -1.0):
                tried = self._best.copy()
                tried[number] += sign * steps[number]
                found = _compared(self._template, self._features, joined(self._start, _change(tried, self._template)))
                if found.total > self.likeness.total:
                    self._best, self.likeness = tried, found
                    break


def _compared(template: Template, features: Features, move: Float64Array) -> Similarity:
    """Similarity of the template and the frame under a transform."""
    height, width = template.outline.shape
    middles = _FINE_CELL / 2 - 0.5
    x, y = (np.arange(count, dtype=np.float64) * _FINE_CELL + middles for count in (width, height))
    columns = (move[0, 0] * x[None, :] + move[0, 1] * y[:, None] + move[0, 2] - middles) / _FINE_CELL
    rows = (move[1, 0] * x[None, :] + move[1, 1] * y[:, None] + move[1, 2] - middles) / _FINE_CELL
    maps = columns.astype(np.float32), rows.astype(np.float32)

    def at(channels: Float32Array) -> Float32Array:
        return np.asarray(cv2.remap(channels, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)

    edges = np.concatenate([at(features.edges[..., :4].copy()), at(features.edges[..., 4:].copy())], axis=2)
    return similarity(template, edges, at(features.colours))


def _change(parameters: Float64Array, template: Template) -> Float64Array:
    """(2, 3) transform of the template about its centre."""
    right, down, size, turn, tall, slant = (float(each) for each in parameters)
    cosine, sine = math.cos(turn), math.sin(turn)
    linear = math.exp(size) * np.array([[cosine, -sine], [sine, cosine]])
    linear = linear @ np.array([[math.exp(-tall / 2), slant], [0, math.exp(tall / 2)]])
    middle = np.array([template.outline.shape[1], template.outline.shape[0]]) * _FINE_CELL / 2
    return np.column_stack([linear, middle - linear @ middle + (right, down)])


def _cropped(srgb: Float32Array, pose: Pose, factor: float) -> tuple[Float32Array, Float64Array]:
    """The image around a pose, scaled by `factor`, and the transform from its pixels to those of the image."""
    reach = round(_FINE_SIDE * 1.1 / _FINE_CELL) * _FINE_CELL
    left, top = (float(each) - reach / factor for each in pose.centre)
    to_picture = np.array([[1 / factor, 0, left], [0, 1 / factor, top]])
    source = srgb if factor > 0.7 else np.asarray(cv2.GaussianBlur(srgb, (0, 0), 0.4 / factor), np.float32)
    size = (2 * reach, 2 * reach)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    frame = cv2.warpAffine(source, to_picture, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(frame, np.float32), to_picture


def joined(second: Float64Array, first: Float64Array) -> Float64Array:
    """(2, 3) composition: `first`, then `second`."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def _inverted(move: Float64Array) -> Float64Array:
    linear = np.linalg.inv(move[:, :2])
    return np.column_stack([linear, -linear @ move[:, 2]])


def scaled(across: float, down: float) -> Float64Array:
    """The pixel transform of resizing an image by these factors, for pixel centres at whole numbers."""
    return np.array([[across, 0.0, (across - 1) / 2], [0.0, down, (down - 1) / 2]])


def _grey(srgb: Float32Array) -> NDArray[np.uint8]:
    return cv2.convertScaleAbs(cv2.cvtColor(srgb, cv2.COLOR_RGB2GRAY), alpha=255.0)  # type: ignore[return-value]


def _distinct(found: Sequence[Pose]) -> list[Pose]:
    """Non-maximum suppression: the best pose among those of similar position and size."""
    kept: list[Pose] = []
    for pose in sorted(found, key=lambda each: -each.score):
        near = (
            float(np.linalg.norm(pose.centre - other.centre)) < _APART * other.side
            and abs(math.log(pose.side / other.side)) < 0.35
            for other in kept
        )
        if not any(near):
            kept.append(pose)
        if len(kept) == _KEPT:
            break
    return kept
