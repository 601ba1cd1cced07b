"""Training and export on work folders: copied ones of this project, and those of WorldExplorer itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from world_chain import TINY, Chain
from world_panoramas import room_panorama

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.inputs import Listed
from scenewright_stages.contract.samples import SourceFile
from scenewright_stages.scenes.captures import view_of
from scenewright_stages.scenes.preparation import write_png
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.point_files import read_points
from scenewright_stages.worldexplorer.capture import held_out_paths, read_world_capture
from scenewright_stages.worldexplorer.listing import list_work_folders, read_entry
from scenewright_stages.worldexplorer.params import WorldTrainingParams

TURN = Rotation.from_euler("xyz", (97.0, 12.0, -31.0), degrees=True).as_matrix()
START = {"startPoints": 60_000}
"""Enough to cover a room in pictures of 48 pixels; the default would make a Gaussian of every pixel."""
SCALE, SHIFT = 2.5, np.array((4.0, -1.0, 7.0))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A world up to its points."""
    folder = tmp_path_factory.mktemp("world")
    source = folder / "room.png"
    write_png(source, room_panorama("box", 0).srgb)
    return Chain(folder / "work", TINY, {"source": source}).run(until="points")


def capture_of(world: Chain) -> Path:
    """Its work folder."""
    return Path(str(world.files["points", "world"]["capture"]))


def finished(world: Chain, folder: Path, work: Path) -> Chain:
    """Training and export on a work folder alone."""
    chain = Chain(work, {**TINY, "training": {**TINY["training"], **START}}, {})
    chain.files["points", "world"] = {"capture": folder}
    train, export = (stage for stage in world.stages if stage.name in ("train", "export"))
    for stage in (train, export):
        chain.run_one(stage, chain.root)
    return chain


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), mask)


def metrics_of(chain: Chain) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads(Path(str(chain.files["export", "world"]["metrics"])).read_text())
    return metrics


