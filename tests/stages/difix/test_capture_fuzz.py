"""Readers of captures say what they met: a changed file or key is named, in a note or a refusal; none raises."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_folders import room_views, write_colmap, write_rig, write_transforms
from capture_mutations import Files, Mutation, mutations
from input_folders import FolderView
from synthetic.world import box_room, cameras_inside
from test_captures import as_binary

from scenewright_stages.captures import NO_POSES
from scenewright_stages.vision.geometry.point_files import write_points
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.depth_points import with_depth_points
from scenewright_stages.vision.places.captures.finding import list_photographs, path_of, read_capture
from scenewright_stages.vision.places.captures.pictures import load_photographs
from scenewright_stages.worker.index.files import input_notes, unaccounted_files

SIZE = (32, 24)
VIEWS = 6
LEAST = 300


class MemoryView:
    """Files in memory as listers see an input."""

    def __init__(self, files: Files) -> None:
        self.files, self.uri, self.single = files, "/captures/room", ""
        self.keys = sorted(files)

    def size(self, key: str) -> int:
        return len(self.files[key])

    def read(self, key: str) -> bytes:
        return self.files[key]


def content(folder: Path) -> Files:
    view = FolderView(folder)
    return {key: view.read(key) for key in view.keys}


def nerfstudio(folder: Path, depth: bool) -> Files:
    """With every file that the format can name; start points from depth maps, or from a point file."""
    views = room_views(box_room(0), VIEWS, SIZE)
    write_transforms(folder, views)
    data = json.loads((folder / "transforms.json").read_text())
    data |= {"applied_transform": np.eye(4)[:3].tolist(), "aabb_scale": 4}
    if not depth:
        points = np.random.default_rng(0).normal(size=(20, 3))
        write_points(folder / "sparse_pc.ply", points, np.zeros((20, 3), np.uint8))
        data["ply_file_path"] = "sparse_pc.ply"
    for frame, view in zip(data["frames"], views, strict=True):
        name = Path(frame["file_path"]).stem
        for kind in ("masks", "depth"):
            (folder / kind).mkdir(exist_ok=True)
        frame |= {"mask_path": f"masks/m_{name}.png", "sharpness": 3.5}
        cv2.imwrite(str(folder / frame["mask_path"]), np.full(SIZE[::-1], 255, np.uint8))
        if not depth:
            continue
        frame["depth_file_path"] = f"depth/d_{name}.png"
        cv2.imwrite(str(folder / frame["depth_file_path"]), np.round(view.depth * 1000).astype(np.uint16))
    (folder / "transforms.json").write_text(json.dumps(data))
    return content(folder)


def nerf_synthetic(folder: Path) -> Files:
    views = room_views(box_room(0), VIEWS + 2, SIZE)
    write_transforms(folder, views)
    data = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").unlink()
    for name, frames in (("train", data["frames"][:-2]), ("test", data["frames"][-2:])):
        (folder / f"transforms_{name}.json").write_text(json.dumps({**data, "frames": frames}))
    return content(folder)


def colmap(folder: Path, binary: bool) -> Files:
    write_colmap(folder, room_views(box_room(0), VIEWS, SIZE), 40)
    if binary:
        as_binary(folder)
        return content(folder)
    for name, count in (("images", VIEWS), ("points3D", 36), ("cameras", 1)):
        path = folder / "sparse" / "0" / f"{name}.txt"
        # As COLMAP announces them.
        what = "points" if name == "points3D" else name
        path.write_text(f"# Number of {what}: {count}\n{path.read_text()}")
    return content(folder)


def rig(folder: Path) -> Files:
    write_rig(folder, cameras_inside(box_room(0), VIEWS, *SIZE), {"000001": box_room(0)})
    return content(folder)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> list[Mutation]:
    base = tmp_path_factory.mktemp("captures")
    captures = {
        "text": colmap(base / "text", False),
        "binary": colmap(base / "binary", True),
        "nerfstudio": nerfstudio(base / "nerfstudio", depth=False),
        "depth": nerfstudio(base / "depth", depth=True),
        "synthetic": nerf_synthetic(base / "synthetic"),
        "rig": rig(base / "rig"),
    }
    for name, files in captures.items():
        assert said(files, base / "whole" / name)[1] in ("", KNOWN), name
    random = np.random.default_rng(7)
    return [each for name, files in captures.items() for each in mutations(name, files, random)]


KNOWN = (
    "found and not used: frames: sharpness (all photographs are used); aabb_scale (the scene's size follows from its "
    "cameras)"
)


def said(files: Files, folder: Path) -> tuple[bool, str]:
    """Whether a capture becomes photographs to train on, and everything that a user is told."""
    view = MemoryView(files)
    samples = list_photographs(view) or []
    words = [note for sample in samples for note in sample.notes]
    words += [": ".join(sample.rejected) for sample in samples if sample.rejected]
    words += input_notes(unaccounted_files(view.keys, samples))
    usable = False
    for sample in samples:
        if sample.rejected:
            continue
        if not sample.attributes["mark"]:
            words.append(NO_POSES)
            continue
        paths = {}
        for role, key in sample.files.items():
            paths[path_of(role)] = folder / key
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(files[key])
        mark, moment = sample.attributes["mark"], sample.attributes["time"]
        try:
            capture = read_capture(mark, moment, paths, lambda key, paths=paths: paths[key].read_bytes())
            capture = with_depth_points(capture, lambda key, paths=paths: paths[key])
            load_photographs(capture, lambda key, paths=paths: paths[key], 32)
            usable = True
        except CaptureError as problem:
            words.append(str(problem))
    return usable, "\n".join(words)


def test_nothing_that_changes_in_a_capture_is_passed_over(changed: list[Mutation], tmp_path: Path) -> None:
    assert len(changed) >= LEAST
    silent, used = [], 0
    for number, mutation in enumerate(changed):
        try:
            usable, words = said(mutation.files, tmp_path / str(number))
        except Exception as problem:  # a traceback is what this test looks for
            silent.append(f"{mutation.title}: {type(problem).__name__}: {problem}")
            continue
        used += usable
        if not any(word in words for word in mutation.words):
            silent.append(f"{mutation.title}: {words[:200]!r}")
    assert not silent, f"{len(silent)} of {len(changed)}:\n" + "\n".join(silent)
    # Both ends occur: not everything is refused.
    assert used > len(changed) / 10
