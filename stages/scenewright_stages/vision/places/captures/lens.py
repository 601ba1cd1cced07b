"""Calibrated lenses: the camera models that OpenCV computes, in COLMAP's and nerfstudio's spelling.

A lens is a pinhole matrix and either OpenCV's rational model (k1 to k6, tangential, thin prism, tilt) or its fisheye
model (k1 to k4). A model that neither covers is refused: a lens is never approximated. `pictures` undistorts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.places.captures.errors import CaptureError

PARAMETERS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "FULL_OPENCV": 12,
    "OPENCV_TILTED": 18,
    "OPENCV_FISHEYE": 8,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
}
"""Numbers of each camera model that can be undistorted, in COLMAP's order.

OPENCV_TILTED is FULL_OPENCV with OpenCV's s1 to s4 (thin prism) and tau_x, tau_y (tilt); COLMAP has no such model.
"""
_ONE_FOCAL_LENGTH = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
_FISHEYE_TERMS = ("k1", "k2", "k3", "k4")
_TERMS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6", "s1", "s2", "s3", "s4", "tau_x", "tau_y")
"""OpenCV's distortion coefficients, in its order."""
_LENGTHS = (4, 8, 14)
"""How many of them OPENCV, FULL_OPENCV and OPENCV_TILTED have."""
_SHORTEST, _LONGEST, _FARTHEST = 0.01, 1e5, 100.0
"""Focal length, and distance of the principal point, in units of the longer side: beyond them it is no lens."""
_LARGEST = 1_000_000
"""Side of a picture in pixels."""
_FOCAL_KEYS = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
_SIZE_KEYS = ("w", "h", *_FOCAL_KEYS, "cx", "cy")
_OTHER_LENSES = ("ftheta_p0", "latlong", "equirectangular", "mirror_overlap")
"""Keys of Instant-NGP for lenses without a pinhole equivalent."""


@dataclass(frozen=True)
class Lens:
    """A calibrated lens and sensor.

    Attributes:
        model: one of :data:`PARAMETERS`.
        width, height: image size of the calibration, pixels.
        parameters: in COLMAP's order; pixel centres at +0.5.
        source: file and entry that describe it, for messages.
    """

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.model not in PARAMETERS:
            raise CaptureError("CameraModel", f"the camera model {self.model} is not known; {_known()}")
        if len(self.parameters) != PARAMETERS[self.model] or not np.isfinite(self.parameters).all():
            raise CaptureError("Calibration", f"{self.model} with the parameters {list(self.parameters)} is no lens")
        if min(self.width, self.height) < 1 or max(self.width, self.height) > _LARGEST:
            raise CaptureError("Calibration", f"a picture of {self.width}x{self.height} pixels is none")
        longer = max(self.width, self.height)
        if min(self.focal) < _SHORTEST * longer or max(self.focal) > _LONGEST * longer:
            raise CaptureError("Calibration", f"a focal length of {self.focal} at {self.width}x{self.height} is none")
        centre = self.intrinsics[:2, 2]
        if np.abs(centre).max() > _FARTHEST * longer:
            raise CaptureError("Calibration", f"a centre at {centre.tolist()} is none of {self.width}x{self.height}")

    @classmethod
    def opencv(
        cls,
        size: tuple[int, int],
        focal: tuple[float, float],
        centre: tuple[float, float],
        distortion: Sequence[float] = (),
        fisheye: bool = False,
    ) -> Lens:
        """A lens from OpenCV's numbers.

        Args:
            distortion: up to 14 coefficients in OpenCV's order (k1, k2, p1, p2, k3, ...), for a fisheye k1 to k4.
        """
        numbers = [float(each) for each in distortion]
        if fisheye:
            count, model = 4, "OPENCV_FISHEYE"
        else:
            used = max((place for place, each in enumerate(numbers, 1) if each), default=0)
            count = next((each for each in _LENGTHS if each >= used), len(numbers))
            model = {4: "OPENCV", 8: "FULL_OPENCV"}.get(count, "OPENCV_TILTED")
        if any(numbers[count:]) or count > max(_LENGTHS):
            raise CaptureError("CameraModel", f"{len(numbers)} distortion coefficients are more than OpenCV knows")
        padded = [*numbers, *([0.0] * count)][:count]
        return cls(model, *size, (*map(float, (*focal, *centre)), *padded))

    @property
    def fisheye(self) -> bool:
        """Whether the distortion is that of OpenCV's fisheye model."""
        return self.model.endswith("FISHEYE")

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
        """(4,), (8,) or (14,) coefficients in OpenCV's order; for a fisheye k1 to k4.

        Empty for a pinhole. A fisheye whose coefficients are all zero is equidistant, not a pinhole.
        """
        start = 3 if self.model in _ONE_FOCAL_LENGTH else 4
        numbers = self.parameters[start:]
        found = np.zeros(max(4, len(numbers)))
        found[: len(numbers)] = numbers
        return found if found.any() or self.fisheye else np.zeros(0)

    def scaled(self, width: int, height: int) -> Lens:
        """The lens for the same photograph at another size."""
        across, down = width / self.width, height / self.height
        (fx, fy), matrix = self.focal, self.intrinsics
        centre = (float(matrix[0, 2] * across), float(matrix[1, 2] * down))
        found = Lens.opencv((width, height), (fx * across, fy * down), centre, self.distortion.tolist(), self.fisheye)
        return replace(found, source=self.source)


