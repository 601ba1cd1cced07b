"""Aligns two coordinate frames by a similarity transform (scale, rotation, translation) from cameras known in both.

Uses positions and orientations of all cameras, and down-weights outliers, so a few wrong cameras have no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float64Array

_ROUNDS = 50
_SETTLED = 1e-12
_TUKEY = 4.685
"""Deviations beyond which a camera counts no more."""
_NORMAL = 1.4826
_LEAST_POSITION, _LEAST_ANGLE = 1e-9, 1e-9
_FAR_PAIR = 0.25


@dataclass(frozen=True, eq=False)
class Similarity:
    """``target = scale * rotation @ source + translation``; rotation (3, 3), translation (3,)."""

    scale: float
    rotation: Float64Array
    translation: Float64Array

    def points(self, points: ArrayLike) -> Float64Array:
        """(..., 3) points transformed from the source to the target frame."""
        moved = self.scale * np.asarray(points, np.float64) @ self.rotation.T + self.translation
        return np.asarray(moved)

    def camera(self, camera: Camera) -> Camera:
        """A camera transformed from the source to the target frame."""
        pose = np.eye(4)
        pose[:3, :3] = camera.camera_from_world[:3, :3] @ self.rotation.T
        pose[:3, 3] = -pose[:3, :3] @ self.points(camera.position)
        return camera.with_pose(pose)


@dataclass(frozen=True, eq=False)
class Alignment:
    """A similarity, and how well the cameras agree with it.

    Attributes:
        similarity: from the source to the target frame.
        position_errors: (N,) distance between each camera's two positions, relative to the spread of all targets.
        angle_errors: (N,) degrees between its two orientations.
        inliers: (N,) bool, the cameras used.
    """

    similarity: Similarity
    position_errors: Float64Array
    angle_errors: Float64Array
    inliers: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def align_cameras(source: Sequence[Camera], target: Sequence[Camera]) -> Alignment:
    """The similarity that aligns the source cameras with the corresponding target cameras.

    Raises:
        ValueError: fewer than three cameras, or all at one point, which leaves the scale undefined.
    """
    if len(source) != len(target) or len(source) < 3:
        raise ValueError(f"aligning needs at least three cameras known in both worlds, not {len(source)}")
    poses = [np.stack([camera.world_from_camera for camera in cameras]) for cameras in (source, target)]
    places, others = (each[:, :3, 3] for each in poses)
    spread = float(np.linalg.norm(others - np.median(others, axis=0), axis=1).mean())
    turns = poses[1][:, :3, :3] @ poses[0][:, :3, :3].transpose(0, 2, 1)
    found = _first_guess(places, others, turns)
    weights = np.ones(len(source))
    for _ in range(_ROUNDS):
        distance, angle = _errors(found, places, others, turns)
        deviation = max(_NORMAL * float(np.median(distance)), _LEAST_POSITION * spread)
        turning = max(_NORMAL * float(np.median(angle)), _LEAST_ANGLE)
        before, weights = weights, _tukey(distance / deviation) * _tukey(angle / turning)
        found = _weighted(found, places, others, turns, weights, (deviation, turning))
        if np.abs(weights - before).max() < _SETTLED:
            break
    distance, angle = _errors(found, places, others, turns)
    return Alignment(found, distance / spread, np.degrees(angle), weights > 0)


def _first_guess(places: Float64Array, others: Float64Array, turns: Float64Array) -> Similarity:
    """Initial estimate from medians, which are robust against a minority of wrong cameras."""
    angles = _angles(np.einsum("nij,mij->nm", turns, turns))
    rotation = turns[int(angles.sum(axis=1).argmin())]
    apart, others_apart = (np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (places, others))
    far = np.triu(apart > _FAR_PAIR * apart.max(), k=1)
    if not far.any() or not others_apart[far].max() > 0:
        raise ValueError("all cameras stand at one point: there is no scale")
    scale = float(np.median(others_apart[far] / apart[far]))
    return Similarity(scale, rotation, np.median(others - scale * places @ rotation.T, axis=0))


def _weighted(
    last: Similarity,
    places: Float64Array,
    others: Float64Array,
    turns: Float64Array,
    weights: Float64Array,
    deviations: tuple[float, float],
) -> Similarity:
    """Least squares over positions and orientations, each relative to its deviation."""
    share = weights / weights.sum()
    middle, other_middle = share @ places, share @ others
    moved, other_moved = places - middle, others - other_middle
    by_places = last.scale * np.einsum("n,ni,nj->ij", share, other_moved, moved)
    by_turns = np.einsum("n,nij->ij", share, turns)
    left, _, right = np.linalg.svd(2 * by_places / deviations[0] ** 2 + by_turns / deviations[1] ** 2)
    rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    scale = float(share @ (other_moved * (moved @ rotation.T)).sum(axis=1) / (share @ (moved**2).sum(axis=1)))
    return Similarity(scale, rotation, other_middle - scale * rotation @ middle)


def _errors(
    found: Similarity, places: Float64Array, others: Float64Array, turns: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Distances, and angles in radians."""
    distance = np.linalg.norm(found.points(places) - others, axis=1)
    return distance, _angles(np.einsum("nij,ij->n", turns, found.rotation))


def _angles(traces: Float64Array) -> Float64Array:
    return np.asarray(np.arccos(np.clip((traces - 1) / 2, -1, 1)))


def _tukey(errors: Float64Array) -> Float64Array:
    return np.asarray(np.where(errors < _TUKEY, (1 - (errors / _TUKEY) ** 2) ** 2, 0.0))
