"""Readers of captures say what they met: a changed file, key or number is named, or shows in what is read.

Only the reading runs: the listing, the capture stage's reading and its checks, and for photographs without poses what
comes before COLMAP. `make test` tries a sample of the mutations, `make soak` all of them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_folders import room_views, write_colmap, write_rig, write_transforms
from capture_mutations import Files, Mutation, encoded, mutations
from input_folders import FolderView
from synthetic.world import box_room, cameras_inside
from test_captures import as_binary

from scenewright_stages.captures import NO_POSES
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.scenes.poses import masks_beneath, without_repeated
from scenewright_stages.vision.geometry.point_files import write_points
from scenewright_stages.vision.places.captures.bare import VIDEO
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.depth_points import with_depth_points
from scenewright_stages.vision.places.captures.estimation import store_photographs
from scenewright_stages.vision.places.captures.finding import (
    is_photograph,
    list_photographs,
    path_of,
    photograph_name,
    read_capture,
)
from scenewright_stages.vision.places.captures.masks import mask_beside
from scenewright_stages.vision.places.captures.pictures import load_photographs
from scenewright_stages.vision.places.captures.soundness import check_views, view_notes, without_copies
from scenewright_stages.vision.places.captures.walking import write_frames
from scenewright_stages.worker.index.files import input_notes, unaccounted_files

SIZE = (32, 24)
VIEWS = 6
LEAST, SAMPLE = 300, 400
POINTS = 240


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


def mask() -> bytes:
    """Black in a corner."""
    plane = np.full(SIZE[::-1], 255, np.uint8)
    plane[:8, :10] = 0
    return encoded(plane)


def nerfstudio(folder: Path, depth: bool) -> Files:
    """With every file that the format can name; start points from depth maps, or from a point file."""
    views = room_views(box_room(0), VIEWS, SIZE)
    write_transforms(folder, views)
    data = json.loads((folder / "transforms.json").read_text())
    data |= {"applied_transform": np.eye(4)[:3].tolist(), "aabb_scale": 4}
    if depth:
        data["depth_unit_scale_factor"] = 0.001
    else:
        points = np.random.default_rng(0).normal(size=(POINTS, 3))
        write_points(folder / "sparse_pc.ply", points, np.zeros((POINTS, 3), np.uint8))
        data["ply_file_path"] = "sparse_pc.ply"
    for frame, view in zip(data["frames"], views, strict=True):
        name = Path(frame["file_path"]).stem
        for kind in ("masks", "depth"):
            (folder / kind).mkdir(exist_ok=True)
        frame |= {"mask_path": f"masks/m_{name}.png", "sharpness": 3.5}
        (folder / frame["mask_path"]).write_bytes(mask())
        if not depth:
            continue
        frame["depth_file_path"] = f"depth/d_{name}.png"
        cv2.imwrite(str(folder / frame["depth_file_path"]), np.round(view.depth * 1000).astype(np.uint16))
    (folder / "transforms.json").write_text(json.dumps(data))
    return content(folder)


def nerf_synthetic(folder: Path, validation: bool = False) -> Files:
    """Of three files; names without endings, an angle of view, nothing else."""
    views = room_views(box_room(0), VIEWS + 2 + validation, SIZE)
    write_transforms(folder, views)
    data = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").unlink()
    frames = [{**each, "file_path": f"./{each['file_path']}".removesuffix(".png")} for each in data["frames"]]
    angle = 2 * np.arctan(SIZE[0] / 2 / data["fl_x"])
    first = -3 if validation else -2
    for name, own in (("train", frames[:first]), ("val", frames[first:-2]), ("test", frames[-2:])):
        if not own:
            continue
        (folder / f"transforms_{name}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": own}))
    return content(folder)


def colmap(folder: Path, binary: bool, model: str = "sparse/0") -> Files:
    write_colmap(folder, room_views(box_room(0), VIEWS, SIZE), POINTS)
    if binary:
        as_binary(folder)
    else:
        for name, count in (("images", VIEWS), ("points3D", POINTS), ("cameras", 1)):
            path = folder / "sparse" / "0" / f"{name}.txt"
            # As COLMAP announces them.
            what = "points" if name == "points3D" else name
            path.write_text(f"# Number of {what}: {count}\n{path.read_text()}")
    if model != "sparse/0":
        for path in sorted((folder / "sparse" / "0").iterdir()):
            (folder / model).mkdir(parents=True, exist_ok=True)
            path.rename(folder / model / path.name)
    return content(folder)


def masked(files: Files, convention: str) -> Files:
    """The photographs of a capture with masks by a convention of names."""
    names = [Path(key).stem for key in files if key.startswith("images/")]
    return {**files, **{convention.format(name): mask() for name in names}}


def transparent(files: Files) -> Files:
    """The photographs with an alpha channel."""
    alpha = cv2.imdecode(np.frombuffer(mask(), np.uint8), cv2.IMREAD_GRAYSCALE)
    found = dict(files)
    for key in files:
        if key.startswith("images/"):
            found[key] = encoded(np.dstack([cv2.imdecode(np.frombuffer(files[key], np.uint8), 1), alpha]))
    return found


def rig(folder: Path) -> Files:
    write_rig(folder, cameras_inside(box_room(0), VIEWS, *SIZE), {"000001": box_room(0)})
    return content(folder)


def bare(files: Files, folder: str) -> Files:
    """The photographs without poses."""
    return {folder + Path(key).name: data for key, data in files.items() if key.startswith("images/")}


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    base = tmp_path_factory.mktemp("captures")
    text, binary = colmap(base / "text", False), colmap(base / "binary", True)
    return {
        "text": text,
        "binary": binary,
        "deeper binary": colmap(base / "deeper", True, "colmap/sparse/0"),
        "bare model": colmap(base / "model", False, "."),
        "nerfstudio": nerfstudio(base / "nerfstudio", depth=False),
        "depth": nerfstudio(base / "depth", depth=True),
        "synthetic": nerf_synthetic(base / "synthetic", validation=True),
        "rig": rig(base / "rig"),
        "colmap masks": masked(binary, "masks/{}.png.png"),
        "plain masks": masked(binary, "masks/{}.png"),
        "masks beside": masked(binary, "images/{}.mask.png"),
        "alpha": transparent(binary),
        "bare": bare(text, ""),
        "bare in images": masked(bare(text, "images/"), "masks/{}.png"),
    }


def every(captures: dict[str, Files]) -> list[Mutation]:
    random = np.random.default_rng(7)
    return [each for name, files in captures.items() for each in mutations(name, files, random)]


@dataclass
class Reading:
    """What became of a capture.

    Attributes:
        refusals, notes: what a user is told.
        read: a hash of everything that would be trained on; empty if it was refused.
    """

    refusals: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    read: str = ""


def reading_of(files: Files, folder: Path) -> Reading:
    """Lists and reads a capture."""
    view, found = MemoryView(files), Reading()
    try:
        samples = list_photographs(view) or []
    except ConfigurationError as problem:
        return Reading([str(problem)])
    if not samples:
        # The index names the files that it found instead.
        return Reading([f"no sample found: {', '.join(view.keys)}"])
    found.notes += [note for sample in samples for note in sample.notes]
    found.notes += input_notes(unaccounted_files(view.keys, samples))
    hashed = hashlib.sha256()
    for sample in samples:
        if sample.rejected:
            found.refusals.append(": ".join(sample.rejected))
            continue
        paths = {}
        for role, key in sample.files.items():
            paths[role] = folder / key
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).write_bytes(files[key])
        try:
            if sample.attributes["mark"]:
                read_posed(sample.attributes, {path_of(role): path for role, path in paths.items()}, found, hashed)
            else:
                found.notes.append(NO_POSES)
                read_bare(paths, folder, found, hashed)
        except CaptureError as problem:
            found.refusals.append(str(problem))
    shutil.rmtree(folder, ignore_errors=True)
    found.read = "" if found.refusals else hashed.hexdigest()
    return found


def read_posed(about: dict, paths: dict[str, Path], found: Reading, hashed) -> None:
    """As the capture stage does."""
    capture = read_capture(about["mark"], about["time"], paths, lambda key: paths[key].read_bytes())
    capture = with_depth_points(capture, lambda key: paths[key])
    photographs = load_photographs(capture, lambda key: paths[key], 32)
    check_views(photographs)
    photographs, copied = without_copies(photographs)
    found.notes += [*photographs.notes, *copied, *view_notes(photographs)]
    for each in photographs.photographs:
        arrays = (each.srgb, each.counted(), each.camera.intrinsics, each.camera.camera_from_world)
        hashed.update(repr((each.name, each.number, each.held_out)).encode())
        for array in arrays:
            hashed.update(np.ascontiguousarray(array).tobytes())
    hashed.update(photographs.points.tobytes() + photographs.colours.tobytes())
    hashed.update(repr((photographs.left_out, photographs.frame.matrix().tolist())).encode())


def read_bare(paths: dict[str, Path], folder: Path, found: Reading, hashed) -> None:
    """As the stage does that estimates poses, up to COLMAP."""
    pictures = {photograph_name(role): path for role, path in paths.items() if is_photograph(role)}
    for role, path in paths.items():
        if role.startswith(VIDEO):
            write_frames(path, folder / "frames", 8, 64)
    files = {path_of(role): role for role in paths if not is_photograph(role)}
    masks = {}
    for name in pictures:
        if (mask := mask_beside(f"images/{name}", files)) in files:
            masks[name] = paths[files[mask]]
    pictures, copied = without_repeated(pictures)
    found.notes += masks_beneath(pictures, masks, folder / "valid")[1]
    store_photographs(pictures, folder / "stored")
    found.notes += copied
    for path in sorted([*(folder / "stored").rglob("*.png"), *(folder / "valid").rglob("*.png")]):
        hashed.update(path.name.encode() + cv2.imread(str(path)).tobytes())


def faults(changed: list[Mutation], captures: dict[str, Files], folder: Path) -> Iterator[str]:
    """Mutations that raise, or of which nobody speaks."""
    whole = {name: reading_of(files, folder / name) for name, files in captures.items()}
    for name, reading in whole.items():
        assert not reading.refusals, name
    for number, mutation in enumerate(changed):
        try:
            found = reading_of(mutation.files, folder / str(number))
        except Exception as problem:  # a traceback is what this test looks for
            yield f"{mutation.title}: {type(problem).__name__}: {str(problem)[:200]}"
            continue
        before = whole[mutation.title.partition(": ")[0]]
        unchanged = found.read == before.read
        # Of what has no effect a user may have been told before: that the file or key is not used.
        text = "\n".join(found.refusals or [note for note in found.notes if unchanged or note not in before.notes])
        groups = mutation.words if found.refusals else mutation.words[-1:]
        named = all(any(word in text for word in group) for group in groups)
        named |= unchanged and any(word in "\n".join(before.notes) for word in mutation.words[0])
        if not named and not (found.read and (mutation.harmless if unchanged else mutation.may_be)):
            how = "refused" if found.refusals else "unchanged" if unchanged else "changed"
            yield f"{mutation.title}: {how}: {text[:300]!r}"


def test_nothing_that_changes_in_a_capture_is_passed_over(captures: dict[str, Files], tmp_path: Path) -> None:
    changed = every(captures)
    assert len(changed) > 10 * LEAST
    some = [changed[number] for number in np.random.default_rng(3).choice(len(changed), SAMPLE, replace=False)]
    silent = list(faults(some, captures, tmp_path))
    assert not silent, f"{len(silent)} of {len(some)}:\n" + "\n".join(silent)


ONCE_PASSED_OVER = (
    "text: sparse/0/images.txt with a quaternion of length 2",
    "text: sparse/0/images.txt word 0 is x1",
    "text: sparse/0/cameras.txt word 4 is 1e30",
    "text: sparse/0/cameras.txt word 2 is 999999999999999999999",
    "binary: sparse/0/images.bin translation = 1e+300",
    "binary: sparse/0/images.bin quaternion = 1e+300",
    "binary: sparse/0/points3D.bin position = 1e+300",
    "binary: sparse/0/cameras.bin width = 7",
    "nerfstudio: transforms.json () fl_x = '0'",
    "nerfstudio: transforms.json () fl_y = '1" + 19 * "0" + "'",
    "nerfstudio: transforms.json () w = '-3.0'",
    "nerfstudio: transforms.json () applied_transform of texts",
    "nerfstudio: transforms.json () applied_transform of ones",
    "nerfstudio: transforms.json ('frames', 0) transform_matrix of texts",
    "nerfstudio: transforms.json ('frames', 0) transform_matrix far away",
    "nerfstudio: sparse_pc.ply without points",
    "nerfstudio: sparse_pc.ply with bytes after",
    "nerfstudio: masks/m_001.png black",
    "nerfstudio: masks/m_001.png cut by a byte",
    "nerfstudio: transforms.json with 1 frames",
    "depth: transforms.json () cx times 2",
    "depth: transforms.json () w times 2",
    "synthetic: without transforms_test.json",
    "synthetic: transforms_test.json with a frame again elsewhere",
    "rig: cameras.json ('10',) camera_from_world transposed",
    "rig: cameras.json ('10',) intrinsics transposed",
    "rig: cameras.json ('10',) without height",
    "rig: images/11/000001.png renamed",
    "bare: 002.png of one pixel",
    "bare: with images/extra.png",
    "bare in images: without masks/001.png",
    "bare in images: all masks inverted",
)
"""Changes of which nobody spoke, one of each kind, or that ended with a traceback. Lines have no number here."""


def test_changes_that_were_once_passed_over_or_raised_are_named(captures: dict[str, Files], tmp_path: Path) -> None:
    chosen = {re.sub(r" line \d+", "", each.title): each for each in every(captures)}
    silent = list(faults([chosen[title] for title in ONCE_PASSED_OVER], captures, tmp_path))
    assert not silent, "\n".join(silent)


@pytest.mark.soak
def test_none_of_all_changes_is_passed_over(captures: dict[str, Files], tmp_path: Path) -> None:
    changed = every(captures)
    silent = list(faults(changed, captures, tmp_path))
    print(f"{len(changed)} mutations, {len(silent)} without a word")
    assert not silent, "\n".join(silent)
