"""Captures: every format gives the same cameras, and what cannot be trusted is refused by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_folders import room_views, write_colmap, write_picture, write_rig, write_transforms
from input_folders import FolderView
from synthetic.world import box_room, cameras_inside

from scenewright_stages.contract.inputs import Listed
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError, Lens
from scenewright_stages.vision.places.captures.finding import list_captures, read_capture
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs, load_photographs

SIZE = (48, 36)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colmap(tmp_path_factory.mktemp("captures") / "room", room_views(box_room(0), 6, SIZE))


def test_captures_of_one_name_get_their_parents(tmp_path: Path) -> None:
    views = room_views(box_room(0), 4, SIZE)
    for place in ("hi4d/pair00/dance", "hi4d/pair01/dance", "rooms/kitchen"):
        write_colmap(tmp_path / place, views)
    (tmp_path / "hi4d/pair01/dance/capture.json").write_text('{"pair_id": "pair01", "people": 2, "more": {"x": 1}}')
    (tmp_path / "rooms/kitchen/capture.json").write_text("[1]")
    found = {each.id: each for each in listed(tmp_path)}
    assert set(found) == {"pair00_dance", "pair01_dance", "kitchen"}
    assert found["pair00_dance"].attributes["facts"] == {}
    assert found["pair01_dance"].attributes["facts"] == {"pair_id": "pair01", "people": 2}
    assert found["pair01_dance"].attributes["folder"] == "hi4d/pair01/dance/"
    assert found["pair01_dance"].attributes["scene"] == "pair01_dance"
    rejected = found["kitchen"].rejected
    assert rejected is not None
    assert rejected[0] == "Damaged"


def listed(folder: Path) -> list[Listed]:
    return list_captures(FolderView(folder)) or []


def capture_of(folder: Path, mark: str, moment: str = "") -> Capture:
    return read_capture(mark, moment, FolderView(folder).keys, lambda key: (folder / key).read_bytes())


def as_binary(folder: Path) -> None:
    """Writes the text model of a folder again as COLMAP's binary files."""
    model = folder / "sparse" / "0"
    lines = {name: (model / f"{name}.txt").read_text().splitlines()[1:] for name in ("cameras", "images", "points3D")}
    _, _, width, height, *numbers = lines["cameras"][0].split()
    camera = struct.pack("<QiiQQ4d", 1, 1, 1, int(width), int(height), *map(float, numbers))
    images = [line.split() for line in lines["images"] if line]
    image_bytes = struct.pack("<Q", len(images))
    for identity, *pose, used, name in images:
        image_bytes += struct.pack("<i7di", int(identity), *map(float, pose), int(used)) + name.encode() + b"\0"
        image_bytes += struct.pack("<Q", 2) + bytes(48)
    point_bytes = struct.pack("<Q", len(lines["points3D"]))
    for line in lines["points3D"]:
        identity, x, y, z, r, g, b, error = line.split()
        place = (float(x), float(y), float(z), int(r), int(g), int(b), float(error))
        point_bytes += struct.pack("<Q3d3BdQ", int(identity), *place, 1) + bytes(8)
    for name, data in (("cameras", camera), ("images", image_bytes), ("points3D", point_bytes)):
        (model / f"{name}.txt").unlink()
        (model / f"{name}.bin").write_bytes(data)


def test_binary_and_text_models_give_the_same_capture(room: Path, tmp_path: Path) -> None:
    text = capture_of(room, "sparse/0/images.txt")
    copy = write_colmap(tmp_path / "copy", room_views(box_room(0), 6, SIZE))
    as_binary(copy)
    binary = capture_of(copy, "sparse/0/images.bin")
    assert [shot.path for shot in text.shots] == [shot.path for shot in binary.shots]
    for first, second in zip(text.shots, binary.shots, strict=True):
        np.testing.assert_array_equal(first.camera_from_world, second.camera_from_world)
        assert first.lens == second.lens
    np.testing.assert_array_equal(text.points, binary.points)
    np.testing.assert_array_equal(text.colours, binary.colours)


def test_poses_and_points_are_those_of_the_world(room: Path) -> None:
    capture = capture_of(room, "sparse/0/images.txt")
    for shot, camera in zip(capture.shots, cameras_inside(box_room(0), 6, *SIZE), strict=True):
        np.testing.assert_allclose(shot.camera_from_world, camera.camera_from_world, atol=1e-12)
    inside = np.abs(capture.points) <= np.array(box_room(0).half_size) + 0.05
    assert inside.all()


