"""Robust planes through points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import pixel_centres

_MINIMUM_POINTS = 100
_DRAWS, _JUDGED = 200, 2000
_ROUNDS = 5
_NEAR = 2.5
"""Points within so many median distances of the plane fit it."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane: the points p with normal @ p = offset; the normal has length 1."""

    normal: NDArray[np.float64]
    offset: float

    def depth(self, camera: Camera) -> NDArray[np.float64]:
        """(H, W) z-depth of the plane; 0 where it is behind the camera."""
        rays = (pixel_centres(camera.width, camera.height) - camera.principal_point) / camera.focal
        rays = np.concatenate([rays, np.ones((camera.height, camera.width, 1))], axis=-1)
        across = rays @ camera.world_from_camera[:3, :3].T @ self.normal
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = (self.offset - self.normal @ camera.position) / across
        return np.asarray(np.where(np.isfinite(depth) & (depth > 0), depth, 0.0))


def fitted_plane(points: NDArray[np.float64]) -> Plane | None:
    """Robust plane fit to points (N, 3); None for fewer than 100 points."""
    if len(points) < _MINIMUM_POINTS:
        return None
    middle, normal = _through_three(points)
    for _ in range(_ROUNDS):
        distance = np.abs((points - middle) @ normal)
        inside = distance <= _NEAR * np.median(distance)
        middle = points[inside].mean(axis=0)
        normal = np.linalg.svd(points[inside] - middle, full_matrices=False)[2][-1]
    return Plane(normal, float(normal @ middle))


def _through_three(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A point and the normal of the best plane through three points (least median distance to all points)."""
    random = np.random.default_rng(0)
    first, second, third = points[random.integers(len(points), size=(3, _DRAWS))]
    normals = np.cross(second - first, third - first)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    some = points[random.permutation(len(points))[:_JUDGED]]
    distances = np.abs(some @ normals.T - np.sum(first * normals, axis=1))
    # Skip degenerate triples: with a zero normal every point would seem close.
    median = np.where(np.any(normals, axis=1), np.median(distances, axis=0), np.inf)
    best = int(np.argmin(median))
    return first[best], normals[best]
