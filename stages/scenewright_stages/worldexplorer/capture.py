"""The capture of a world in nerfstudio's format: posed images, points, and distances from the centre.

The points stage writes it; training and export read nothing else. WorldExplorer's own work folders have the same
layout, without the distances and the train/held-out split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.scenes.preparation import write_png
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import start_points
from scenewright_stages.vision.geometry.cameras import Camera, rigid, world_from_camera_opengl
from scenewright_stages.vision.geometry.point_files import PlyError, read_points, write_points
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.pictures import Photograph, load_photographs
from scenewright_stages.vision.places.captures.transforms import read_transforms
from scenewright_stages.vision.places.worlds.motions import turned
from scenewright_stages.vision.places.worlds.panorama import stitch

CAMERAS, POINTS, DISTANCE = "transforms.json", "points.ply", "distance.npy"
LONGEST_SIDE = 4096
_NUMBER = re.compile(r"[_-]?\d+$")
_SAME_PLACE = 1e-4
"""Cameras nearer to the first one than this share of the cameras' spread stand in the middle."""
_ROWS, _FACE, _FACE_DEGREES, _COVERED = 256, 192, 100.0, 0.5
_FACES = ((0, 0), (90, 0), (180, 0), (270, 0), (0, 90), (0, -90))
"""Yaw and pitch in degrees of six pictures that show everything around the middle."""


@dataclass(frozen=True, eq=False)
class CaptureFrame:
    """One image to write: its file name, camera, pixels, and whether it is held out from training."""

    name: str
    camera: Camera
    srgb: NDArray[np.uint8]
    held_out: bool


@dataclass(frozen=True, eq=False)
class WorldCapture:
    """A loaded capture.

    Attributes:
        train, held_out: training images, and whole held-out paths for evaluation.
        points: (N, 3) float64, world coordinates; may be empty.
        colours: (N, 3) uint8.
        middle: camera of the first image, at the centre, where all paths start.
        distance: (H, 2 H) float32 along the rays from the centre, in its frame; None if the folder has none.
    """

    train: tuple[Photograph, ...]
    held_out: tuple[Photograph, ...]
    points: NDArray[np.float64]
    colours: NDArray[np.uint8]
    middle: Camera
    distance: NDArray[np.float32] | None

    def central(self) -> list[Photograph]:
        """The training images taken from the centre."""
        places = np.stack([each.camera.position for each in (*self.train, *self.held_out)])
        limit = _SAME_PLACE * max(1e-9, float(np.linalg.norm(places - self.middle.position, axis=1).max()))
        return [each for each in self.train if np.linalg.norm(each.camera.position - self.middle.position) <= limit]

    def start(self, count: int, seed: int) -> tuple[GaussianScene, list[str]]:
        """Initial Gaussians at the points, and warnings about them."""
        cameras, pictures = [each.camera for each in self.train], [each.srgb for each in self.train]
        valid = [each.valid for each in self.train]
        found = start_points(self.points, self.colours, cameras, pictures, seed, count, valid)
        note = f"{found.seeded} start points are random: the work folder brings hardly any"
        return found.scene(), [note] if found.seeded else []


def write_capture(
    folder: Path, frames: Sequence[CaptureFrame], points: GaussianScene, distance: NDArray[np.float32]
) -> None:
    """Writes ``images/``, ``transforms.json`` (OpenGL poses, the centre first), ``points.ply`` and ``distance.npy``."""
    (folder / "images").mkdir(parents=True)
    for frame in frames:
        write_png(folder / "images" / f"{frame.name}.png", frame.srgb.astype(np.float32) / np.float32(255))
    names = [f"images/{frame.name}.png" for frame in frames]
    listed = transforms([frame.camera for frame in frames], names)
    split = {
        "train_filenames": [name for name, frame in zip(names, frames, strict=True) if not frame.held_out],
        "val_filenames": [name for name, frame in zip(names, frames, strict=True) if frame.held_out],
    }
    text = json.dumps({**listed, "ply_file_path": POINTS, **split}, indent=1)
    (folder / CAMERAS).write_text(text + "\n")
    write_points(
        folder / POINTS, points.means.numpy(), uint8_from_unit(points.spherical_harmonics[:, 0].numpy() * C0 + 0.5)
    )
    np.save(folder / DISTANCE, distance.astype(np.float32))


