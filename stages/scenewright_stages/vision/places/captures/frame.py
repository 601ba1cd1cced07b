"""The frame in which a capture is worked on: its origin and unit follow from its cameras.

Captures come in any frame: map coordinates, millimetres, the arbitrary unit of structure from motion. Gaussians are
float32, and renderers have a near plane, so far from the origin or in a tiny unit the same photographs give a worse
scene. `finding.read_capture` therefore moves a capture into a frame in which its cameras surround the origin at a
distance of about one, with the axes of its first camera, in float64. The stages work there and map results back.

A capture whose own frame serves already keeps it, so its results stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, rigid

_FARTHEST = 30.0
"""Spreads between the origin and the cameras at which float32 still places a point to a few thousandths of a pixel."""
_SMALLEST, _LARGEST = 0.5, 100.0
"""Spreads at which the renderer's near plane (0.01) and the other absolute lengths are small."""
_OUTLYING = 5.0
"""Cameras farther from the middle than so many median distances do not count."""
_STILL = 1e-7
"""A spread below this share of the distance to the points, or to the origin, is rounding: the camera only turned."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A similarity: ``world = origin + unit * axes @ local``.

    Attributes:
        origin: (3,) float64, world coordinates.
        unit: length of a local unit in the world's.
        axes: (3, 3) float64 rotation; its columns are the local axes in the world.
    """

    origin: NDArray[np.float64]
    unit: float
    axes: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> Frame:
        """The inverse of :meth:`matrix`."""
        unit = float(np.cbrt(np.linalg.det(matrix[:3, :3])))
        return cls(matrix[:3, 3], unit, matrix[:3, :3] / unit)

    @property
    def is_world(self) -> bool:
        """Whether it is the world's own frame."""
        return self.unit == 1 and not self.origin.any() and np.array_equal(self.axes, np.eye(3))

    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) world_from_local."""
        found = np.eye(4)
        found[:3, :3] = self.unit * self.axes
        found[:3, 3] = self.origin
        return found

    def inverse(self) -> Frame:
        """The frame of the world in this one's coordinates."""
        return Frame(-self.axes.T @ self.origin / self.unit, 1 / self.unit, self.axes.T.copy())

    def points_inside(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) local coordinates of points of the world."""
        return points if self.is_world else (points - self.origin) @ self.axes / self.unit

    def points_outside(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) world coordinates of local points."""
        return points if self.is_world else self.origin + self.unit * points @ self.axes.T

    def pose_inside(self, camera_from_world: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4, 4) camera_from_local, with local lengths in the camera as well."""
        if self.is_world:
            return camera_from_world
        pose = camera_from_world.copy()
        pose[:3, 3] = (pose[:3, :3] @ self.origin + pose[:3, 3]) / self.unit
        pose[:3, :3] = pose[:3, :3] @ self.axes
        return pose

    def camera_from(self, camera: Camera, other: Frame) -> Camera:
        """A camera of another frame in this one; sees the same picture."""
        if np.array_equal(self.matrix(), other.matrix()):
            return camera
        turn = camera.camera_from_world[:3, :3] @ other.axes.T
        away = turn @ (self.origin - other.origin) + other.unit * camera.camera_from_world[:3, 3]
        return camera.with_pose(rigid(turn @ self.axes, away / self.unit))

    def to_json(self) -> dict[str, Any]:
        """As a file holds it."""
        return {"world_from_scene": self.matrix().tolist()}


WORLD = Frame(np.zeros(3), 1.0)


def canonical_frame(poses: Sequence[NDArray[np.float64]], points: NDArray[np.float64]) -> Frame:
    """The frame of cameras: robust centre, their median distance from it as the unit, and the first one's axes.

    Moves, turns and scales with the cameras. Cameras that only turn have no spread, so the unit is then the median
    distance of the points.

    Args:
        poses: (4, 4) camera_from_world each.
        points: (N, 3) of the scene; may be empty.
    """
    centres = np.stack([-pose[:3, :3].T @ pose[:3, 3] for pose in poses])
    distance = np.linalg.norm(centres - centres.mean(axis=0), axis=1)
    kept = centres[distance <= _OUTLYING * np.median(distance)]
    origin = kept.mean(axis=0)
    unit = float(np.median(np.linalg.norm(kept - origin, axis=1)))
    away = float(np.median(np.linalg.norm(points - origin, axis=1))) if len(points) else 0.0
    if unit <= _STILL * max(away, float(np.linalg.norm(origin)) * 1e-6):
        unit = away
    left, _, right = np.linalg.svd(poses[0][:3, :3].T)
    return Frame(origin, unit if unit > 0 else 1.0, left @ right)


def working_frame(poses: Sequence[NDArray[np.float64]], points: NDArray[np.float64]) -> Frame:
    """The frame to work in: the canonical one, or the world's where it serves; see :func:`canonical_frame`."""
    found = canonical_frame(poses, points)
    near = float(np.linalg.norm(found.origin)) <= _FARTHEST * found.unit
    return WORLD if near and _SMALLEST <= found.unit <= _LARGEST else found