def frame_lens(data: Mapping[str, Any], frame: Mapping[str, Any], where: str) -> Lens:
    """The lens of a frame of ``transforms.json``: its own keys override the file's.

    Focal length and field of view are one fact: a frame that says either does not inherit the other.
    """
    own = any(key in frame for key in _FOCAL_KEYS)
    shared = {key: value for key, value in data.items() if not (own and key in _FOCAL_KEYS)}
    return lens_of({**shared, **frame}, where)


def lens_of(data: Mapping[str, Any], where: str) -> Lens:
    """Reads a lens from the fields of nerfstudio and Instant-NGP.

    These are fl_x, fl_y or camera_angle_x, camera_angle_y; cx, cy, w, h; camera_model or is_fisheye; and OpenCV's
    coefficients k1 to k6, p1, p2, s1 to s4, tau_x, tau_y.

    Raises:
        CaptureError: a number is missing, or the model is not one that OpenCV computes.
    """
    model = _model(data, where)
    try:
        return replace(_lens_of(data, model, where), source=where)
    except CaptureError as problem:
        if where in str(problem):
            raise
        given = ", ".join(f"{name} {data[name]!r}" for name in (*_SIZE_KEYS, *_TERMS) if name in data)
        raise CaptureError(problem.reason, f"{where}: {problem} (given are {given})") from problem


def _lens_of(data: Mapping[str, Any], model: str, where: str) -> Lens:
    try:
        width, height = int(data["w"]), int(data["h"])
        focal = _focal(data, width, height)
        centre = float(data.get("cx", width / 2)), float(data.get("cy", height / 2))
        numbers = {name: float(data.get(name) or 0) for name in _TERMS}
    except (KeyError, TypeError, ValueError) as problem:
        raise CaptureError("Calibration", f"{where} has no usable lens: {problem}") from problem
    used = {name for name, value in numbers.items() if value}
    if model == "OPENCV_FISHEYE":
        _refuse(used - set(_FISHEYE_TERMS), model, where)
        return Lens.opencv((width, height), focal, centre, [numbers[name] for name in _FISHEYE_TERMS], fisheye=True)
    if model in ("PINHOLE", "SIMPLE_PINHOLE"):
        if used:
            terms = ", ".join(f"{name} = {numbers[name]}" for name in sorted(used))
            raise CaptureError(
                "CameraModel",
                f"{where}: {terms} contradicts camera_model {model}, which has no distortion: set camera_model to "
                "OPENCV if the photographs are distorted, else remove it",
            )
        return Lens("PINHOLE", width, height, (*focal, *centre))
    if "k4" in used and model != "FULL_OPENCV" and not {"k5", "k6"} & set(data):
        raise CaptureError(
            "CameraModel",
            f"{where}: k4 = {data['k4']} of {model} has two meanings (nerfstudio and Metashape: the factor of r^8; "
            "OpenCV: a divisor): undistort the photographs, or set camera_model to FULL_OPENCV if it is OpenCV's",
        )
    return Lens.opencv((width, height), focal, centre, [numbers[name] for name in _TERMS])


def _model(data: Mapping[str, Any], where: str) -> str:
    """The camera model, from ``camera_model`` and ``is_fisheye``."""
    flag, named = data.get("is_fisheye", False), data.get("camera_model")
    if flag not in (True, False):
        raise CaptureError("CameraModel", f"{where}: is_fisheye is {flag!r}, not true or false")
    other = [key for key in _OTHER_LENSES if data.get(key)]
    if other:
        raise CaptureError("CameraModel", f"{where}: a lens described by {other[0]} is not known; {_known()}")
    if named is None:
        return "OPENCV_FISHEYE" if flag else "OPENCV"
    model = str(named)
    if model not in PARAMETERS:
        raise CaptureError("CameraModel", f"{where}: the camera model {model} is not known; {_known()}")
    if "is_fisheye" in data and bool(flag) != model.endswith("FISHEYE"):
        raise CaptureError(
            "CameraModel", f"{where}: is_fisheye {bool(flag)} contradicts camera_model {model}: correct one of them"
        )
    return "OPENCV_FISHEYE" if model.endswith("FISHEYE") else model


def _focal(data: Mapping[str, Any], width: int, height: int) -> tuple[float, float]:
    across = _focal_along(data, "x", width)
    down = _focal_along(data, "y", height)
    if across is None:
        across = down
    if across is None:
        raise KeyError("fl_x or camera_angle_x")
    return across, across if down is None else down


def _focal_along(data: Mapping[str, Any], axis: str, side: int) -> float | None:
    if f"fl_{axis}" in data:
        return float(data[f"fl_{axis}"])
    if f"camera_angle_{axis}" in data:
        angle = float(data[f"camera_angle_{axis}"])
        if not 0 < angle < np.pi:
            raise ValueError(f"camera_angle_{axis} is {angle:g}; it is in radians, between 0 and {np.pi:.4f}")
        return float(side / 2 / np.tan(angle / 2))
    return None


def _refuse(terms: set[str], model: str, where: str) -> None:
    if terms:
        raise CaptureError("CameraModel", f"{where}: {', '.join(sorted(terms))} of {model} is not known")


def _known() -> str:
    return f"known: {', '.join(PARAMETERS)}. Undistort the photographs before"