def transforms(cameras: list[Camera], names: list[str]) -> dict[str, object]:
    """Cameras with shared intrinsics as nerfstudio's ``transforms.json`` (OpenGL poses)."""
    first = cameras[0]
    (fx, fy), (cx, cy) = first.focal, first.principal_point
    frames = [
        {"file_path": name, "transform_matrix": world_from_camera_opengl(camera.world_from_camera).tolist()}
        for camera, name in zip(cameras, names, strict=True)
    ]
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": first.width, "h": first.height}
    return {"camera_model": "OPENCV", **lens, "frames": frames}


def read_world_capture(folder: Path, held_out_every: int) -> WorldCapture:
    """Reads a capture folder. Without a split in the folder, every n-th path is held out, by image names.

    Raises:
        SampleError: a file is missing or unusable.
    """
    try:
        data = json.loads((folder / CAMERAS).read_text())
        keys = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        capture = read_transforms(CAMERAS, keys, lambda key: (folder / key).read_bytes())
        photographs = load_photographs(capture, lambda key: folder / key, LONGEST_SIDE).photographs
        points, colours = _points(folder, data)
    except CaptureError as problem:
        raise SampleError(problem.reason, str(problem)) from problem
    except (OSError, ValueError) as problem:
        raise SampleError("BadWorkFolder", f"{CAMERAS} or its points cannot be read: {problem}") from problem
    by_path = {shot.path: each for shot, each in zip(capture.shots, photographs, strict=True)}
    order = [str(frame["file_path"]).removeprefix("./") for frame in data["frames"]]
    held_out = set(data["val_filenames"]) if "val_filenames" in data else held_out_paths(order, held_out_every)
    distance = folder / DISTANCE
    return WorldCapture(
        tuple(by_path[path] for path in order if path not in held_out),
        tuple(by_path[path] for path in order if path in held_out),
        points,
        colours,
        by_path[order[0]].camera,
        np.load(distance, allow_pickle=False) if distance.is_file() else None,
    )


def held_out_paths(names: Sequence[str], every: int) -> set[str]:
    """Images of every n-th path.

    Images belong to one path if their names differ only in a number at the end. Single images, and images named by a
    number alone, form no path, because they may be the views from which all paths start.
    """
    paths: dict[str, list[str]] = {}
    for name in names:
        paths.setdefault(_NUMBER.sub("", PurePosixPath(name).stem), []).append(name)
    whole = [each for path, each in paths.items() if path and len(each) > 1]
    return {name for number, each in enumerate(whole) if number % every == every // 2 for name in each}


def distance_seen(scene: GaussianScene, middle: Camera, renderer: Renderer) -> NDArray[np.float32]:
    """(H, 2 H) float32 distances in a trained scene, seen from the centre; 0 where nothing is seen."""
    lens = Camera.from_field_of_view(_FACE, _FACE, _FACE_DEGREES)
    cameras = [lens.with_pose(rigid(turned(yaw, pitch).T, np.zeros(3))) for yaw, pitch in _FACES]
    placed = [lens.with_pose(each.camera_from_world @ middle.camera_from_world) for each in cameras]
    with torch.no_grad():
        drawn = renderer.render(scene, placed)
    depths = torch.where(drawn.alpha > _COVERED, drawn.depth, 0).cpu().numpy().astype(np.float32)
    blank = [np.zeros((_FACE, _FACE, 3), np.float32)] * len(cameras)
    distance = stitch(blank, cameras, _ROWS, list(depths)).distance
    assert distance is not None
    return distance


def _points(folder: Path, data: dict[str, object]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    named = data.get("ply_file_path")
    path = folder / str(named) if named else next(iter(sorted(folder.glob("*.ply"))), None)
    if path is None or not path.is_file():
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    try:
        return read_points(path)
    except PlyError as problem:
        raise SampleError("BadPoints", str(problem)) from problem
