"""Loads a capture's photographs at working size: undistorts and scales them, and stores them with their cameras.

Undistortion happens once, here; all later code uses pinhole cameras only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.images.integrity import damage_of
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError, Lens, Shot
from scenewright_stages.vision.types import Uint8Array

_SIZE_TOLERANCE = 0.01
"""Photographs may have been scaled since they were calibrated, as long as their shape is the same."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph of a capture, ready for use.

    Attributes:
        name: as in :class:`~scenewright_stages.vision.places.captures.capture.Shot`.
        number: of the physical camera.
        camera: pinhole, with the image's size.
        srgb: (H, W, 3) uint8.
        held_out: whether the capture's own split holds it out of training.
    """

    name: str
    number: int
    camera: Camera
    srgb: Uint8Array
    held_out: bool = False


@dataclass(frozen=True, eq=False)
class PosedPhotographs:
    """The photographs of a capture and the points of its scene.

    Attributes:
        photographs: in the capture's order.
        points, colours: (P, 3) world coordinates and uint8 sRGB.
        gains: (N, 3) gains by which the colours were divided to match exposures; None if they are unmodified.
    """

    photographs: tuple[Photograph, ...]
    points: NDArray[np.float64]
    colours: Uint8Array
    gains: NDArray[np.float64] | None = None

    @property
    def held_out(self) -> list[bool]:
        """Which photographs the capture's own split holds out; all False without a split."""
        return [each.held_out for each in self.photographs]

    @property
    def cameras(self) -> list[Camera]:
        """Cameras of all photographs, in order."""
        return [each.camera for each in self.photographs]

    def save(self, path: Path) -> None:
        """Writes an ``.npz`` file; equal captures give equal bytes."""
        arrays: dict[str, NDArray[np.generic]] = {
            "names": np.array([each.name for each in self.photographs]),
            "numbers": np.array([each.number for each in self.photographs], np.int64),
            "intrinsics": np.stack([each.camera.intrinsics for each in self.photographs]),
            "camera_from_world": np.stack([each.camera.camera_from_world for each in self.photographs]),
            "points": self.points,
            "colours": self.colours,
        }
        for number, each in enumerate(self.photographs):
            arrays[f"srgb_{number}"] = each.srgb
        if self.gains is not None:
            arrays["gains"] = self.gains
        if any(self.held_out):
            arrays["held_out"] = np.array(self.held_out)
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> PosedPhotographs:
        """The inverse of :meth:`save`."""
        with np.load(path, allow_pickle=False) as arrays:
            photographs = []
            held_out = arrays.get("held_out", np.zeros(len(arrays["names"]), bool))
            for number, name in enumerate(arrays["names"]):
                srgb = arrays[f"srgb_{number}"]
                camera = Camera(
                    arrays["intrinsics"][number], srgb.shape[1], srgb.shape[0], arrays["camera_from_world"][number]
                )
                held = bool(held_out[number])
                photographs.append(Photograph(str(name), int(arrays["numbers"][number]), camera, srgb, held))
            gains = arrays.get("gains")
            return cls(tuple(photographs), arrays["points"], arrays["colours"], gains)


def load_photographs(capture: Capture, picture: Callable[[str], Path], longest_side: int) -> PosedPhotographs:
    """All photographs of a capture, undistorted and scaled.

    Args:
        picture: local path of a photograph by its path in the capture.
        longest_side: of the results in pixels; smaller photographs are not resized.

    Raises:
        CaptureError: a photograph cannot be read, or its aspect ratio differs from its calibration.
    """
    photographs = tuple(_load(shot, picture(shot.path), longest_side) for shot in capture.shots)
    return PosedPhotographs(photographs, capture.points, capture.colours)


def _load(shot: Shot, path: Path, longest_side: int) -> Photograph:
    if damage := damage_of(path):
        raise CaptureError("Unreadable", f"{shot.path} is damaged: {damage}; copy or export it again")
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise CaptureError("Unreadable", f"{shot.path} cannot be read as a photograph")
    srgb: Uint8Array = np.ascontiguousarray(pixels[..., ::-1], np.uint8)
    shot = _fitting(shot, srgb.shape[1], srgb.shape[0])
    camera = shot.pinhole()
    srgb = _undistorted(srgb, shot.lens)
    scale = min(1.0, longest_side / max(camera.width, camera.height))
    if scale < 1:
        size = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
        srgb, camera = np.asarray(cv2.resize(srgb, size, interpolation=cv2.INTER_AREA), np.uint8), camera.scaled(*size)
    return Photograph(shot.name, shot.camera, camera, srgb, shot.held_out)


def _fitting(shot: Shot, width: int, height: int) -> Shot:
    """The shot with its lens scaled to the image size."""
    across, down = width / shot.lens.width, height / shot.lens.height
    if abs(across / down - 1) > _SIZE_TOLERANCE:
        raise CaptureError(
            "Calibration",
            f"{shot.path} has {width}x{height} pixels, calibrated are {shot.lens.width}x{shot.lens.height}",
        )
    if (width, height) == (shot.lens.width, shot.lens.height):
        return shot
    (fx, fy), matrix = shot.lens.focal, shot.lens.intrinsics
    centre = (matrix[0, 2] * across, matrix[1, 2] * down)
    model = "OPENCV_FISHEYE" if shot.lens.model == "OPENCV_FISHEYE" else "OPENCV"
    distortion = shot.lens.distortion if shot.lens.distortion.size else np.zeros(4)
    lens = Lens(model, width, height, (fx * across, fy * down, *centre, *map(float, distortion)))
    return replace(shot, lens=lens)


def _undistorted(srgb: Uint8Array, lens: Lens) -> Uint8Array:
    """The image undistorted to a pinhole camera with the same intrinsics."""
    distortion = lens.distortion
    if not distortion.size:
        return srgb
    # OpenCV puts pixel centres at whole numbers, this project at +0.5.
    matrix = lens.intrinsics
    matrix[:2, 2] -= 0.5
    size = (lens.width, lens.height)
    undistort = cv2.fisheye.initUndistortRectifyMap if lens.model == "OPENCV_FISHEYE" else cv2.initUndistortRectifyMap
    columns, rows = undistort(matrix, distortion, np.eye(3), matrix, size, cv2.CV_32FC1)
    remapped = cv2.remap(srgb, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(remapped, np.uint8)
