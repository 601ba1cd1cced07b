"""What a reconstruction has to beat: the nearest photograph, moved as if the whole scene were one plane.

The plane is fitted to the capture's points. Of aerial photographs that is the ground, and the warp is what a mosaic
does; scenes with depth differ from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.captures import nearest
from scenewright_stages.reconstruct.views import Roles
from scenewright_stages.scenes.captures import shots_facts
from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.captures.pictures import PosedPhotographs
from scenewright_stages.vision.geometry import pixel_centres
from scenewright_stages.vision.warping import warp_reference

_MINIMUM_POINTS = 100
_ROUNDS = 10
_NEAR = 2.5
"""Points within so many median distances of the plane fit it."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The points p with normal @ p = offset; the normal has length 1."""

    normal: NDArray[np.float64]
    offset: float

    def depth(self, camera: Camera) -> NDArray[np.float64]:
        """(H, W) z-depth of the plane, 0 where it is not in front of the camera."""
        rays = (pixel_centres(camera.width, camera.height) - camera.principal_point) / camera.focal
        rays = np.concatenate([rays, np.ones((camera.height, camera.width, 1))], axis=-1)
        across = rays @ camera.world_from_camera[:3, :3].T @ self.normal
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = (self.offset - self.normal @ camera.position) / across
        return np.asarray(np.where(np.isfinite(depth) & (depth > 0), depth, 0.0))


def fitted_plane(points: NDArray[np.float64]) -> Plane | None:
    """The plane of most of the points (N, 3); None for fewer than 100."""
    if len(points) < _MINIMUM_POINTS:
        return None
    inside = np.ones(len(points), np.bool_)
    for _ in range(_ROUNDS):
        middle = points[inside].mean(axis=0)
        normal = np.linalg.svd(points[inside] - middle, full_matrices=False)[2][-1]
        distance = np.abs((points - middle) @ normal)
        inside = distance <= _NEAR * np.median(distance)
    return Plane(normal, float(normal @ middle))


def nearest_photograph_psnr(photographs: PosedPhotographs, roles: Roles) -> float | None:
    """Mean PSNR in dB of the warped photographs over the held-out ones, where the warp shows something.

    None when there are too few points for a plane, or no warp shows anything.
    """
    plane = fitted_plane(photographs.points)
    if plane is None:
        return None
    shots, scores = shots_facts(photographs), []
    for number in roles.held_out:
        place = nearest(shots, number, roles.train)
        assert place is not None
        target, reference = photographs.photographs[number], photographs.photographs[place]
        srgb = (reference.srgb / 255).astype(np.float32)
        warped, valid = warp_reference(plane.depth(target.camera), target.camera, srgb, reference.camera)
        if valid.any():
            error = np.square(warped[valid] - target.srgb[valid] / 255).mean()
            scores.append(-10 * np.log10(max(float(error), 1e-10)))
    return _mean(scores)


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
