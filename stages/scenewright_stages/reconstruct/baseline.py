"""Baseline for a reconstruction: the nearest photograph, warped as if the scene were a single plane.

The plane is fitted to the capture's points. For aerial photographs it is the ground and the warp is an orthomosaic;
scenes with real depth deviate from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.captures import nearest
from scenewright_stages.reconstruct.views import Roles
from scenewright_stages.scenes.captures import shots_facts
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import pixel_centres
from scenewright_stages.vision.geometry.warping import warp_reference
from scenewright_stages.vision.imaging.metrics import array_psnr
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs

_MINIMUM_POINTS = 100
_DRAWS, _JUDGED = 200, 2000
_ROUNDS = 5
_NEAR = 2.5
"""Points within so many median distances of the plane fit it."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The points p with normal @ p = offset; the normal has length 1."""

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


def against_nearest_photograph(
    photographs: PosedPhotographs, roles: Roles, drawn: Callable[[Camera], NDArray[np.float32]]
) -> dict[str, float | None]:
    """Compares the warp and the scene on the held-out photographs.

    Args:
        drawn: (H, W, 3) float32 render of the scene from a camera.

    Returns:
        Means: PSNR in dB of the warp over whole images, filled with its mean colour where it is empty (``psnr``); the
        share that it covers (``shown``); and the PSNR of both over that share (``psnr_shown``, ``scene_psnr_shown``).
        None if there are too few points for a plane, or no warp covers anything.
    """
    plane = fitted_plane(photographs.points)
    rows = [] if plane is None else [_compared(photographs, roles, plane, number, drawn) for number in roles.held_out]
    kept = [row for row in rows if row is not None]
    names = ("psnr", "shown", "psnr_shown", "scene_psnr_shown")
    if not kept:
        return dict.fromkeys(names)
    return {name: round(float(value), 3) for name, value in zip(names, np.mean(kept, axis=0), strict=True)}


def _compared(
    photographs: PosedPhotographs,
    roles: Roles,
    plane: Plane,
    number: int,
    drawn: Callable[[Camera], NDArray[np.float32]],
) -> tuple[float, float, float, float] | None:
    place = nearest(shots_facts(photographs), number, roles.train)
    assert place is not None
    target, reference = photographs.photographs[number], photographs.photographs[place]
    srgb, truth = ((each.srgb / 255).astype(np.float32) for each in (reference, target))
    plane_depth, counted = plane.depth(target.camera), target.counted()
    warped, shown = warp_reference(plane_depth, target.camera, srgb, reference.camera, reference_valid=reference.valid)
    shown &= counted
    if not shown.any():
        return None
    whole = np.where(shown[..., None], warped, warped[shown].mean(axis=0))
    scene = drawn(target.camera)
    return (
        array_psnr(whole, truth, target.valid),
        float(shown.sum() / counted.sum()),
        array_psnr(warped[shown], truth[shown]),
        array_psnr(scene[shown], truth[shown]),
    )
