"""Reads captures from ``transforms.json`` of nerfstudio and Instant-NGP, and from NeRF-synthetic's three such files.

Every key is used, left with a reason, or refused: a key that nobody here knows and that may change the geometry must
not be passed over, because the scene would be wrong without a word.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.contract.formats import PICTURE_ENDINGS
from scenewright_stages.vision.geometry.cameras import invert_rigid, world_from_camera_opencv
from scenewright_stages.vision.geometry.point_files import PlyError, parse_points
from scenewright_stages.vision.imaging.images.opening import open_header
from scenewright_stages.vision.imaging.images.stored import stored_size
from scenewright_stages.vision.places.captures.accounting import Keys, read_json, refuse_geometric, shown
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError, Read, Shot, frame_lens, rigid_pose
from scenewright_stages.vision.places.captures.colmap import (
    model_file,
    read_model_points,
    read_poses,
    usable_points,
)
from scenewright_stages.vision.places.captures.names import matching

TRANSFORMS = "transforms.json"
SPLITS = {name: f"transforms_{name}.json" for name in ("train", "val", "test")}
"""NeRF-synthetic's files: the second or third holds the held-out views."""
LENS_KEYS = (
    "camera_model", "is_fisheye", "w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y",
    "k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2", "s1", "s2", "s3", "s4", "tau_x", "tau_y",
)  # fmt: skip
"""Keys that `lens_of` reads, at the top or in a frame; a frame's own come first."""
_MODELS = tuple(f"{folder}sparse/0" for folder in ("colmap/", ""))
_DEPTHS = ("depth_file_path", "depth_path")
_DEPTH_UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
_DEPTH_UNIT = 1e-3
"""Of nerfstudio: millimetres, where poses are in metres."""

_NOT_NEEDED = {
    "aabb_scale": "the scene's size follows from its cameras",
    "scale": "the unit follows from the cameras",
    "offset": "the origin follows from the cameras",
    "orientation_override": "poses are used as they are",
    "auto_scale_poses_override": "poses are used as they are",
    "render_aabb": "it cuts Instant-NGP's view only",
    "crop": "it cuts nerfstudio's view only",
    "white_transparent": "alpha says which pixels are used",
    "black_transparent": "alpha says which pixels are used",
    "n_extra_learnable_dims": "it is a setting of Instant-NGP's training",
    "enable_depth_loading": "it is a setting of Instant-NGP's training",
    "sharpness_discard_threshold": "it is a setting of Instant-NGP's training",
    "sharpness": "all photographs are used",
    "colmap_im_id": "poses come from the frame itself",
    "rotation": "poses come from transform_matrix",
    "time": "the scene is taken to stand still",
}
"""Why a key is not needed. None of them changes what the photographs show."""


