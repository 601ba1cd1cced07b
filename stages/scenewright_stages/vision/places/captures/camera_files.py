"""Reads captures from ``cameras.json`` and from Hi4D's ``rgb_cameras.npz``.

Both calibrate fixed cameras that each took many photographs, ``images/<camera>/<frame>``; every moment is a separate
static scene.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.formats import PICTURE_ENDINGS
from scenewright_stages.vision.places.captures.accounting import Keys, read_json, refuse_geometric
from scenewright_stages.vision.places.captures.capture import (
    Capture,
    CaptureError,
    Lens,
    Read,
    Shot,
    numbered,
    rigid_pose,
)

_CAMERA_KEYS = ("intrinsics", "camera_from_world", "distortion", "width", "height")
_SKEW = 1e-3
"""Largest skew of a camera matrix, relative to its focal length, that rounding explains."""
_ARRAYS = ("ids", "intrinsics", "extrinsics", "dist_coeffs")


def read_rig(path: str, moment: str, keys: Collection[str], read: Read) -> Capture:
    """Reads one moment of fixed cameras.

    ``cameras.json`` maps a camera's name to ``{width, height, intrinsics, camera_from_world, distortion}``, matrices
    as nested lists, distortion k1, k2, p1, p2.

    Args:
        path: of ``cameras.json`` or ``rgb_cameras.npz``.
        moment: stem of the photographs.

    Raises:
        CaptureError: a pose, lens or key is unusable.
    """
    left: dict[str, str] = {}
    rig = _hi4d(read(path), path, left) if path.endswith(".npz") else _rig(read_json(path, read), path, left)
    ids = numbered(list(rig))
    shots = []
    for key in sorted(keys):
        parts = PurePosixPath(key).parts
        if len(parts) == 3 and parts[0] == "images" and PurePosixPath(key).stem == moment and parts[1] in rig:
            lens, pose = rig[parts[1]]
            shots.append(Shot(key, moment, ids[parts[1]], lens, pose))
    taken = {str(PurePosixPath(shot.path).parts[1]) for shot in shots}
    left |= {
        f"{path}: camera {name}": f"images/{name}/ has no photograph {moment}" for name in rig if name not in taken
    }
    return Capture(tuple(shots), cameras=ids, left=left)


def moments(keys: Collection[str]) -> list[str]:
    """Names of the moments that fixed cameras photographed, sorted."""
    parts = [PurePosixPath(key) for key in keys]
    return sorted({p.stem for p in parts if len(p.parts) == 3 and p.parts[0] == "images" and is_image(p.name)})


def is_image(name: str) -> bool:
    """Whether the file's name has the suffix of a photograph."""
    return name.lower().endswith(PICTURE_ENDINGS)


_Rig = dict[str, tuple[Lens, NDArray[np.float64]]]


def _rig(data: Mapping[str, Any], path: str, left: dict[str, str]) -> _Rig:
    found: _Rig = {}
    for name, given in data.items():
        camera = Keys(given, f"{path}: camera {name}")
        camera.take(*_CAMERA_KEYS)
        matrix = camera.matrix("intrinsics", (3, 3))
        distortion = camera.numbers("distortion", 14)
        pose = rigid_pose(camera.matrix("camera_from_world", (4, 4), (3, 4)), f"{camera.where}: camera_from_world")
        found[name] = _lens(matrix, distortion, _size(camera), camera.where), pose
        refuse_geometric(camera)
        left |= {f"{path}: {key}": "null counts as missing" for key in camera.nulls}
        left |= {f"{path}: {key}": "not a known key" for key in camera.unasked()}
    return found


def _size(camera: Keys) -> tuple[int, int]:
    """Width and height; zeros if neither is given."""
    names = ("width", "height")
    for name in names:
        size = camera.number(name, 0)
        if any(each in camera for each in names) and not (size >= 1 and size.is_integer()):
            raise camera.refused(name, "a whole number of pixels")
    return int(camera.number("width", 0)), int(camera.number("height", 0))


def _hi4d(data: bytes, path: str, left: dict[str, str]) -> _Rig:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in _ARRAYS[:3]}
            count = len(arrays["ids"])
            distortions = np.asarray(archive["dist_coeffs"] if "dist_coeffs" in archive.files else np.zeros((count, 0)))
            left |= {f"{path}: {name}": "not a known array" for name in archive.files if name not in _ARRAYS}
        per_camera = zip(*(arrays[name] for name in _ARRAYS[:3]), distortions, strict=True)
        rows = [
            (str(name), np.asarray(matrix, np.float64), pose, tuple(map(float, row)))
            for name, matrix, pose, row in per_camera
        ]
    except (KeyError, ValueError, TypeError, IndexError, EOFError, OSError, zipfile.BadZipFile) as problem:
        raise CaptureError("Damaged", f"{path} is no readable camera file: {problem}") from problem
    found: _Rig = {}
    for name, matrix, pose, distortion in rows:
        where = f"{path}: camera {name}"
        # The file has no image sizes, so use those of the photographs.
        found[name] = (_lens(matrix, distortion, (0, 0), where), rigid_pose(pose, where))
    return found


def _lens(matrix: NDArray[np.float64], distortion: tuple[float, ...], size: tuple[int, int], where: str) -> Lens:
    if matrix.shape != (3, 3):
        raise CaptureError("Calibration", f"{where}: intrinsics are no 3x3 matrix")
    focal, centre = (float(matrix[0, 0]), float(matrix[1, 1])), (float(matrix[0, 2]), float(matrix[1, 2]))
    rest = np.array([matrix[0, 1] / (focal[0] or 1), matrix[1, 0] / (focal[1] or 1), *(matrix[2] - (0, 0, 1))])
    if not (np.abs(rest) <= _SKEW).all():
        raise CaptureError(
            "Calibration",
            f"{where}: intrinsics are {matrix.tolist()}; expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], without skew",
        )
    if min(size) < 1 and min(centre) < 1:
        raise CaptureError("Calibration", f"{where}: width and height are not given, nor a centre in intrinsics")
    width, height = size if min(size) > 0 else (round(2 * centre[0]), round(2 * centre[1]))
    try:
        return replace(Lens.opencv((int(width), int(height)), focal, centre, distortion), source=where)
    except CaptureError as problem:
        given = f"width, height and intrinsics are {width}, {height} and {matrix.tolist()}"
        raise CaptureError(problem.reason, f"{where}: {problem} ({given})") from problem