def test_transforms_json_is_read_in_opencv_axes(tmp_path: Path) -> None:
    write_transforms(tmp_path / "room", room_views(box_room(1), 5, SIZE, 1))
    capture = capture_of(tmp_path / "room", "transforms.json")
    for shot, camera in zip(capture.shots, cameras_inside(box_room(1), 5, *SIZE, seed=1), strict=True):
        np.testing.assert_allclose(shot.camera_from_world, camera.camera_from_world, atol=1e-9)


def test_every_moment_of_fixed_cameras_is_a_scene_of_its_own(tmp_path: Path) -> None:
    cameras = cameras_inside(box_room(0), 4, *SIZE)
    write_rig(tmp_path / "pair00", cameras, {"000001": box_room(0), "000002": box_room(1)})
    found = listed(tmp_path / "pair00")
    assert [each.id for each in found] == ["pair00__f000001", "pair00__f000002"]
    assert {each.attributes["scene"] for each in found} == {"pair00"}
    assert found[0].attributes["cameras"] == {"10": 10, "11": 11, "12": 12, "13": 13}
    assert set(found[1].files) == {"cameras.json", *(f"images/{10 + n}/000002.png" for n in range(4))}


def test_a_moment_may_bring_the_one_beside_it(tmp_path: Path) -> None:
    cameras = cameras_inside(box_room(0), 4, *SIZE)
    worlds = {f"00000{number}": box_room(number) for number in (1, 2, 3)}
    write_rig(tmp_path / "pair00", cameras, worlds)
    write_rig(tmp_path / "still", cameras, {"000001": box_room(0)})
    write_colmap(tmp_path / "walked", room_views(box_room(0), 4, SIZE))
    found = {each.id: each for each in list_captures(FolderView(tmp_path), neighbours=True) or []}
    beside = {name: each.attributes.get("beside") for name, each in found.items()}
    first, second, third = (f"pair00__f00000{number}" for number in (1, 2, 3))
    # The moment before, so that a later one changes no other.
    assert beside == {first: "000002", second: "000001", third: "000002", "still__f000001": None, "walked": None}
    assert not any("others" in found[name].attributes for name in ("walked", "still__f000001"))
    names = [shot[0] for shot in found[third].attributes["others"]]
    assert names == ["000002"] * 4
    assert {f"images/10/00000{number}.png" for number in (2, 3)} < set(found[third].files)
    assert "images/10/000001.png" not in found[third].files


def test_hi4d_cameras_are_read(tmp_path: Path) -> None:
    cameras = cameras_inside(box_room(0), 4, *SIZE)
    write_rig(tmp_path / "pair00", cameras, {"000001": box_room(0)})
    expected = capture_of(tmp_path / "pair00", "cameras.json", "000001")
    (tmp_path / "pair00" / "cameras.json").unlink()
    (tmp_path / "pair00" / "cameras").mkdir()
    np.savez(
        tmp_path / "pair00" / "cameras" / "rgb_cameras.npz",
        ids=np.arange(10, 14),
        intrinsics=np.stack([camera.intrinsics for camera in cameras]),
        extrinsics=np.stack([camera.camera_from_world[:3] for camera in cameras]),
        dist_coeffs=np.zeros((4, 5)),
    )
    found = capture_of(tmp_path / "pair00", "cameras/rgb_cameras.npz", "000001")
    assert [shot.camera for shot in found.shots] == [10, 11, 12, 13]
    for first, second in zip(found.shots, expected.shots, strict=True):
        np.testing.assert_allclose(first.camera_from_world, second.camera_from_world, atol=1e-12)
        assert first.lens == second.lens


