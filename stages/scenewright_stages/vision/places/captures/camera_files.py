"""Reads captures from nerfstudio's ``transforms.json``, from ``cameras.json`` and from Hi4D's ``rgb_cameras.npz``.

The last two calibrate fixed cameras that each took many photographs, ``images/<camera>/<frame>``; every moment is a
separate static scene.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import invert_rigid, world_from_camera_opencv
from scenewright_stages.vision.places.captures.capture import (
    Capture,
    CaptureError,
    Lens,
    Read,
    Shot,
    frame_lens,
    numbered,
    rigid_pose,
)
from scenewright_stages.vision.places.captures.masks import MaskFile

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def read_transforms(path: str, keys: Collection[str], read: Read) -> Capture:
    """Reads ``transforms.json`` (nerfstudio, Instant-NGP): OpenGL poses, with shared or per-image intrinsics.

    Args:
        path: of the file below the capture's folder.
        keys: paths of all files of the capture.

    Raises:
        CaptureError: a pose or lens is unusable, or a photograph is missing.
    """
    data = _json(path, read)
    shots = []
    for number, frame in enumerate(data.get("frames", ())):
        where = f"{path} frame {number} ({frame.get('file_path', '?')})"
        picture = _picture(str(frame.get("file_path", "")), keys)
        if picture is None:
            raise CaptureError("Missing", f"{where}: the photograph is not there")
        world_from_camera = world_from_camera_opencv(rigid_pose(frame.get("transform_matrix"), where))
        lens = frame_lens(data, frame, where)
        pose, mask = invert_rigid(world_from_camera), mask_named(frame.get("mask_path"), keys, where)
        shots.append(Shot(picture, PurePosixPath(picture).stem, 0, lens, pose, mask))
    shots.sort(key=lambda shot: shot.path)
    return Capture(tuple(shots), cameras={"0": 0})


def read_rig(path: str, moment: str, keys: Collection[str], read: Read) -> Capture:
    """Reads one moment of fixed cameras.

    ``cameras.json`` maps a camera's name to ``{width, height, intrinsics, camera_from_world, distortion}``, matrices
    as nested lists, distortion k1, k2, p1, p2.

    Args:
        path: of ``cameras.json`` or ``rgb_cameras.npz``.
        moment: stem of the photographs.

    Raises:
        CaptureError: see :func:`read_transforms`.
    """
    rig = _hi4d(read(path), path) if path.endswith(".npz") else _rig(_json(path, read), path)
    ids = numbered(list(rig))
    shots = []
    for key in sorted(keys):
        parts = PurePosixPath(key).parts
        if len(parts) == 3 and parts[0] == "images" and PurePosixPath(key).stem == moment and parts[1] in rig:
            lens, pose = rig[parts[1]]
            shots.append(Shot(key, moment, ids[parts[1]], lens, pose))
    return Capture(tuple(shots), cameras=ids)


def moments(keys: Collection[str]) -> list[str]:
    """Names of the moments that fixed cameras photographed, sorted."""
    parts = [PurePosixPath(key) for key in keys]
    return sorted({p.stem for p in parts if len(p.parts) == 3 and p.parts[0] == "images" and is_image(p.name)})


def is_image(name: str) -> bool:
    """Whether the file's name has the suffix of a photograph."""
    return name.lower().endswith(IMAGE_ENDINGS)


_Rig = dict[str, tuple[Lens, NDArray[np.float64]]]


def _rig(data: Mapping[str, Any], path: str) -> _Rig:
    found: _Rig = {}
    for name, camera in data.items():
        where = f"{path}: camera {name}"
        matrix = np.asarray(camera.get("intrinsics"), np.float64)
        distortion = tuple(float(each) for each in camera.get("distortion", ()))
        found[name] = (
            _lens(matrix, distortion, (camera.get("width", 0), camera.get("height", 0)), where),
            rigid_pose(camera.get("camera_from_world"), where),
        )
    return found


def _hi4d(data: bytes, path: str) -> _Rig:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("ids", "intrinsics", "extrinsics")}
            distortions = (
                archive["dist_coeffs"] if "dist_coeffs" in archive.files else np.zeros((len(arrays["ids"]), 0))
            )
    except (KeyError, ValueError, zipfile.BadZipFile) as problem:
        raise CaptureError("Damaged", f"{path} is no readable camera file: {problem}") from problem
    found: _Rig = {}
    for number, name in enumerate(arrays["ids"]):
        where = f"{path}: camera {name}"
        distortion = tuple(float(each) for each in distortions[number])
        # The file has no image sizes, so use those of the photographs.
        lens = _lens(arrays["intrinsics"][number], distortion, (0, 0), where)
        found[str(name)] = (lens, rigid_pose(arrays["extrinsics"][number], where))
    return found


def _lens(matrix: NDArray[np.float64], distortion: tuple[float, ...], size: tuple[int, int], where: str) -> Lens:
    if matrix.shape != (3, 3):
        raise CaptureError("Calibration", f"{where}: intrinsics are no 3x3 matrix")
    focal, centre = (float(matrix[0, 0]), float(matrix[1, 1])), (float(matrix[0, 2]), float(matrix[1, 2]))
    width, height = size if min(size) > 0 else (round(2 * centre[0]), round(2 * centre[1]))
    try:
        return Lens.opencv((int(width), int(height)), focal, centre, distortion)
    except CaptureError as problem:
        raise CaptureError(problem.reason, f"{where}: {problem}") from problem


def _json(path: str, read: Read) -> dict[str, Any]:
    try:
        data = json.loads(read(path))
    except ValueError as problem:
        raise CaptureError("Damaged", f"{path} is invalid JSON: {problem}") from problem
    if not isinstance(data, dict):
        raise CaptureError("Damaged", f"{path} holds no object")
    return data


def mask_named(path: Any, keys: Collection[str], where: str) -> MaskFile | None:
    """The mask that a file names; None if it names none. Raises CaptureError if the mask is not there."""
    if path is None:
        return None
    found = _picture(str(path), keys)
    if found is None:
        raise CaptureError("Missing", f"{where}: its mask {path} (mask_path) is not there")
    return MaskFile(found)


def _picture(named: str, keys: Collection[str]) -> str | None:
    path = named.removeprefix("./")
    candidates = (path, *(path + ending for ending in IMAGE_ENDINGS))
    return next((each for each in candidates if each in keys), None)
