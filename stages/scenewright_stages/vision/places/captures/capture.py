"""The capture type: calibrated photographs of one static scene, and 3D points on it.

The parsers in `colmap` and `camera_files` create captures from files of other programs; `finding` recognises them in a
folder, and `pictures` loads their photographs. An inconsistent capture is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, check_rigid, quaternion_from_rotation
from scenewright_stages.vision.places.captures.masks import MaskFile

MINIMUM_VIEWS = 4
PARAMETERS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
}
"""Numbers of each camera model that can be undistorted, in COLMAP's order."""
_ONE_FOCAL_LENGTH = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")


class CaptureError(ValueError):
    """A capture cannot be used.

    Args:
        reason: CamelCase class of the fault.
        message: what is wrong, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Lens:
    """A calibrated lens and sensor.

    Attributes:
        model: one of :data:`PARAMETERS`.
        width, height: image size of the calibration, pixels.
        parameters: in COLMAP's order; pixel centres at +0.5.
    """

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise CaptureError("CameraModel", f"the camera model {self.model} is not known; known: {known}")
        if len(self.parameters) != PARAMETERS[self.model] or not np.isfinite(self.parameters).all():
            raise CaptureError("Calibration", f"{self.model} with the parameters {list(self.parameters)} is no lens")
        if min(self.focal) <= 0 or min(self.width, self.height) < 1:
            raise CaptureError("Calibration", f"a focal length of {self.focal} at {self.width}x{self.height} is none")

    @property
    def focal(self) -> tuple[float, float]:
        """(fx, fy) in pixels."""
        first = self.parameters[0]
        return (first, first) if self.model in _ONE_FOCAL_LENGTH else (first, self.parameters[1])

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """(3, 3) pinhole matrix."""
        (fx, fy), start = self.focal, 1 if self.model in _ONE_FOCAL_LENGTH else 2
        cx, cy = self.parameters[start : start + 2]
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    @property
    def distortion(self) -> NDArray[np.float64]:
        """(4,) k1, k2, p1, p2 (for a fisheye lens k1 to k4), or (0,) without distortion."""
        start = 3 if self.model in _ONE_FOCAL_LENGTH else 4
        found = np.zeros(4)
        numbers = self.parameters[start:]
        found[: len(numbers)] = numbers
        return found if found.any() else np.zeros(0)


@dataclass(frozen=True, eq=False)
class Shot:
    """One photograph of a capture.

    Attributes:
        path: of the photograph below the capture's folder.
        name: unique for its camera, such as the file's stem.
        camera: number of the physical camera.
        lens: its calibration.
        camera_from_world: (4, 4) float64, OpenCV axes.
        mask: the file that says which of its pixels are valid; None without one. An alpha channel counts besides.
        held_out: whether the capture's own split holds it out of training.
        depth: path of its depth map below the capture's folder; empty without one.
    """

    path: str
    name: str
    camera: int
    lens: Lens
    camera_from_world: NDArray[np.float64]
    mask: MaskFile | None = None
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

    def place(self) -> list[float]:
        """Camera centre and direction as plain numbers: x, y, z, then the quaternion wxyz of world_from_camera."""
        pose = self.pinhole().world_from_camera
        return [round(float(each), 6) for each in (*pose[:3, 3], *quaternion_from_rotation(pose[:3, :3]))]


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
    """

    shots: tuple[Shot, ...]
    points: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    colours: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    cameras: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    depth_unit: float = 1.0

    def __post_init__(self) -> None:
        if len(self.shots) < MINIMUM_VIEWS:
            raise CaptureError(
                "TooFewViews", f"{len(self.shots)} usable views, at least {MINIMUM_VIEWS} with poses are needed"
            )


Read = Callable[[str], bytes]
"""Content of a file of a capture by its path below the capture's folder."""


def lens_of(data: Mapping[str, Any], where: str) -> Lens:
    """Reads a lens from nerfstudio's fields: fl_x, fl_y, cx, cy, w, h, k1, k2, p1, p2, camera_model.

    Raises:
        CaptureError: a number is missing or the model is unknown.
    """
    model = str(data.get("camera_model", "OPENCV"))
    try:
        width, height = int(data["w"]), int(data["h"])
        fx = float(data["fl_x"]) if "fl_x" in data else width / 2 / float(np.tan(float(data["camera_angle_x"]) / 2))
        fy = float(data.get("fl_y", fx))
        centre = float(data.get("cx", width / 2)), float(data.get("cy", height / 2))
    except (KeyError, TypeError, ValueError) as problem:
        raise CaptureError("Calibration", f"{where} has no usable lens: {problem}") from problem
    names = ("k1", "k2", "k3", "k4") if model == "OPENCV_FISHEYE" else ("k1", "k2", "p1", "p2")
    if model in ("PINHOLE", "SIMPLE_PINHOLE"):
        return Lens("PINHOLE", width, height, (fx, fy, *centre))
    if model not in PARAMETERS:
        raise CaptureError(
            "CameraModel", f"{where}: the camera model {model} is not known; known: {', '.join(PARAMETERS)}"
        )
    if model != "OPENCV_FISHEYE":
        if float(data.get("k3", 0)) or float(data.get("k4", 0)):
            raise CaptureError("CameraModel", f"{where}: k3 and k4 of {model} are not known; undistort before")
        model = "OPENCV"
    return Lens(model, width, height, (fx, fy, *centre, *(float(data.get(each, 0)) for each in names)))


def rigid_pose(matrix: Any, where: str) -> NDArray[np.float64]:
    """A (4, 4) pose with an exact rotation; also accepts (3, 4).

    Files contain rounded numbers: a rotation with an error below 1e-3 is orthonormalised, any other is refused.
    """
    pose = np.asarray(matrix, np.float64)
    if pose.shape == (3, 4):
        pose = np.vstack([pose, [0, 0, 0, 1]])
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise CaptureError("Pose", f"{where}: the pose is not a finite 4x4 matrix")
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