@dataclass
class _Reading:
    """What is known while the files of one capture are read."""

    keys: Collection[str]
    read: Read
    used: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    moved: bool = False
    """Whether points were moved by ``applied_transform``."""

    def leave(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            self.left.setdefault(name, reason)


def read_transforms(path: str, keys: Collection[str], read: Read) -> Capture:
    """Reads ``transforms.json`` or NeRF-synthetic's files: OpenGL poses, with shared or per-image intrinsics.

    Args:
        path: of the file below the capture's folder; one of :data:`SPLITS` stands for all of them.
        keys: paths of all files of the capture.
        read: reads them.

    Raises:
        CaptureError: a pose, lens or key is unusable, or a file that a key names is missing.
    """
    reading = _Reading(keys, read)
    notes: tuple[str, ...] = ()
    if path == TRANSFORMS:
        top = Keys(read_json(path, read), path)
        shots = _split(top, _shots(top, reading), reading)
    else:
        top = Keys(read_json(path, read), path)
        if path != SPLITS["train"]:
            raise CaptureError("Missing", f"{SPLITS['train']} is not there: {path} alone holds held-out views")
        shots = _shots(top, reading)
        held_out = _held_out_of(path, reading)
        shots += held_out
        if not held_out:
            notes = (f"neither {SPLITS['test']} nor {SPLITS['val']} is there: photographs of {path} are held out",)
        elif SPLITS["test"] not in keys:
            notes = (f"{SPLITS['test']} is not there: photographs of {SPLITS['val']} are held out",)
    shots = _once(shots, path, reading)
    shots.sort(key=lambda shot: shot.path)
    points, colours = _points(top, shots, reading)
    unit = next((top.number(name, 0.0) for name in _DEPTH_UNITS if name in top), _DEPTH_UNIT)
    shots = _with_depth(shots, bool(len(points)), path, reading)
    _applied(top)
    reading.leave(
        (name for name in ("applied_transform", "applied_scale") if name in top and not reading.moved),
        "the poses and points of the file have gone through it already",
    )
    reading.leave(
        (name for name in _DEPTH_UNITS if name in top and not any(shot.depth for shot in shots)),
        "no depth map is used",
    )
    top.take(*_DEPTH_UNITS, "applied_transform", "applied_scale")
    _account(top, "", reading)
    reading.used += [shot.depth for shot in shots if shot.depth]
    return Capture(
        tuple(shots),
        points,
        colours,
        cameras={"0": 0},
        files=tuple(dict.fromkeys(reading.used)),
        left=reading.left,
        notes=notes,
        depth_unit=unit,
    )


def _held_out_of(path: str, reading: _Reading) -> list[Shot]:
    """The held-out photographs of NeRF-synthetic: those of the test file, or without one of the validation file."""
    others = [name for name in SPLITS.values() if name in reading.keys and name != path]
    held = next((name for name in (SPLITS["test"], SPLITS["val"]) if name in others), None)
    shots: list[Shot] = []
    for name in others:
        top = Keys(read_json(name, reading.read), name)
        if name == held:
            shots = [replace(shot, held_out=True) for shot in _shots(top, reading)]
            _account(top, "", reading)
            reading.used.append(name)
            continue
        reason = f"{held} names the held-out views"
        reading.leave([name], reason)
        frames = (frame for frame in top.rows("frames") if isinstance(frame, dict))
        pictures = (_picture(str(frame.get("file_path", "")), reading.keys) for frame in frames)
        reading.leave((each for each in pictures if each), f"photographs of {name}")
    return shots


def _shots(top: Keys, reading: _Reading) -> list[Shot]:
    rows = top.rows("frames")
    if not rows:
        raise CaptureError("TooFewViews", f"{top.where}: frames is empty or missing: no photograph has a pose")
    return [_shot(top, Keys(row, f"{top.where} frame {number}"), reading) for number, row in enumerate(rows)]


def _shot(top: Keys, frame: Keys, reading: _Reading) -> Shot:
    named = frame.text("file_path")
    frame.where = f"{frame.where} ({named or 'without file_path'})"
    picture = _picture(named, reading.keys)
    if picture is None:
        raise CaptureError("Missing", f"{frame.where}: file_path: the photograph is not there")
    frame.take("transform_matrix", *LENS_KEYS)
    top.take(*LENS_KEYS)
    size = _size_of(top, frame, picture, reading)
    lens = frame_lens({**_given(top), **size}, {**_given(frame), **size}, frame.where)
    pose = invert_rigid(world_from_camera_opencv(_pose(frame)))
    mask = _beside(frame, "mask_path", frame.text("mask_path"), reading)
    depth = next((named for name in _DEPTHS if (named := frame.text(name))), "")
    _account(frame, "frames: ", reading)
    return Shot(picture, PurePosixPath(picture).stem, 0, lens, pose, mask, depth=depth)


def _given(keys: Keys) -> dict[str, Any]:
    """The keys that have a value. Raises CaptureError for a key of the lens with a wrong type."""
    keys.text("camera_model")
    keys.flag("is_fisheye")
    for name in LENS_KEYS[2:]:
        if name in keys and not keys.number(name, 0.0).is_integer() and name in ("w", "h"):
            raise keys.refused(name, "a whole number of pixels")
    return {name: value for name, value in keys.data.items() if value is not None}


def _size_of(top: Keys, frame: Keys, picture: str, reading: _Reading) -> dict[str, int]:
    """``w`` and ``h`` of the photograph where no key says them; else nothing."""
    if all(name in frame or name in top for name in ("w", "h")):
        return {}
    # One size for all that share a lens, so the index reads one header and not hundreds of photographs.
    shared = not any(name in frame for name in LENS_KEYS)
    key = "" if shared else picture
    if key not in reading.sizes:
        reading.sizes[key] = _size(picture, reading.read)
    return dict(zip(("w", "h"), reading.sizes[key], strict=True))


def _size(picture: str, read: Read) -> tuple[int, int]:
    """(width, height) of a photograph as its file holds it, before any EXIF orientation."""
    try:
        with open_header(io.BytesIO(read(picture))) as image:
            return stored_size(image)
    except (OSError, ValueError, Image.DecompressionBombError) as problem:
        raise CaptureError("Unreadable", f"{picture} cannot be read as a photograph: {problem}") from problem


def _pose(frame: Keys) -> NDArray[np.float64]:
    return rigid_pose(frame.matrix("transform_matrix", (4, 4), (3, 4)), f"{frame.where}: transform_matrix")


def _beside(frame: Keys, key: str, named: str, reading: _Reading) -> str:
    """The file that a key names; empty if it names none. Raises CaptureError if it is not there."""
    found = _picture(named, reading.keys)
    if named and found is None:
        raise CaptureError("Missing", f"{frame.where}: {key}: {named} is not there")
    return found or ""


def _with_depth(shots: list[Shot], has_points: bool, path: str, reading: _Reading) -> list[Shot]:
    """The shots with the depth maps that their frames name; without any if other files bring points."""
    found = []
    for shot in shots:
        if has_points and shot.depth:
            # A stage does not get these files, so they may be missing there.
            depth = _picture(shot.depth, reading.keys) or shot.depth
            reading.leave([depth], "start points come from the point file")
            found.append(replace(shot, depth=""))
        else:
            where = Keys({}, f"{path}: {shot.path}")
            found.append(replace(shot, depth=_beside(where, "depth_file_path", shot.depth, reading)))
    return found


def _split(top: Keys, shots: list[Shot], reading: _Reading) -> list[Shot]:
    """Marks the held-out photographs: those of ``val_filenames`` and ``test_filenames``, if the file has a split."""
    held: set[str] = set()
    for name in ("train_filenames", "val_filenames", "test_filenames"):
        for each in top.texts(name):
            picture = _picture(each, reading.keys)
            if picture is None or picture not in {shot.path for shot in shots}:
                raise CaptureError("Missing", f"{top.where}: {name}: {each} is in no frame")
            if not name.startswith("train"):
                held.add(picture)
    return [replace(shot, held_out=shot.path in held) for shot in shots]


def _once(shots: list[Shot], path: str, reading: _Reading) -> list[Shot]:
    """Each photograph once. Raises CaptureError if one has two poses."""
    found: dict[str, Shot] = {}
    for shot in shots:
        first = found.setdefault(shot.path, shot)
        if first is shot:
            continue
        if not np.array_equal(first.camera_from_world, shot.camera_from_world):
            both = f"{first.lens.source} and {shot.lens.source}"
            raise CaptureError("Damaged", f"{path}: {shot.path} has two poses: keep one of its frames, {both}")
        reading.leave([f"frames: the second of {shot.path}"], "it equals the first")
    return list(found.values())


def _points(top: Keys, shots: list[Shot], reading: _Reading) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Points on the scene: of ``ply_file_path``, else of the COLMAP model that the file was made from."""
    if named := top.text("ply_file_path"):
        path = named.removeprefix("./")
        if path not in reading.keys:
            raise CaptureError("Missing", f"{top.where}: ply_file_path: {named} is not there")
        reading.used.append(path)
        try:
            points, colours = parse_points(reading.read(path), path)
        except PlyError as problem:
            raise CaptureError("Damaged", str(problem)) from problem
        finite = usable_points(points)
        if not finite.all():
            reading.leave([f"{int((~finite).sum())} points of {path}"], "not finite")
        if not finite.any():
            reading.leave([path], "it holds no usable point: start points are random")
        return points[finite], colours[finite]
    return _model_points(top, shots, reading)


def _model_points(top: Keys, shots: list[Shot], reading: _Reading) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Points of ``colmap/sparse/0`` in the frame of the poses, if both name the same cameras; else none."""
    for folder in _MODELS:
        for binary in (True, False):
            files = [model_file(folder, name, binary) for name in ("images", "points3D")]
            if not all(each in reading.keys for each in files):
                continue
            points, colours = read_model_points(folder, binary, reading.read)
            matrix = _frame_of(top, shots, read_poses(folder, binary, reading.read))
            if matrix is None:
                reading.leave(files, f"its cameras are not those of {top.where}")
                return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
            reading.used += files
            reading.moved = True
            finite = usable_points(points)
            if not finite.all():
                reading.leave([f"{int((~finite).sum())} points of {files[1]}"], "not finite")
            return points[finite] @ matrix[:3, :3].T + matrix[:3, 3], colours[finite]
    return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)


