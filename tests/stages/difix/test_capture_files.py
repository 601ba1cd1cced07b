"""What lies in a capture's folder is used as its own program means it: models, splits, points, depth, orientation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from capture_folders import room_views, write_colmap, write_transforms
from input_folders import FolderView
from PIL import Image
from synthetic.world import box_room
from test_capture_fuzz import nerf_synthetic, nerfstudio
from test_captures import capture_of, listed

from scenewright_stages.contract.inputs import Listed
from scenewright_stages.reconstruct.views import roles_of
from scenewright_stages.vision.geometry.points import project
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError
from scenewright_stages.vision.places.captures.depth_points import with_depth_points
from scenewright_stages.vision.places.captures.finding import list_photographs
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs, load_photographs

SIZE = (48, 36)
COUNT = 8


def loaded(folder: Path, capture: Capture) -> PosedPhotographs:
    return load_photographs(capture, lambda key: folder / key, max(SIZE))


def model(folder: Path, place: str, count: int = COUNT) -> Path:
    """A capture whose COLMAP model of the first `count` photographs lies in `place`."""
    made = write_colmap(folder.parent.parent / f"{folder.parent.name}_made", room_views(box_room(0), COUNT, SIZE))
    path = made / "sparse/0/images.txt"
    path.write_text("\n".join(path.read_text().splitlines()[: 1 + 2 * count]) + "\n")
    shutil.copytree(made / "images", folder / "images", dirs_exist_ok=True)
    shutil.copytree(made / "sparse/0", folder / place, dirs_exist_ok=True)
    shutil.rmtree(made)
    return folder


@pytest.mark.parametrize("place", ["sparse/0", "sparse/3", "sparse", "colmap/sparse/0", "colmap/sparse", ".", "model"])
def test_a_colmap_model_is_found_wherever_programs_put_it(tmp_path: Path, place: str) -> None:
    folder = model(tmp_path / "room", place)
    (found,) = listed(folder)
    assert found.rejected is None
    assert len(found.attributes["shots"]) == COUNT
    assert found.notes == ()
    # The same from the folder above, as one of several captures.
    (again,) = listed(tmp_path)
    assert again.attributes["shots"] == found.attributes["shots"]


def test_of_several_models_that_with_most_photographs_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    folder = model(model(model(tmp_path / "room", "sparse/1"), "sparse/2", 4), "sparse/0", 5)
    (found,) = listed(folder)
    assert found.attributes["mark"] == "sparse/1/images.txt"
    assert len(found.attributes["shots"]) == COUNT
    assert "sparse/0/images.txt" in found.notes[0]
    assert "a sub-model with 5 of the photographs; sparse/1 has 8" in found.notes[0]
    assert "a sub-model with 4 of the photographs" in found.notes[0]


def test_photographs_that_a_model_lacks_are_named(tmp_path: Path) -> None:
    (found,) = listed(model(tmp_path / "room", "sparse/0", 6))
    assert found.notes == (
        "found and not used: images/006.png, images/007.png (photographs without a pose in sparse/0/images.txt)",
    )


def test_a_text_model_without_its_empty_lines_is_refused_with_the_line(tmp_path: Path) -> None:
    folder = model(tmp_path / "room", "sparse/0")
    path = folder / "sparse/0/images.txt"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if line) + "\n")
    (found,) = listed(folder)
    assert found.rejected is not None
    assert "sparse/0/images.txt line 3 does not hold the points of 000.png" in found.rejected[1]


def test_the_test_views_of_nerf_synthetic_are_held_out(tmp_path: Path) -> None:
    nerf_synthetic(tmp_path / "lego")
    (found,) = listed(tmp_path / "lego")
    assert found.notes == ()
    capture = capture_of(tmp_path / "lego", found.attributes["mark"])
    held = loaded(tmp_path / "lego", capture).held_out
    assert held == [False] * 6 + [True] * 2
    assert roles_of(8, 3, 0, held).held_out == (6, 7)
    assert roles_of(8, 3, 0).held_out == (1, 4, 7)


def test_a_split_within_transforms_json_is_kept_through_the_work_file(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "room", room_views(box_room(0), COUNT, SIZE))
    data = json.loads((folder / "transforms.json").read_text())
    data |= {"train_filenames": [f"images/{n:03d}.png" for n in range(6)], "val_filenames": ["./images/007.png"]}
    (folder / "transforms.json").write_text(json.dumps(data))
    loaded(folder, capture_of(folder, "transforms.json")).save(tmp_path / "photographs.npz")
    assert PosedPhotographs.load(tmp_path / "photographs.npz").held_out == [False] * 7 + [True]


def test_sizes_come_from_the_photograph_where_no_key_says_them(tmp_path: Path) -> None:
    folder = write_transforms(tmp_path / "room", room_views(box_room(0), COUNT, SIZE))
    whole = capture_of(folder, "transforms.json").shots[0].lens
    data = json.loads((folder / "transforms.json").read_text())
    angle = 2 * np.arctan(SIZE[0] / 2 / data["fl_x"])
    kept = {name: data[name] for name in ("camera_model", "frames")}
    (folder / "transforms.json").write_text(json.dumps({**kept, "camera_angle_x": angle}))
    lens = capture_of(folder, "transforms.json").shots[0].lens
    assert (lens.width, lens.height) == SIZE
    np.testing.assert_allclose(lens.intrinsics, whole.intrinsics, atol=1e-9)


def test_points_of_the_model_that_transforms_json_was_made_from_follow_its_poses(tmp_path: Path) -> None:
    folder = write_colmap(tmp_path / "room", room_views(box_room(0), COUNT, SIZE))
    expected = capture_of(folder, "sparse/0/images.txt").points
    (folder / "colmap").mkdir()
    (folder / "sparse").rename(folder / "colmap" / "sparse")
    views = room_views(box_room(0), COUNT, SIZE)
    for applied in (np.eye(4), np.array([[1.0, 0, 0, 2], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])):
        write_transforms(folder, views)
        data = json.loads((folder / "transforms.json").read_text())
        for frame in data["frames"]:
            frame["transform_matrix"] = (applied @ np.array(frame["transform_matrix"])).tolist()
        data["applied_transform"] = applied[:3].tolist()
        (folder / "transforms.json").write_text(json.dumps(data))
        capture = capture_of(folder, "transforms.json")
        np.testing.assert_allclose(capture.points, expected @ applied[:3, :3].T + applied[:3, 3], atol=1e-9)
        assert not capture.left
    for number, frame in enumerate(data["frames"]):
        frame["transform_matrix"][0][3] += number
    (folder / "transforms.json").write_text(json.dumps(data))
    moved = capture_of(folder, "transforms.json")
    assert not len(moved.points)
    assert "its cameras are not those of transforms.json" in moved.left.values()


def test_depth_maps_give_start_points_on_the_surfaces_and_a_wrong_unit_is_refused(tmp_path: Path) -> None:
    nerfstudio(tmp_path / "room", depth=True)
    capture = capture_of(tmp_path / "room", "transforms.json")
    found = with_depth_points(capture, lambda key: tmp_path / "room" / key)
    half = np.array(box_room(0).half_size)
    assert len(found.points) > 1000
    assert np.quantile(np.abs(found.points) - half, 0.99) < 0.05
    data = json.loads((tmp_path / "room/transforms.json").read_text())
    (tmp_path / "room/transforms.json").write_text(json.dumps({**data, "depth_unit_scale_factor": 3e-3}))
    wrong = capture_of(tmp_path / "room", "transforms.json")
    with pytest.raises(CaptureError, match="not in the unit of the poses"):
        with_depth_points(wrong, lambda key: tmp_path / "room" / key)


def turned_on_disk(folder: Path, orientation: int) -> None:
    """Gives all photographs an EXIF orientation; their pixels stay."""
    for path in sorted((folder / "images").iterdir()):
        exif = Image.Exif()
        exif[0x0112] = orientation
        with Image.open(path) as picture:
            picture.save(path, exif=exif.tobytes())


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_calibration_ignores_the_orientation_and_what_is_published_stands_upright(
    tmp_path: Path, orientation: int
) -> None:
    folder = write_colmap(tmp_path / "room", room_views(box_room(0), 4, SIZE))
    plain = loaded(folder, capture_of(folder, "sparse/0/images.txt"))
    turned_on_disk(folder, orientation)
    upright = loaded(folder, capture_of(folder, "sparse/0/images.txt"))
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    for before, after in zip(plain.photographs, upright.photographs, strict=True):
        np.testing.assert_array_equal(np.rot90(before.srgb, -turns), after.srgb)
        assert (after.camera.height, after.camera.width) == after.srgb.shape[:2]
        # The same place shows the same colour in both.
        places, depth = project(plain.points, before.camera)
        again, same = project(plain.points, after.camera)
        np.testing.assert_allclose(depth, same)
        seen = (depth > 0) & (places > 1).all(axis=1) & (places < np.array(SIZE) - 1).all(axis=1)
        first = before.srgb[places[seen][:, 1].astype(int), places[seen][:, 0].astype(int)]
        second = after.srgb[again[seen][:, 1].astype(int), again[seen][:, 0].astype(int)]
        assert np.mean(np.abs(first.astype(int) - second)) < 3


def bare(folder: Path) -> list[Listed]:
    return list_photographs(FolderView(folder)) or []


def test_pictures_of_phones_are_photographs_and_unread_formats_are_named(tmp_path: Path) -> None:
    for number, ending in enumerate((".HEIC", ".avif", ".png", ".jpg", ".webp")):
        (tmp_path / f"IMG_{number}{ending}").write_bytes(b"x")
    (tmp_path / "IMG_9.CR2").write_bytes(b"x")
    (tmp_path / "clip.mov").write_bytes(b"x")
    photographs, video = bare(tmp_path)
    assert len(photographs.files) == 5
    assert "IMG_9.CR2 (pictures of this format are not read" in photographs.notes[0]
    assert "clip.mov" not in photographs.notes[0]
    assert video.files == {"video/clip.mov": "clip.mov"}


def test_heic_and_avif_photographs_of_a_capture_are_read(tmp_path: Path) -> None:
    folder = write_colmap(tmp_path / "room", room_views(box_room(0), 5, SIZE))
    plain = loaded(folder, capture_of(folder, "sparse/0/images.txt"))
    from scenewright_stages.vision.imaging.images.opening import open_header

    open_header(folder / "images/000.png").close()  # registers HEIC
    for number, ending in ((0, "heic"), (1, "avif")):
        picture = Image.fromarray(cv2.imread(str(folder / f"images/00{number}.png"))[..., ::-1])
        picture.save(folder / f"images/00{number}.{ending}", quality=95)
        (folder / f"images/00{number}.png").unlink()
        path = folder / "sparse/0/images.txt"
        path.write_text(path.read_text().replace(f"00{number}.png", f"00{number}.{ending}"))
    again = loaded(folder, capture_of(folder, "sparse/0/images.txt"))
    for before, after in zip(plain.photographs, again.photographs, strict=True):
        assert np.abs(before.srgb.astype(int) - after.srgb).mean() < 4
