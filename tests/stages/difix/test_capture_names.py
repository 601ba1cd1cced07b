"""Names that another system wrote find their files, and entries that contradict each other are refused."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from capture_folders import room_views, write_colmap, write_transforms
from synthetic.world import box_room
from test_captures import capture_of, listed

from scenewright_stages.vision.geometry.cameras import invert_rigid
from scenewright_stages.vision.geometry.point_files import parse_points
from scenewright_stages.vision.places.captures.accounting import Account
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.names import matching
from scenewright_stages.vision.places.captures.pictures import load_photographs
from scenewright_stages.vision.places.captures.soundness import view_notes

SIZE = (48, 36)
IMAGES, CAMERAS, POINTS = (f"sparse/0/{name}.txt" for name in ("images", "cameras", "points3D"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colmap(tmp_path_factory.mktemp("names") / "room", room_views(box_room(0), 6, SIZE))


@pytest.fixture
def room(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "room"))


def edited(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


WRITINGS: dict[str, Callable[[str], str]] = {
    "in capitals": str.upper,
    "with backslashes": lambda name: f".\\{name}",
    "in separate characters": lambda name: unicodedata.normalize("NFD", name),
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_photographs_are_found_by_names_that_another_system_wrote(room: Path, writing: str) -> None:
    for path in sorted((room / "images").iterdir()):
        path.rename(path.with_name(f"küche{path.name}"))
    edited(room / IMAGES, lambda text: text.replace(" 1 0", f" 1 {WRITINGS[writing]('küche')}0"))
    if writing == "in capitals":
        edited(room / IMAGES, lambda text: text.replace(".png", ".PNG"))
    (found,) = listed(room)
    assert found.rejected is None and found.notes == () and len(found.attributes["shots"]) == 6
    assert {shot.path for shot in capture_of(room, IMAGES).shots} == {f"images/küche{n:03d}.png" for n in range(6)}


def test_of_two_files_that_differ_in_case_alone_none_is_guessed() -> None:
    keys = ["images/a.png", "images/A.png", "images/b.png"]
    assert matching("images/a.png", keys) == "images/a.png"
    assert matching("images/a.PNG", keys) is None
    assert matching("images\\B.PNG", keys) == "images/b.png"


@pytest.mark.parametrize("name", ["Masks/{}.png", "masks/{}.PNG", "masks/{}.png.PNG", "images/{}.Mask.png"])
def test_masks_are_found_whatever_their_case(room: Path, name: str) -> None:
    for path in sorted((room / "images").iterdir()):
        target = room / name.format(path.stem)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    (found,) = listed(room)
    assert found.notes == ()
    masks = [shot.mask for shot in capture_of(room, IMAGES).shots]
    assert masks == [name.format(f"{number:03d}") for number in range(6)]


def test_a_mark_of_the_byte_order_is_no_camera(room: Path) -> None:
    before = capture_of(room, IMAGES)
    for name in (CAMERAS, IMAGES, POINTS):
        (room / name).write_bytes(b"\xef\xbb\xbf" + (room / name).read_bytes())
    assert [shot.lens for shot in capture_of(room, IMAGES).shots] == [shot.lens for shot in before.shots]


def test_a_camera_with_two_calibrations_is_refused_and_one_given_twice_is_not(room: Path) -> None:
    line = (room / CAMERAS).read_text().splitlines()[-1]
    edited(room / CAMERAS, lambda text: f"{text}{line}\n")
    assert len(capture_of(room, IMAGES).shots) == 6
    edited(room / CAMERAS, lambda text: f"{text}1 PINHOLE 48 36 30.0 30.0 24 18\n")
    with pytest.raises(CaptureError, match=r"cameras\.txt line 4: camera 1 is there twice"):
        capture_of(room, IMAGES)


def test_points_that_are_not_finite_are_counted(room: Path) -> None:
    edited(room / POINTS, lambda text: f"{text}90001 nan 0 1 9 9 9 0.5\n90002 0 inf 1 9 9 9 0.5\n")
    capture = capture_of(room, IMAGES)
    assert np.isfinite(capture.points).all()
    assert f"{POINTS}: 2 points are not finite" in capture.notes


@pytest.mark.parametrize("key", ["fx", "K", "fov", "cameras", "rig_from_world"])
def test_a_key_that_describes_the_lens_or_pose_in_another_way_is_refused(tmp_path: Path, key: str) -> None:
    path = write_transforms(tmp_path / "room", room_views(box_room(0), 4, SIZE)) / "transforms.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, key: 40.0}))
    with pytest.raises(CaptureError, match=f"{key} is 40.0: this key is not known"):
        capture_of(tmp_path / "room", "transforms.json")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "room", room_views(box_room(0), 4, SIZE)) / "transforms.json"
    edited(path, lambda text: text.replace('"w":', '"fl_x": 12.0, "w":'))
    with pytest.raises(CaptureError, match=r"^transforms\.json names fl_x twice"):
        capture_of(tmp_path / "room", "transforms.json")


def test_an_angle_in_degrees_is_refused(tmp_path: Path) -> None:
    path = write_transforms(tmp_path / "room", room_views(box_room(0), 4, SIZE)) / "transforms.json"
    data = json.loads(path.read_text())
    del data["fl_x"], data["fl_y"]
    path.write_text(json.dumps({**data, "camera_angle_x": 64.0}))
    with pytest.raises(CaptureError, match="camera_angle_x is 64; it is in radians"):
        capture_of(tmp_path / "room", "transforms.json")


def test_inverted_poses_are_told_by_the_points_that_nobody_sees(room: Path) -> None:
    capture = capture_of(room, IMAGES)
    turned = [replace(shot, camera_from_world=invert_rigid(shot.camera_from_world)) for shot in capture.shots]
    notes = [
        view_notes(load_photographs(replace(capture, shots=tuple(shots)), lambda key: room / key, 48))
        for shots in (capture.shots, turned)
    ]
    said = [any("before no photograph" in note for note in each) for each in notes]
    assert said == [False, True]


def test_colours_of_points_are_read_by_their_older_names() -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 1\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar diffuse_{name}\n" for name in ("red", "green", "blue"))
    _, colours = parse_points(f"{header}end_header\n0 1 2 10 20 30\n".encode(), "points.ply")
    np.testing.assert_array_equal(colours, [[10, 20, 30]])


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("cameras/0.json", "Polycam"),
        ("keyframes/corrected_cameras/17.json", "Polycam"),
        ("Cameras.XML", "Metashape"),
        ("poses_bounds.npy", "LLFF"),
        ("cams/00000001_cam.txt", "MVSNet"),
        ("bundle.out", "Bundler"),
        ("cameras_sphere.npz", "IDR"),
        ("reconstruction.json", "OpenSfM"),
    ],
)
def test_poses_of_another_program_are_named_with_a_way_to_use_them(name: str, program: str) -> None:
    account = Account()
    account.finish([name, "notes.txt"], "photographs without a pose")
    assert account.left[name].startswith(f"poses in a format of {program}, which is not read: export them as")
    assert "notes.txt" not in account.left or "poses in" not in account.left["notes.txt"]