def _frame_of(top: Keys, shots: list[Shot], poses: list[tuple[str, int, NDArray[np.float64]]]) -> Any:
    """The matrix from a model's frame to that of the poses: ``applied_transform``, or none; None if neither fits."""
    centres = {PurePosixPath(name).name: -pose[:3, :3].T @ pose[:3, 3] for name, _, pose in poses}
    pairs = [
        (centres[name], shot.pinhole().position) for shot in shots if (name := PurePosixPath(shot.path).name) in centres
    ]
    if len(pairs) < 4:
        return None
    model, own = (np.array(each) for each in zip(*pairs, strict=True))
    extent = float(np.ptp(own, axis=0).max())
    for matrix in (_applied(top), np.eye(4)):
        if np.abs(model @ matrix[:3, :3].T + matrix[:3, 3] - own).max() < 1e-2 * extent:
            return matrix
    return None


def _applied(top: Keys) -> NDArray[np.float64]:
    scale = top.number("applied_scale", 1.0)
    if scale <= 0:
        raise top.refused("applied_scale", "a number above 0")
    if "applied_transform" not in top:
        return np.eye(4)
    matrix = top.matrix("applied_transform", (3, 4), (4, 4))
    gram = matrix[:3, :3].T @ matrix[:3, :3]
    if np.abs(gram - np.eye(3) * gram[0, 0]).max() > 1e-3 * gram[0, 0] or gram[0, 0] <= 0:
        raise top.refused("applied_transform", "a rotation with one scale, and a translation")
    return np.vstack([matrix[:3], [0.0, 0.0, 0.0, 1.0]]) * scale


