"""Reads COLMAP sparse models, binary and text: cameras, poses and points.

Damaged files are refused with their name and the line or byte: a text model that another program rewrote without its
empty lines would otherwise lose every second photograph.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import rigid, rotation_from_quaternion
from scenewright_stages.vision.places.captures.accounting import named_once
from scenewright_stages.vision.places.captures.capture import (
    FARTHEST,
    PARAMETERS,
    Capture,
    CaptureError,
    Lens,
    Read,
    Shot,
    numbered,
)
from scenewright_stages.vision.places.captures.names import matching

MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "FOV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE",
)  # fmt: skip
"""By COLMAP's model id."""
MODEL_FILES = ("cameras", "images", "points3D")
"""Files of a model, without their ending."""
IMAGE_FOLDERS = ("images/", "", "input/", "colmap/images/")
"""Where the photographs of a model may be, below the capture's folder; most have them in the first."""


class _Cursor:
    """Reads packed little-endian values of a file; an early end is refused by name."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._place, self._name = data, 0, name

    def take(self, layout: str) -> tuple[Any, ...]:
        try:
            found = struct.unpack_from("<" + layout, self._data, self._place)
        except struct.error as problem:
            raise self._ended() from problem
        self._place += struct.calcsize("<" + layout)
        return found

    def text(self) -> str:
        end = self._data.find(b"\0", self._place)
        if end < 0:
            raise self._ended()
        found = self._data[self._place : end].decode(errors="replace")
        self._place = end + 1
        return found

    def skip(self, size: int, count: int) -> None:
        if self._place + size * count > len(self._data):
            raise self._ended()
        self._place += size * count

    def finish(self) -> None:
        if self._place != len(self._data):
            extra = len(self._data) - self._place
            raise CaptureError(
                "Damaged", f"{self._name} has {extra} bytes after its last entry: it is damaged; export it again"
            )

    def _ended(self) -> CaptureError:
        return CaptureError(
            "Damaged", f"{self._name} ends early, after {len(self._data)} bytes: copy or export it again"
        )


def read_colmap(folder: str, binary: bool, read: Read, keys: Collection[str] | None = None) -> Capture:
    """Reads a sparse model as a capture.

    Args:
        folder: of the model below the capture's folder, such as ``sparse/0``; empty for the folder itself.
        binary: ``.bin`` or ``.txt`` files.
        read: reads them.
        keys: paths of all files of the capture; None to take the photographs in ``images/`` as given.

    Raises:
        CaptureError: a camera model or pose is unusable, a photograph is missing, or a file is damaged.
    """
    lenses = _lenses(folder, binary, read)
    poses = read_poses(folder, binary, read)
    points, colours = read_model_points(folder, binary, read)
    notes = _doubts(folder, binary, read, len(points))
    finite = usable_points(points)
    if not finite.all():
        notes.append(f"{model_file(folder, 'points3D', binary)}: {int((~finite).sum())} points are not finite")
        points, colours = points[finite], colours[finite]
    where = model_file(folder, "images", binary)
    if not poses:
        raise CaptureError("TooFewViews", f"{where} names no photograph")
    named_once([name for name, _, _ in poses], where)
    keys = {f"images/{name}" for name, _, _ in poses} if keys is None else keys
    images = image_folder([name for name, _, _ in poses], keys)
    paths = {name: matching(f"{images}{name}", keys) for name, _, _ in poses}
    if missing := [name for name, path in paths.items() if path is None]:
        raise CaptureError("Missing", _missing(where, images, missing, len(poses)))
    names = _camera_names({name: str(camera) for name, camera, _ in poses})
    ids = numbered(list(names.values()))
    shots = []
    for name, camera, pose in sorted(poses, key=lambda each: each[0]):
        if camera not in lenses:
            held = model_file(folder, "cameras", binary)
            raise CaptureError("Damaged", f"{where}: {name}: its camera {camera} is not in {held}")
        path = paths[name] or ""
        shots.append(Shot(path, PurePosixPath(name).stem, ids[names[name]], lenses[camera], pose))
    return Capture(tuple(shots), points, colours, ids, notes=tuple(notes))


def read_poses(folder: str, binary: bool, read: Read) -> list[tuple[str, int, NDArray[np.float64]]]:
    """Name, camera number and camera_from_world (4, 4) of each photograph of a model, in the file's order.

    Raises:
        CaptureError: the file is missing or damaged, or a pose is not finite.
    """
    name = model_file(folder, "images", binary)
    data = _content(name, read)
    if binary:
        return list(_binary_images(data, name))
    text = _text(data, name)
    found = list(_text_images(text, name))
    _check_count(text, name, len(found))
    return found


def read_model_points(folder: str, binary: bool, read: Read) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Points (N, 3), finite or not, and colours (N, 3), ordered by id; empty if the model has no points file.

    Raises:
        CaptureError: the file is damaged.
    """
    name = model_file(folder, "points3D", binary)
    try:
        data = read(name)
    except KeyError:
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    rows = sorted(_binary_points(data, name) if binary else _text_points(_text(data, name), name))
    if not binary:
        _check_count(_text(data, name), name, len(rows))
    positions = np.array([row[1] for row in rows], np.float64).reshape(-1, 3)
    return positions, np.array([row[2] for row in rows], np.uint8).reshape(-1, 3)


