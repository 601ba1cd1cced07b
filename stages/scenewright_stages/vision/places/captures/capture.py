"""The capture type: calibrated photographs of one static scene, and 3D points on it.

The parsers in `colmap` and `camera_files` create captures from files of other programs; `finding` recognises them in a
folder, and `pictures` loads their photographs. An inconsistent capture is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, check_rigid, quaternion_from_rotation
from scenewright_stages.vision.places.captures.errors import CaptureError
from scenewright_stages.vision.places.captures.frame import WORLD, Frame
from scenewright_stages.vision.places.captures.lens import PARAMETERS, Lens, frame_lens, lens_of

__all__ = ["PARAMETERS", "Capture", "CaptureError", "Lens", "Read", "Shot", "frame_lens", "lens_of"]

MINIMUM_VIEWS = 4
FARTHEST = 1e15
"""Coordinates and other numbers beyond it are refused: at such a size float64 does not hold tenths any more."""


@dataclass(frozen=True, eq=False)
class Shot:
    """One photograph of a capture.

    Attributes:
        path: of the photograph below the capture's folder.
        name: unique for its camera, such as the file's stem.
        camera: number of the physical camera.
        lens: its calibration.
        camera_from_world: (4, 4) float64, OpenCV axes.
        mask: path of the file that says which of its pixels are valid, below the capture's folder; empty without one.
            An alpha channel counts besides.
        held_out: whether the capture's own split holds it out of training.
        depth: path of its depth map below the capture's folder; empty without one.
    """

    path: str
    name: str
    camera: int
    lens: Lens
    camera_from_world: NDArray[np.float64]
    mask: str = ""
    held_out: bool = False
    depth: str = ""

    def __post_init__(self) -> None:
        try:
            Camera(self.lens.intrinsics, self.lens.width, self.lens.height, self.camera_from_world)
        except ValueError as problem:
            raise CaptureError("Pose", f"{self.path}: {problem}") from problem

    def pinhole(self) -> Camera:
        """The undistorted camera, at the calibrated image size."""
        return Camera(self.lens.intrinsics, self.lens.width, self.lens.height, self.camera_from_world)


@dataclass(frozen=True, eq=False)
class Capture:
    """Photographs of one static scene.

    Attributes:
        shots: in the order of their paths.
        points: (N, 3) float64 points on the scene, world coordinates; may be empty.
        colours: (N, 3) uint8 sRGB of the points.
        cameras: number by name of every physical camera.
        notes: what a user should know.
        files: paths of further files that it needs, besides photographs, masks and the file that describes it.
        left: reason by name of every key and file that the reader met and did not use.
        depth_unit: length of one step of the shots' depth maps, in the unit of the poses.
        frame: in which shots and points are; the world's unless :meth:`in_frame` moved them.
    """

    shots: tuple[Shot, ...]
    points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    colours: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    cameras: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    depth_unit: float = 1.0
    frame: Frame = WORLD

    def __post_init__(self) -> None:
        if len(self.shots) < MINIMUM_VIEWS:
            raise CaptureError(
                "TooFewViews", f"{len(self.shots)} usable views, at least {MINIMUM_VIEWS} with poses are needed"
            )

    def in_frame(self, frame: Frame) -> Capture:
        """The capture, which must be in the world's frame, moved into another one in float64."""
        shots = [replace(shot, camera_from_world=frame.pose_inside(shot.camera_from_world)) for shot in self.shots]
        points, unit = frame.points_inside(self.points), self.depth_unit / frame.unit
        return replace(self, shots=tuple(shots), points=points, depth_unit=unit, frame=frame)


Read = Callable[[str], bytes]
"""Content of a file of a capture by its path below the capture's folder."""


def place_of(camera: Camera) -> list[float]:
    """Camera centre and direction as plain numbers: x, y, z, then the quaternion wxyz of world_from_camera."""
    pose = camera.world_from_camera
    return [round(float(each), 6) for each in (*pose[:3, 3], *quaternion_from_rotation(pose[:3, :3]))]


def rigid_pose(matrix: Any, where: str) -> NDArray[np.float64]:
    """A (4, 4) pose with an exact rotation; also accepts (3, 4).

    Files contain rounded numbers: a rotation with an error below 1e-3 is orthonormalised, any other is refused.
    """
    pose = np.asarray(matrix, np.float64)
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0, 0, 0, 1]])
    if pose.shape != (4, 4) or not (np.abs(pose) <= FARTHEST).all():
        raise CaptureError("Pose", f"{where}: the pose is not a finite 4x4 matrix")
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-3:
        raise CaptureError("Pose", f"{where}: the pose's last row is {pose[3].tolist()}, not 0 0 0 1")
    left, stretch, right = np.linalg.svd(pose[:3, :3])
    if np.abs(stretch - 1).max() > 1e-3 or np.linalg.det(left @ right) < 0:
        raise CaptureError(
            "Pose", f"{where}: the pose is no rigid motion (its axes are stretched by {stretch.round(4)})"
        )
    exact = pose.copy()
    exact[:3, :3] = left @ right
    check_rigid(exact)
    return exact


def numbered(names: Sequence[str]) -> dict[str, int]:
    """A number for every camera name: the name itself if all are numbers, else its position in sorted order."""
    unique = sorted(set(names))
    if all(name.isdigit() for name in unique) and len({int(name) for name in unique}) == len(unique):
        return {name: int(name) for name in unique}
    return {name: number for number, name in enumerate(unique)}