def _account(keys: Keys, prefix: str, reading: _Reading) -> None:
    """Leaves the keys that were not asked for. Raises CaptureError for one that may change the geometry."""
    refuse_geometric(keys, _NOT_NEEDED)
    reading.leave((f"{prefix}{name}" for name in keys.nulls), "null counts as missing")
    for name in keys.unasked():
        value = keys.data[name]
        if name in _NOT_NEEDED:
            _check_uniform(keys, name, value)
            reading.leave([f"{prefix}{name}"], _NOT_NEEDED[name])
        else:
            reading.leave([f"{prefix}{name}"], "not a known key")


def _check_uniform(keys: Keys, name: str, value: Any) -> None:
    """Refuses a scale with a number of its own for each axis."""
    if "scale" in name and isinstance(value, list) and len({str(each) for each in value}) > 1:
        raise CaptureError("UnknownKey", f"{keys.where}: {name} is {shown(value)}: a scale must be one number")


def _picture(named: str, keys: Collection[str]) -> str | None:
    """The file that a key names, with or without its ending."""
    path = named.removeprefix("./").replace("\\", "/")
    candidates = (path, *(path + ending for ending in PICTURE_ENDINGS))
    exact = next((each for each in candidates if each and each in keys), None)
    return exact or next((found for each in candidates if each and (found := matching(each, keys))), None)
