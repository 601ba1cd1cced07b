"""Reads COLMAP sparse models, binary and text: cameras, poses and points."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import rigid, rotation_from_quaternion
from scenewright_stages.vision.places.captures.capture import (
    PARAMETERS,
    Capture,
    CaptureError,
    Lens,
    Read,
    Shot,
    numbered,
)

MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE",
)  # fmt: skip
"""By COLMAP's model id."""
MODEL_FILES = ("cameras", "images", "points3D")
"""Files of a model, without their ending."""


class _Cursor:
    """Reads packed little-endian values."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + layout, self._data, self._place)
        self._place += struct.calcsize("<" + layout)
        return found

    def text(self) -> str:
        end = self._data.index(b"\0", self._place)
        found = self._data[self._place : end].decode()
        self._place = end + 1
        return found

    def skip(self, count: int) -> None:
        self._place += count


def read_colmap(folder: str, binary: bool, read: Read, images: str = "images") -> Capture:
    """Reads a sparse model as a capture.

    Args:
        folder: of the model below the capture's folder, such as ``sparse/0``.
        binary: ``.bin`` or ``.txt`` files.
        read: reads them.
        images: folder of the photographs.

    Raises:
        CaptureError: a camera model or pose is unusable, or the files are damaged.
    """
    ending = "bin" if binary else "txt"
    try:
        cameras, images_data = read(f"{folder}/cameras.{ending}"), read(f"{folder}/images.{ending}")
        lenses = _binary_lenses(cameras) if binary else _text_lenses(cameras.decode())
        poses = list(_binary_images(images_data) if binary else _text_images(images_data.decode()))
        points, colours = _points(folder, binary, read)
    except (struct.error, ValueError, IndexError) as problem:
        if isinstance(problem, CaptureError):
            raise
        raise CaptureError("Damaged", f"{folder} is no readable COLMAP model: {problem}") from problem
    names = _camera_names({name: str(camera) for name, camera, _ in poses})
    ids = numbered(list(names.values()))
    shots = []
    for name, camera, pose in sorted(poses, key=lambda each: each[0]):
        if camera not in lenses:
            raise CaptureError("Damaged", f"{name}: its camera {camera} is not in the model")
        stem = PurePosixPath(name).stem
        shots.append(Shot(f"{images}/{name}", stem, ids[names[name]], lenses[camera], pose))
    return Capture(tuple(shots), points, colours, ids)


def _camera_names(by_image: Mapping[str, str]) -> dict[str, str]:
    """The physical camera of each image: its folder if there are folders, else COLMAP's camera."""
    folders = {name: PurePosixPath(name).parent.as_posix() for name in by_image}
    return dict(by_image) if set(folders.values()) == {"."} else folders


def _lens(identity: str, model: str, width: int, height: int, parameters: tuple[float, ...]) -> Lens:
    if model not in PARAMETERS:
        known = ", ".join(PARAMETERS)
        raise CaptureError(
            "CameraModel", f"camera {identity}: the model {model} is not known; undistort the images before ({known})"
        )
    return Lens(model, width, height, parameters)


def _binary_lenses(data: bytes) -> dict[int, Lens]:
    cursor, found = _Cursor(data), {}
    (count,) = cursor.take("Q")
    for _ in range(count):
        identity, model, width, height = cursor.take("iiQQ")
        name = MODELS[model] if 0 <= model < len(MODELS) else f"number {model}"
        parameters = cursor.take(f"{PARAMETERS[name]}d") if name in PARAMETERS else ()
        found[identity] = _lens(str(identity), name, width, height, parameters)
    return found


def _text_lenses(text: str) -> dict[int, Lens]:
    found = {}
    for line in _lines(text):
        identity, model, width, height, *parameters = line.split()
        numbers = tuple(float(each) for each in parameters)
        found[int(identity)] = _lens(identity, model, int(width), int(height), numbers)
    return found


_Image = tuple[str, int, NDArray[np.float64]]


def _binary_images(data: bytes) -> Iterator[_Image]:
    cursor = _Cursor(data)
    (count,) = cursor.take("Q")
    for _ in range(count):
        _, *numbers, camera = cursor.take("i7di")
        name = cursor.text()
        (points,) = cursor.take("Q")
        cursor.skip(24 * points)
        yield name, camera, _pose(name, numbers)


def _text_images(text: str) -> Iterator[_Image]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in lines[::2]:
        if line.strip():
            _, *numbers, camera, name = line.split(maxsplit=9)
            yield name.strip(), int(camera), _pose(name, [float(each) for each in numbers])


def _pose(name: str, numbers: list[float]) -> NDArray[np.float64]:
    if not np.isfinite(numbers).all() or not np.any(numbers[:4]):
        raise CaptureError("Pose", f"{name}: the pose is not finite")
    return rigid(rotation_from_quaternion(numbers[:4]), numbers[4:])


def _points(folder: str, binary: bool, read: Read) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Points and colours, ordered by id; empty if the model has no points file."""
    try:
        data = read(f"{folder}/points3D.{'bin' if binary else 'txt'}")
    except KeyError:
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    rows = sorted(_binary_points(data) if binary else _text_points(data.decode()))
    usable = [row for row in rows if np.isfinite(row[1]).all()]
    positions = np.array([row[1] for row in usable], np.float64).reshape(-1, 3)
    return positions, np.array([row[2] for row in usable], np.uint8).reshape(-1, 3)


_Point = tuple[int, tuple[float, ...], tuple[int, ...]]


def _binary_points(data: bytes) -> Iterator[_Point]:
    cursor = _Cursor(data)
    (count,) = cursor.take("Q")
    for _ in range(count):
        identity, x, y, z, red, green, blue, _ = cursor.take("Q3d3Bd")
        (track,) = cursor.take("Q")
        cursor.skip(8 * track)
        yield identity, (x, y, z), (red, green, blue)


def _text_points(text: str) -> Iterator[_Point]:
    for line in _lines(text):
        identity, *numbers = line.split()[:7]
        yield (
            int(identity),
            tuple(float(each) for each in numbers[:3]),
            tuple(int(each) for each in numbers[3:6]),
        )


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