def test_several_captures_in_one_folder_are_several_samples(room: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_colmap(tmp_path / name, room_views(box_room(0), 4, (16, 16)))
    (tmp_path / "README.md").write_text("about")
    found = listed(tmp_path)
    assert [each.id for each in found] == ["a", "b"]
    assert found[0].files["images/000.png"] == "a/images/000.png"
    assert "README.md" not in found[0].files
    assert listed(room)[0].files["sparse/0/images.txt"] == "sparse/0/images.txt"


Damage = Callable[[Path], object]


def _edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / "sparse" / "0" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _nan_pose(folder: Path) -> None:
    path = folder / "sparse" / "0" / "images.txt"
    lines = path.read_text().splitlines()
    words = lines[1].split()
    lines[1] = " ".join([words[0], "nan", *words[2:]])
    path.write_text("\n".join(lines))


def _three_views(folder: Path) -> None:
    path = folder / "sparse" / "0" / "images.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:6]) + "\n")


@pytest.mark.parametrize(
    ("damage", "reason", "words"),
    [
        (lambda folder: _edit(folder, "cameras.txt", "PINHOLE", "FOV"), "CameraModel", "FOV"),
        (_nan_pose, "Pose", "000.png"),
        (_three_views, "TooFewViews", "3 usable views"),
        (lambda folder: _edit(folder, "images.txt", " 1 000.png", " 7 000.png"), "Damaged", "camera 7"),
    ],
)
def test_what_cannot_be_trusted_is_refused_by_name(tmp_path: Path, damage: Damage, reason: str, words: str) -> None:
    folder = write_colmap(tmp_path / "room", room_views(box_room(0), 6, (16, 16)))
    damage(folder)
    (found,) = listed(folder)
    assert found.rejected is not None
    assert found.rejected[0] == reason
    assert words in found.rejected[1]


def test_a_stretched_pose_is_refused(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "room", room_views(box_room(0), 4, (16, 16)))
    data = json.loads((folder / "transforms.json").read_text())
    data["frames"][2]["transform_matrix"][0][0] *= 1.5
    (folder / "transforms.json").write_text(json.dumps(data))
    (found,) = listed(folder)
    assert found.rejected is not None
    assert found.rejected[0] == "Pose"
    assert "frame 2" in found.rejected[1]


def test_photographs_of_another_shape_than_their_calibration_are_refused(room: Path, tmp_path: Path) -> None:
    capture = capture_of(room, "sparse/0/images.txt")
    write_picture(tmp_path / "tall.png", np.random.default_rng(0).random((60, 36, 3)))
    with pytest.raises(CaptureError, match="36x60 pixels, calibrated are 48x36") as refused:
        load_photographs(capture, lambda _: tmp_path / "tall.png", 48)
    assert refused.value.reason == "Calibration"


def test_photographs_are_scaled_with_their_cameras_and_stored_without_loss(room: Path, tmp_path: Path) -> None:
    capture = capture_of(room, "sparse/0/images.txt")
    found = load_photographs(capture, lambda key: room / key, 24)
    first = found.photographs[0]
    assert first.srgb.shape == (18, 24, 3)
    np.testing.assert_allclose(first.camera.intrinsics[:2], capture.shots[0].lens.intrinsics[:2] / 2)
    found.save(tmp_path / "a.npz")
    again = PosedPhotographs.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.photographs[3].srgb, found.photographs[3].srgb)
    again.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("model", "numbers"),
    [("OPENCV", (-0.2, 0.05, 0.002, -0.003)), ("OPENCV_FISHEYE", (0.05, -0.01, 0.003, 0.0)), ("RADIAL", (-0.15, 0.03))],
)
def test_undistortion_finds_the_pinhole_picture_again(
    room: Path, tmp_path: Path, model: str, numbers: tuple[float, ...]
) -> None:
    """A smooth pinhole picture is distorted by the model's own formula, by brute force, and undistorted."""
    width, height, focal = 160, 120, 130.0
    start = (
        (focal, width / 2 + 3, height / 2 - 2) if model == "RADIAL" else (focal, focal, width / 2 + 3, height / 2 - 2)
    )
    lens = Lens(model, width, height, (*start, *numbers))

    def colour(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([0.5 + 0.4 * np.sin(9 * x), 0.5 + 0.4 * np.cos(7 * y), 0.5 + 0.3 * np.sin(5 * (x + y))], -1)

    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    cx, cy = lens.intrinsics[:2, 2]
    pixels = np.stack([columns, rows], -1).reshape(-1, 1, 2)
    undistort = cv2.fisheye.undistortPoints if model == "OPENCV_FISHEYE" else cv2.undistortPoints
    straight = undistort(pixels, lens.intrinsics, lens.distortion).reshape(height, width, 2)
    write_picture(tmp_path / "distorted.png", colour(straight[..., 0], straight[..., 1]))
    shot = capture_of(room, "sparse/0/images.txt").shots[0]
    shots = tuple(type(shot)("distorted.png", f"{n}", 0, lens, shot.camera_from_world) for n in range(4))
    found = load_photographs(Capture(shots), lambda _: tmp_path / "distorted.png", width).photographs[0]
    expected = colour((columns - cx) / focal, (rows - cy) / focal)
    error = np.abs(found.srgb / 255 - expected)[10:-10, 10:-10]
    assert float(np.mean(error)) < 0.004
    assert float(np.abs(np.round(found.srgb / 255, 2) - colour(straight[..., 0], straight[..., 1])).mean()) > 0.01