def foreign(world: Chain, folder: Path) -> Path:
    """The same work folder as another program would write it: in another frame, without split and distances."""
    shutil.copytree(capture_of(world), folder)
    (folder / "distance.npy").unlink()
    data = json.loads((folder / "transforms.json").read_text())
    for frame in data["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, :3] = TURN @ pose[:3, :3]
        pose[:3, 3] = moved(pose[:3, 3])
        frame["transform_matrix"] = pose.tolist()
    for name in ("train_filenames", "val_filenames"):
        del data[name]
    (folder / "transforms.json").write_text(json.dumps(data))
    points, colours = read_points(folder / "points.ply")
    lines = [" ".join(map(str, [*moved(point), *colour])) for point, colour in zip(points, colours, strict=True)]
    header = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    header += [f"property float {axis}" for axis in "xyz"] + [f"property uchar {c}" for c in ("red", "green", "blue")]
    (folder / "points.ply").write_text("\n".join([*header, "end_header", *lines]) + "\n")
    return folder


def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(SCALE * points @ TURN.T + SHIFT)


@pytest.mark.slow
def test_a_copied_work_folder_is_trained_and_walked_through(world: Chain, tmp_path: Path) -> None:
    copied = shutil.copytree(capture_of(world), tmp_path / "copy")
    metrics = metrics_of(finished(world, copied, tmp_path / "work"))
    assert metrics["walk"]["uncovered_mean"] < 0.02
    assert metrics["held_out"]["views"] == world.made["points", "world"].metrics["held_out"]
    assert metrics["centre_psnr"] > 18


@pytest.mark.slow
def test_quality_is_the_presets_and_what_is_stated_wins(world: Chain, tmp_path: Path) -> None:
    stated = {"preset": "quality", "steps": 60, "segment": 15, "coarse": 2, **START}
    chain = Chain(tmp_path, {**TINY, "training": stated}, {})
    chain.files["points", "world"] = {"capture": capture_of(world)}
    for stage in chain.stages[-2:]:
        chain.run_one(stage, chain.root)
    settled = chain.params.training.settled()
    assert (settled.steps, settled.maximum, settled.exploration, settled.coarse) == (60, 1_000_000, True, 2)
    preview = WorldTrainingParams().settled()
    assert (preview.steps, preview.maximum, preview.exploration, preview.start_points) == (300, 500_000, False, 400_000)
    scene = GaussianScene.load_npz(Path(str(chain.files["train", "world"]["scene"])))
    assert scene.spherical_harmonics.shape[1] == 16
    # With the regularisers of an exploration 12 % are uncovered.
    assert metrics_of(chain)["walk"]["uncovered_mean"] < 0.02 and metrics_of(chain)["centre_psnr"] > 18


@pytest.mark.slow
def test_a_work_folder_in_another_frame_becomes_the_same_world(world: Chain, tmp_path: Path) -> None:
    own = finished(world, capture_of(world), tmp_path / "own")
    other = finished(world, foreign(world, tmp_path / "foreign"), tmp_path / "other")
    near = metrics_of(other)["walk"]["near_metres"] / SCALE
    assert near == pytest.approx(metrics_of(own)["walk"]["near_metres"], rel=0.15)
    assert metrics_of(other)["walk"]["uncovered_mean"] < 0.03
    assert metrics_of(other)["held_out"]["views"] > 0
    # Upright by the first picture, whatever frame the work folder is in.
    upright, plain = (
        np.ptp(
            np.percentile(read_ply(Path(str(chain.files["export", "world"]["ply_rotated"]))).means, (5, 95), axis=0),
            axis=0,
        )
        for chain in (other, own)
    )
    np.testing.assert_allclose(upright / SCALE, plain, rtol=0.15)


def test_masks_of_a_work_folder_reach_training(world: Chain, tmp_path: Path) -> None:
    folder = shutil.copytree(capture_of(world), tmp_path / "masked")
    listed = json.loads((folder / "transforms.json").read_text())
    for frame in listed["frames"]:
        rows, columns = listed["h"], listed["w"]
        mask = np.full((rows, columns), 255, np.uint8)
        mask[:, : columns // 4] = 0
        frame["mask_path"] = f"masks/{Path(frame['file_path']).name}"
        write_mask(folder / frame["mask_path"], mask)
    (folder / "transforms.json").write_text(json.dumps(listed))
    capture = read_world_capture(folder, 8)
    for photograph in (*capture.train, *capture.held_out):
        mask = view_of(photograph).mask
        assert mask is not None and not mask[:, : mask.shape[1] // 4].any() and mask[:, -mask.shape[1] // 4 :].all()


def test_distances_are_seen_in_the_trained_scene(world: Chain, tmp_path: Path) -> None:
    capture = read_world_capture(foreign(world, tmp_path / "foreign"), 8)
    assert capture.distance is None and len(capture.points) > 1000
    assert len(capture.central()) >= 8


def test_without_a_split_whole_paths_are_held_out() -> None:
    names = [f"images/{view:03d}.png" for view in range(8)]
    paths = {f"{view:03d}_left": [f"images/{view:03d}_left_{n:03d}.png" for n in range(3)] for view in range(8)}
    held_out = held_out_paths([*names, *(name for path in paths.values() for name in path)], 4)
    assert held_out == {*paths["002_left"], *paths["006_left"]}


def test_points_that_end_early_are_said(world: Chain, tmp_path: Path) -> None:
    copied = shutil.copytree(capture_of(world), tmp_path / "copy")
    data = (copied / "points.ply").read_bytes()
    (copied / "points.ply").write_bytes(data[: len(data) // 2])
    with pytest.raises(SampleError, match="ends after") as caught:
        read_world_capture(copied, 8)
    assert caught.value.reason == "Damaged"


class Keys:
    """An input with these keys."""

    single = ""

    def __init__(self, uri: str, *keys: str) -> None:
        self.uri, self.keys = uri, keys


def listed(uri: str, *keys: str) -> list[Listed]:
    return list_work_folders(Keys(uri, *keys))  # type: ignore[arg-type]


def test_work_folders_of_a_batch_keep_their_places() -> None:
    folder = "photorealistic/index_0003/scenes/world/img2trajvid/"
    (found,) = listed("s3://data/out/", f"{folder}transforms.json", f"{folder}images/000.png", "batch_summary.json")
    assert (found.id, found.attributes) == ("photorealistic/index_0003", {"variant": "photorealistic", "index": 3})
    assert found.provided == {"points": {"capture": folder}}


def test_the_input_may_be_the_work_folder_itself() -> None:
    (found,) = listed("s3://data/attic/scenes/1/img2trajvid", "transforms.json", "images/000.png")
    assert found.id == "attic"
    assert found.provided == {"points": {"capture": "s3://data/attic/scenes/1/img2trajvid/"}}


def test_several_or_unfinished_work_folders_are_said() -> None:
    (several,) = listed("s3://d/attic/", *(f"scenes/{n}/img2trajvid/transforms.json" for n in "ab"))
    (bare,) = listed("s3://d/attic/", "scenes/a/img2trajvid/images/000.png")
    assert several.rejected is not None and several.rejected[0] == "SeveralWorkFolders"
    assert "scenes/a/img2trajvid/, scenes/b/img2trajvid/" in several.rejected[1]
    assert bare.rejected is not None and bare.rejected[0] == "WorkFolderUnfinished"
    assert listed("s3://d/attic/", "000.png") == []


def test_a_work_folder_is_not_expanded_again(tmp_path: Path) -> None:
    chain = Chain(tmp_path, TINY, {})
    scaffold = next(stage for stage in chain.stages if stage.name == "scaffold")
    finished_world = replace(chain.root, provided={"points": {"capture": SourceFile("s3://d/", 1, "")}})
    with pytest.raises(SampleError, match="--only train,export"):
        chain.run_one(scaffold, finished_world)


def entry(**said: Any) -> Listed:
    """What becomes of an entry whose picture is missing."""
    missing = Listed(
        "default/index_0000", {}, {"index": 0}, {"depth": {"method": "provided"}}, rejected=("InputMissing", "x")
    )
    return read_entry(missing, said, [f"scaffolds/3/00{n}.png" for n in range(8)])


def test_an_entry_may_bring_its_eight_views() -> None:
    found = entry(scaffold={"scaffold_path": "./scaffolds/3"}, scene_type="outdoor")
    assert found.rejected is None
    assert found.files["view_7"] == "scaffolds/3/007.png"
    assert found.overrides == {
        "depth": {"method": "provided"},
        "expansion": {"scale": "outdoor"},
    }


def test_a_scaffold_that_is_not_there_is_said() -> None:
    found = entry(scaffold={"scaffold_path": "scaffolds/4"})
    assert found.rejected is not None and found.rejected[0] == "ScaffoldMissing"
    assert "'scaffolds/4' has no 000, 001" in found.rejected[1]


def test_an_entry_chooses_motions_but_not_their_order() -> None:
    found = entry(expansion={"trajectory_order": ["in", "right"]})
    assert found.attributes["motions"] == ["in", "right"]
    refused = entry(expansion={"trajectory_order": ["right", "in"]})
    assert refused.rejected is not None and "keep the order in, left, right, up" in refused.rejected[1]


def test_an_entry_says_its_texts_and_mode() -> None:
    four = ["a stove", "a desk", "a bed", "a sofa"]
    rooms = entry(theme="farm", scaffold={"mode": "manual", "prompts": four}, input_image="x.png")
    assert rooms.overrides["scaffold"] == {"mode": "manual", "theme": "farm", "prompts": []}
    own = entry(theme="farm", scaffold={"custom": True, "prompts": four})
    assert own.overrides["scaffold"] == {"prompts": four}
    refused = entry(scaffold={"custom": True, "prompts": four[:3]})
    assert refused.rejected is not None and "four texts" in refused.rejected[1]
    few = entry(expansion={"num_images_for_vggt": 40})
    assert few.overrides["points"] == {"references": 40}
    wrong = entry(expansion={"num_images_for_vggt": "many"})
    assert wrong.rejected is not None and "num_images_for_vggt 'many'" in wrong.rejected[1]
    near = entry(expansion={"translation_scaling_factor": 6})
    assert near.overrides["expansion"] == {"translationScale": 6.0}


def test_a_text_stands_for_a_picture_that_nobody_named() -> None:
    missing = Listed("default/index_0000", {}, {"variant": "default"}, rejected=("InputMissing", "x"))
    assert read_entry(missing, {"theme": "farm"}, []).rejected is None
    assert read_entry(missing, {"theme": "farm", "input_image": "lost.png"}, []).rejected == ("InputMissing", "x")
    assert read_entry(missing, {}, []).rejected == ("InputMissing", "x")


def test_the_picture_of_what_lies_behind_is_named_or_found() -> None:
    front = Listed("stylized/index_0003", {"source": "a.png"}, {"variant": "stylized"})
    found = read_entry(front, {}, ["a.png", "views_180/stylized/index_0003_180.png"])
    assert found.files["opposite"] == "views_180/stylized/index_0003_180.png"
    named = read_entry(front, {"scaffold": {"opposite_image": "b.png"}}, ["a.png", "b.png"])
    assert named.files["opposite"] == "b.png"
    lost = read_entry(front, {"scaffold": {"opposite_image": "c.png"}}, ["a.png"])
    assert lost.rejected is not None and "'c.png' is not in the folder" in lost.rejected[1]


def test_what_an_entry_does_not_say_stays() -> None:
    found = entry(scene_type="dream")
    assert found.overrides == {"depth": {"method": "provided"}} and found.rejected == ("InputMissing", "x")