def usable_points(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points (N, 3) are finite and not farther away than any coordinate may be."""
    return np.asarray((np.abs(points) <= FARTHEST).all(axis=1))


def model_file(folder: str, name: str, binary: bool) -> str:
    """Path of a file of a model."""
    return f"{folder}/{name}.{'bin' if binary else 'txt'}".removeprefix("/")


def image_folder(names: Collection[str], keys: Collection[str]) -> str:
    """The folder below which most of the named photographs are; ``images/`` if none is anywhere."""
    return max(IMAGE_FOLDERS, key=lambda folder: sum(matching(f"{folder}{name}", keys) is not None for name in names))


def _missing(where: str, images: str, missing: list[str], count: int) -> str:
    named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    if len(missing) == count:
        remedy = "name the folder that holds both the model and images/"
        return f"{where}: none of its {count} photographs is there ({named}): {remedy}"
    return f"{where}: {len(missing)} of {count} photographs are not in {images or 'the folder'}: {named}"


def _content(name: str, read: Read) -> bytes:
    try:
        return read(name)
    except KeyError as problem:
        raise CaptureError("Missing", f"{name} is not there: a model has cameras, images and points3D") from problem


def _text(data: bytes, name: str) -> str:
    try:
        # Windows programs begin a text with a mark of its byte order.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise CaptureError("Damaged", f"{name} is not text in UTF-8, from byte {problem.start} on") from problem


def _doubts(folder: str, binary: bool, read: Read, points: int) -> list[str]:
    """What a user should know of the model's files: missing points, and texts that may have been cut."""
    notes = []
    if not points:
        notes.append(f"{model_file(folder, 'points3D', binary)} is not there or empty: start points are random")
    for name in MODEL_FILES if not binary else ():
        try:
            content = read(model_file(folder, name, binary))
        except KeyError:
            continue
        if content and not content.endswith(b"\n"):
            notes.append(f"{model_file(folder, name, binary)} ends within a line: it may have been cut")
    return notes


def _check_count(text: str, file: str, found: int) -> None:
    """Refuses a text model whose comment announces another number of entries than it holds."""
    announced = re.search(r"^# Number of (?:cameras|images|points): (\d+)", text, re.MULTILINE)
    if announced and int(announced[1]) != found:
        raise CaptureError(
            "Damaged", f"{file} announces {announced[1]} entries and holds {found}: it was cut; export it again"
        )


def _camera_names(by_image: Mapping[str, str]) -> dict[str, str]:
    """The physical camera of each image: its folder if there are folders, else COLMAP's camera."""
    folders = {name: PurePosixPath(name).parent.as_posix() for name in by_image}
    return dict(by_image) if set(folders.values()) == {"."} else folders


def _lenses(folder: str, binary: bool, read: Read) -> dict[int, Lens]:
    name = model_file(folder, "cameras", binary)
    data = _content(name, read)
    return _binary_lenses(data, name) if binary else _text_lenses(_text(data, name), name)


def _lens(where: str, model: str, width: int, height: int, parameters: tuple[float, ...]) -> Lens:
    if model not in PARAMETERS:
        known = ", ".join(PARAMETERS)
        raise CaptureError(
            "CameraModel", f"{where}: the model {model} is not known; undistort the images before ({known})"
        )
    try:
        return Lens(model, width, height, parameters, where)
    except CaptureError as problem:
        raise CaptureError(problem.reason, f"{where}: {problem}") from problem


def _binary_lenses(data: bytes, file: str) -> dict[int, Lens]:
    cursor, found = _Cursor(data, file), dict[int, Lens]()
    (count,) = cursor.take("Q")
    for _ in range(count):
        identity, model, width, height = cursor.take("iiQQ")
        name = MODELS[model] if 0 <= model < len(MODELS) else f"number {model}"
        parameters = cursor.take(f"{PARAMETERS[name]}d") if name in PARAMETERS else ()
        where = f"{file}: camera {identity}"
        _add(found, identity, _lens(where, name, width, height, parameters), where)
    cursor.finish()
    return found


def _text_lenses(text: str, file: str) -> dict[int, Lens]:
    found = dict[int, Lens]()
    for number, line in _lines(text):
        where = f"{file} line {number}"
        try:
            identity, model, width, height, *parameters = line.split()
            row = int(identity), model, int(width), int(height), tuple(float(each) for each in parameters)
        except ValueError as problem:
            raise _bad_line(where, line, "camera id, model, width, height and parameters") from problem
        where = f"{where}: camera {identity}"
        _add(found, row[0], _lens(where, *row[1:]), where)
    _check_count(text, file, len(found))
    return found


def _add(found: dict[int, Lens], identity: int, lens: Lens, where: str) -> None:
    if found.setdefault(identity, lens) != lens:
        raise CaptureError("Damaged", f"{where} is there twice, with other numbers: keep one of them")


_Image = tuple[str, int, NDArray[np.float64]]


def _binary_images(data: bytes, file: str) -> Iterator[_Image]:
    cursor = _Cursor(data, file)
    (count,) = cursor.take("Q")
    for _ in range(count):
        _, *numbers, camera = cursor.take("i7di")
        name = cursor.text()
        (points,) = cursor.take("Q")
        cursor.skip(24, points)
        yield name, camera, _pose(f"{file}: {name}", numbers)
    cursor.finish()


def _text_images(text: str, file: str) -> Iterator[_Image]:
    """Two lines a photograph: its pose, then its points, which may be an empty line."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if not line.startswith("#")]
    for place in range(0, len(lines), 2):
        number, line = lines[place]
        if not line.strip():
            if any(rest.strip() for _, rest in lines[place:]):
                raise CaptureError(
                    "Damaged", f"{file} line {number} is empty where a photograph's pose is expected: {_TWO_LINES}"
                )
            return
        words = line.split(maxsplit=9)
        try:
            identity, *numbers, camera, name = words
            pose, number_of_camera, _ = [float(each) for each in numbers], int(camera), int(identity)
        except ValueError as problem:
            raise _bad_line(f"{file} line {number}", line, _POSE) from problem
        if len(words) != 10:
            raise _bad_line(f"{file} line {number}", line, _POSE)
        _check_points(lines[place + 1 : place + 2], file, name.strip())
        yield name.strip(), number_of_camera, _pose(f"{file} line {number}: {name.strip()}", pose)


_POSE = "image id, quaternion (4), translation (3), camera id and name"
_TWO_LINES = "COLMAP writes two lines a photograph, the second with its points or empty"


def _check_points(following: list[tuple[int, str]], file: str, name: str) -> None:
    """Refuses a photograph's second line that does not hold points: three numbers each."""
    for number, line in following:
        words = line.split()
        try:
            whole = len(words) % 3 == 0 and all(np.isfinite([float(word) for word in words[:6]]))
        except ValueError:
            whole = False
        if not whole:
            raise CaptureError(
                "Damaged",
                f"{file} line {number} does not hold the points of {name} ({line[:60].strip()!r}): {_TWO_LINES}; "
                "export the model again",
            )


def _pose(where: str, numbers: list[float]) -> NDArray[np.float64]:
    if not (np.abs(numbers) <= FARTHEST).all():
        raise CaptureError("Pose", f"{where}: the pose is not finite")
    length = float(np.linalg.norm(numbers[:4]))
    if abs(length - 1) > _ROUNDING:
        raise CaptureError(
            "Pose", f"{where}: the length of the quaternion is {length:g}, that of a rotation is 1: export it again"
        )
    return rigid(rotation_from_quaternion(numbers[:4]), numbers[4:])


_ROUNDING = 0.01
"""Deviation of a quaternion's length from 1 that rounded numbers explain."""
_Point = tuple[int, tuple[float, ...], tuple[int, ...]]


def _binary_points(data: bytes, file: str) -> Iterator[_Point]:
    cursor = _Cursor(data, file)
    (count,) = cursor.take("Q")
    for _ in range(count):
        identity, x, y, z, red, green, blue, _ = cursor.take("Q3d3Bd")
        (track,) = cursor.take("Q")
        cursor.skip(8, track)
        yield identity, (x, y, z), (red, green, blue)
    cursor.finish()


def _text_points(text: str, file: str) -> Iterator[_Point]:
    for number, line in _lines(text):
        try:
            identity, *numbers = line.split()[:7]
            x, y, z, *colour = numbers
            row = int(identity), (float(x), float(y), float(z)), tuple(int(each) for each in colour)
        except ValueError as problem:
            raise _bad_line(f"{file} line {number}", line, "point id, position (3) and colour (3)") from problem
        if len(row[2]) != 3 or not all(0 <= each <= 255 for each in row[2]):
            raise _bad_line(f"{file} line {number}", line, "point id, position (3) and colour (3) from 0 to 255")
        yield row


def _bad_line(where: str, line: str, expected: str) -> CaptureError:
    return CaptureError("Damaged", f"{where} is {line[:60].strip()!r}; expected {expected}")


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines that hold data, with their numbers from 1."""
    return [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip() and not line.startswith("#")]
