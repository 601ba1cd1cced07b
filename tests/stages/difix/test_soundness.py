"""What cannot work in a capture is said before anything is trained, with the photographs' names and a remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_folders import room_views, write_colmap
from input_folders import FolderView
from numpy.typing import NDArray
from synthetic.world import box_room

from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.train import capture_roles
from scenewright_stages.scenes.poses import without_repeated
from scenewright_stages.vision.geometry.cameras import Camera, look_at, rigid, rotation_from_quaternion
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.finding import read_capture
from scenewright_stages.vision.places.captures.parallax import Matches, parallax_of
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs, load_photographs
from scenewright_stages.vision.places.captures.soundness import check_views, view_notes, without_copies

LENS = Camera.from_field_of_view(64, 48, 60.0)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> PosedPhotographs:
    folder = write_colmap(tmp_path_factory.mktemp("sound") / "room", room_views(box_room(0), 8, (64, 48)))
    capture = read_capture("sparse/0/images.txt", "", FolderView(folder).keys, lambda key: (folder / key).read_bytes())
    return load_photographs(capture, lambda key: folder / key, 64)


def posed(poses: list[NDArray[np.float64]], points: NDArray[np.float64]) -> PosedPhotographs:
    """Photographs of noise from these poses."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (48, 64, 3)).astype(np.uint8) for _ in poses]
    return PosedPhotographs(
        tuple(
            Photograph(f"{number:02d}", 0, LENS.with_pose(pose), picture)
            for number, (pose, picture) in enumerate(zip(poses, pictures, strict=True))
        ),
        points,
        np.zeros((len(points), 3), np.uint8),
    )


def ball(count: int = 400) -> NDArray[np.float64]:
    directions = np.random.default_rng(2).normal(size=(count, 3))
    return 5 * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def turning(count: int, step: float) -> list[NDArray[np.float64]]:
    """Poses of a camera that turns, and moves by `step` from one photograph to the next."""
    angles = np.radians(22.5) * np.arange(count)
    return [look_at((step * n, 0, 0), (step * n + np.sin(a), 0, np.cos(a))) for n, a in enumerate(angles)]


def test_a_sound_capture_has_no_notes(room: PosedPhotographs) -> None:
    check_views(room)
    assert view_notes(room) == []
    assert without_copies(room) == (room, [])


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("points", [True, False])
def test_cameras_that_only_turn_are_refused(points: bool, offset: float) -> None:
    poses = [pose @ rigid(np.eye(3), np.full(3, -offset)) for pose in turning(16, 0.0)]
    with pytest.raises(CaptureError, match="worldexplorer") as caught:
        check_views(posed(poses, ball() + offset if points else np.zeros((0, 3))))
    assert caught.value.reason == "PureRotation"


def test_cameras_that_hardly_move_are_refused_by_the_angles_of_their_points() -> None:
    with pytest.raises(CaptureError, match=r"under 0\.\d+ degrees"):
        check_views(posed(turning(16, 0.001), ball()))
    check_views(posed(turning(16, 0.2), ball()))


def test_photographs_without_overlap_are_refused_and_a_lone_one_is_named() -> None:
    ring = [
        look_at((10 * np.sin(a), 0, 10 * np.cos(a)), (20 * np.sin(a), 0, 20 * np.cos(a))) for a in np.arange(4) * 1.57
    ]
    with pytest.raises(CaptureError, match="4 of 4 photographs") as caught:
        check_views(posed(ring, np.zeros((0, 3))))
    assert caught.value.reason == "NoOverlap"
    facing = [look_at((0.5 * n - 1, 0, 0), (0.5 * n - 1, 0, 4)) for n in range(5)]
    away = look_at((0, 0, -3), (0, 0, -9))
    found = posed([*facing, away], np.zeros((0, 3)))
    check_views(found)
    assert "no other photograph shows what these show: 05" in view_notes(found)


@pytest.mark.parametrize(("tilt", "relief", "noted"), [(0.0, 0.0, True), (0.0, 1.0, False), (1.0, 0.0, False)])
def test_a_plane_seen_straight_on_is_noted(tilt: float, relief: float, noted: bool) -> None:
    random = np.random.default_rng(4)
    points = np.column_stack([random.uniform(-4, 4, (500, 2)), 10 + relief * random.uniform(-1, 1, 500)])
    poses = [look_at((n - 2.0, tilt * 10, 0), (n - 2.0, 0, 10)) for n in range(5)]
    assert any("one plane" in note for note in view_notes(posed(poses, points))) == noted


