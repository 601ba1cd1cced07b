"""Writes captures of the synthetic world as other programs would: COLMAP text, transforms.json and cameras.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from synthetic.rendering import SyntheticView, render
from synthetic.world import World, box_room, cameras_inside

from scenewright_stages.vision.geometry.cameras import (
    Camera,
    quaternion_from_rotation,
    world_from_camera_opengl,
)
from scenewright_stages.vision.geometry.points import unproject

SIZE = (96, 72)
POINTS = 400


def room_views(world: World, count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> list[SyntheticView]:
    """Photographs from a ring of cameras."""
    return [render(world, camera, 2) for camera in cameras_inside(world, count, *size, seed=seed)]


def write_pictures(folder: Path, views: Sequence[SyntheticView]) -> list[str]:
    """``images/000.png`` and so on; returns their names."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"{number:03d}.png" for number in range(len(views))]
    for name, view in zip(names, views, strict=True):
        write_picture(folder / "images" / name, view.srgb)
    return names


def write_picture(path: Path, srgb: np.ndarray) -> None:
    """One PNG of float sRGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.round(np.clip(srgb[..., ::-1], 0, 1) * 255).astype(np.uint8))


def write_colmap(folder: Path, views: Sequence[SyntheticView], points: int = POINTS, seed: int = 0) -> Path:
    """A COLMAP model in text, with points on the surfaces as structure from motion would find them."""
    names = write_pictures(folder, views)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    camera = views[0].camera
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    (model / "cameras.txt").write_text(f"# cameras\n1 PINHOLE {camera.width} {camera.height} {fx!r} {fy!r} {cx} {cy}\n")
    lines = ["# images"]
    for number, (name, view) in enumerate(zip(names, views, strict=True), start=1):
        pose = view.camera.camera_from_world
        numbers = [*quaternion_from_rotation(pose[:3, :3]), *pose[:3, 3]]
        lines += [f"{number} {' '.join(repr(float(each)) for each in numbers)} 1 {name}", ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("# points\n" + _point_lines(views, points, seed))
    return folder


def write_transforms(folder: Path, views: Sequence[SyntheticView]) -> Path:
    """nerfstudio's file, without points."""
    names = write_pictures(folder, views)
    camera = views[0].camera
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    frames = []
    for name, view in zip(names, views, strict=True):
        pose = world_from_camera_opengl(view.camera.world_from_camera)
        frames.append({"file_path": f"images/{name}", "transform_matrix": pose.tolist()})
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": camera.width, "h": camera.height}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "PINHOLE", **lens, "frames": frames}))
    return folder


def write_rig(folder: Path, cameras: Sequence[Camera], moments: dict[str, World]) -> Path:
    """Fixed cameras that photographed several moments."""
    rig = {
        f"{10 + number}": {
            "width": camera.width,
            "height": camera.height,
            "intrinsics": camera.intrinsics.tolist(),
            "camera_from_world": camera.camera_from_world.tolist(),
        }
        for number, camera in enumerate(cameras)
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.json").write_text(json.dumps(rig))
    for moment, world in moments.items():
        for name, camera in zip(rig, cameras, strict=True):
            write_picture(folder / "images" / name / f"{moment}.png", render(world, camera, 2).srgb)
    return folder


def write_rooms(folder: Path, count: int, views: int, size: tuple[int, int] = SIZE, first: int = 0) -> Path:
    """Captures of box rooms, ``room00`` and so on."""
    for seed in range(first, first + count):
        write_colmap(folder / f"room{seed:02d}", room_views(box_room(seed), views, size, seed), seed=seed)
    return folder


def _point_lines(views: Sequence[SyntheticView], count: int, seed: int) -> str:
    random = np.random.default_rng([seed, 7])
    lines = []
    each = max(1, count // len(views))
    for view in views:
        points = unproject(view.depth, view.camera).reshape(-1, 3)
        colours = np.round(view.srgb.reshape(-1, 3) * 255).astype(int)
        for pixel in random.choice(len(points), each, replace=False):
            position = points[pixel] + random.normal(size=3) * 0.005
            numbers = [*(f"{value:.5f}" for value in position), *(str(value) for value in colours[pixel])]
            lines.append(f"{len(lines) + 1} {' '.join(numbers)} 0.3")
    return "\n".join(lines) + "\n"