def test_blurred_photographs_are_named(room: PosedPhotographs) -> None:
    pictures = list(room.photographs)
    for number in (2, 5):
        pictures[number] = replace(pictures[number], srgb=cv2.GaussianBlur(pictures[number].srgb, (0, 0), 6))
    (note,) = view_notes(replace(room, photographs=tuple(pictures)))
    assert "much more blurred than the others" in note
    assert "002, 005 " in note
    everything = [replace(each, srgb=cv2.GaussianBlur(each.srgb, (0, 0), 12)) for each in room.photographs]
    assert "the photographs are blurred" in view_notes(replace(room, photographs=tuple(everything)))[0]


# Copies.


def jpeg(srgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", srgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


@pytest.mark.parametrize("again", [lambda srgb: srgb.copy(), lambda srgb: jpeg(srgb, 95)])
def test_copies_are_left_out_and_named(room: PosedPhotographs, again: object) -> None:
    assert callable(again)
    pictures = list(room.photographs)
    pictures[4] = replace(pictures[4], srgb=again(pictures[1].srgb))
    found, notes = without_copies(replace(room, photographs=tuple(pictures)))
    assert found.left_out == (4,)
    assert notes == ["1 copies are left out: 004 (of 001)"]
    roles = capture_roles(found, ReconstructParams())
    assert 4 not in (*roles.train, *roles.held_out)
    assert len(roles.train) + len(roles.held_out) == 7


def test_neighbouring_frames_are_no_copies(room: PosedPhotographs) -> None:
    pictures = list(room.photographs)
    pictures[4] = replace(pictures[4], srgb=np.roll(pictures[1].srgb, 1, axis=1))
    assert without_copies(replace(room, photographs=tuple(pictures)))[1] == []


def test_copies_get_no_pose(room: PosedPhotographs, tmp_path: Path) -> None:
    for each in room.photographs:
        large = cv2.resize(each.srgb, (256, 192), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f"{each.name}.jpg"), large)
        if each.name == "003":
            cv2.imwrite(str(tmp_path / "copy.png"), large)
    (tmp_path / "broken.jpg").write_bytes(b"x")
    kept, notes = without_repeated({path.name: path for path in tmp_path.iterdir()})
    assert sorted(kept) == sorted(path.name for path in tmp_path.iterdir() if path.name != "copy.png")
    assert notes == ["1 copies are left out: copy.png (of 003.jpg)"]


# Parallax.


def matches(step: float, depths: tuple[float, float], focal: float, radial: float = 0.0) -> list[Matches]:
    """Matches of neighbours on a walk with `step`, by a lens with a radial term, half a pixel in 1000 wrong."""
    random = np.random.default_rng(8)
    found = []
    for _ in range(12):
        points = random.uniform(-0.5, 0.5, (200, 2)) / focal
        rays = np.column_stack([points, np.ones(200)]) * random.uniform(*depths, 200)[:, None]
        turn = rotation_from_quaternion([1, *random.uniform(-0.06, 0.06, 3)])
        moved = rays @ turn.T + step * np.array([1.0, 0.3, 0.2])
        pair = []
        for flat in (rays[:, :2] / rays[:, 2:], moved[:, :2] / moved[:, 2:]):
            lengths = 1 + radial * (flat**2).sum(axis=1, keepdims=True)
            pair.append(focal * flat * lengths + random.normal(scale=2.5e-4, size=flat.shape))
        found.append(Matches(*pair))
    return found


@pytest.mark.parametrize("focal", [0.5, 0.9, 2.0])
@pytest.mark.parametrize("radial", [-0.12, 0.0, 0.08])
@pytest.mark.slow
def test_a_turning_camera_is_told_from_a_moving_one(focal: float, radial: float) -> None:
    assert parallax_of(matches(0.0, (2, 9), focal, radial)).turned_only
    # The focal length that an invented scene has may be far off.
    assert parallax_of(matches(0.0, (2, 9), focal, radial), 1.4 * focal).turned_only
    assert not parallax_of(matches(0.15, (2, 9), focal, radial), focal).turned_only
    assert not parallax_of(matches(0.3, (6, 6.01), focal, radial), focal).turned_only


def test_too_few_matches_say_nothing() -> None:
    few = [Matches(each.first[:10], each.second[:10]) for each in matches(0.0, (2, 9), 1.0)]
    assert not parallax_of(few).turned_only
    assert not parallax_of([]).turned_only
