"""The chain of worlds from end to end, at a tiny size, and what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_vggt import LICENCES, save_tiny_vggt
from view_depth import cut_depth
from world_chain import TINY, Chain
from world_panoramas import room_panorama

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.inputs import Listed
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import (
    Catalogue,
    CatalogueEntry,
    Dropped,
    ModelSettings,
    StageInputs,
    StageResult,
)
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vision.places.captures.transforms import read_transforms
from scenewright_stages.vision.places.worlds.motions import view_camera
from scenewright_stages.vision.places.worlds.panorama import cut_view
from scenewright_stages.vision.places.worlds.ring import folded, mirrored_ring, mirrored_slope
from scenewright_stages.worldexplorer.catalogue import batch_files
from scenewright_stages.worldexplorer.listing import list_views, missing_views
from scenewright_stages.worldexplorer.params import WorldExplorerParams
from scenewright_stages.worldexplorer.photograph import picture_path
from scenewright_stages.worldexplorer.pipeline import stages, views_of
from scenewright_stages.worldexplorer.scaffold import with_poles


def write_picture(path: Path, srgb: np.ndarray) -> Path:
    """As an 8-bit PNG."""
    cv2.imwrite(str(path), (srgb[..., ::-1] * 255).round().astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def panorama_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("world")
    source = write_picture(folder / "room.png", room_panorama("box", 0).srgb)
    return Chain(folder / "work", TINY, {"source": source}).run()


@pytest.mark.slow
def test_a_panorama_becomes_a_world(panorama_chain: Chain) -> None:
    metrics = json.loads(Path(str(panorama_chain.files["export", "world"]["metrics"])).read_text())
    assert metrics["walk"]["uncovered_mean"] <= 0.01
    assert metrics["centre_psnr"] > 24
    assert metrics["held_out"]["views"] > 0
    assert metrics["walk"]["nearest_gaussian_metres"] > 0.25
    (warning,) = panorama_chain.made["depth", "world"].warnings
    assert "guess" in warning and "1.3 m" in warning


def test_every_view_has_every_motion(panorama_chain: Chain) -> None:
    counts = {
        motion: sum(
            panorama_chain.made[f"expand-{motion}", f"world/view_{view}"].metrics["frames"] for view in range(8)
        )
        for motion in ("in", "left", "right", "up")
    }
    assert counts == {"in": 8, "left": 24, "right": 24, "up": 8}


def test_the_capture_is_one_that_others_read(panorama_chain: Chain) -> None:
    folder = Path(str(panorama_chain.files["points", "world"]["capture"]))
    keys = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    capture = read_transforms("transforms.json", keys, lambda key: (folder / key).read_bytes())
    assert len(capture.shots) == 8 + 8 + 64
    first = next(shot for shot in capture.shots if shot.path == "images/002.png")
    np.testing.assert_allclose(first.camera_from_world, view_camera(2, 48).camera_from_world, atol=1e-9)


def test_whole_paths_are_held_out(panorama_chain: Chain) -> None:
    folder = Path(str(panorama_chain.files["points", "world"]["capture"]))
    split = json.loads((folder / "transforms.json").read_text())
    paths = [
        {name.rpartition("_")[0] for name in split[part] if "_0" in name}
        for part in ("train_filenames", "val_filenames")
    ]
    assert paths[1] and not paths[0] & paths[1]


def test_the_rotated_scene_has_y_up(panorama_chain: Chain) -> None:
    files = panorama_chain.files["export", "world"]
    plain, turned = (read_ply(Path(str(files[name]))).means.numpy() for name in ("ply", "ply_rotated"))
    np.testing.assert_allclose(turned, plain * (1, -1, -1), atol=1e-6)


@pytest.mark.slow
def test_the_same_work_gives_the_same_bytes(panorama_chain: Chain, tmp_path: Path) -> None:
    again = Chain(tmp_path, TINY, panorama_chain.inputs).run(until="points")
    for stage in ("depth", "expand-in", "expand-left", "points"):
        for (name, sample), files in again.files.items():
            if name == stage:
                for output, path in files.items():
                    other = panorama_chain.files[name, sample][output]
                    if isinstance(path, Path) and path.is_file() and isinstance(other, Path):
                        assert path.read_bytes() == other.read_bytes(), (name, sample, output)


def test_views_side_by_side_and_in_another_order_give_the_same_bytes(panorama_chain: Chain, tmp_path: Path) -> None:
    """As shards do: two at once, the last view first, each library on as many threads as it likes."""
    chain = Chain(tmp_path, TINY, panorama_chain.inputs)
    chain.files = {key: files for key, files in panorama_chain.files.items() if key[0] in ("scaffold", "depth")}
    threads = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        for motion in ("expand-in", "expand-left"):
            stage = next(each for each in chain.stages if each.name == motion)
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(partial(chain.run_one, stage), reversed(chain.family.levels[1])))
            for child in chain.family.levels[1]:
                made, before = (Path(str(each.files[motion, child.id]["frames"])) for each in (chain, panorama_chain))
                assert made != before and made.read_bytes() == before.read_bytes(), child.id
    finally:
        cv2.setNumThreads(threads)


def test_the_start_can_be_corrected_by_the_pictures(panorama_chain: Chain) -> None:
    """Pictures of the classic backend repeat the guess, so little changes."""
    points = next(stage for stage in stages(panorama_chain.params) if stage.name == "points")
    before = panorama_chain.made["points", "world"].metrics
    swept = {**TINY, "points": {"method": "planeSweep", "references": 8}}
    chain = Chain(panorama_chain.folder / "swept", swept, panorama_chain.inputs)
    chain.files = dict(panorama_chain.files)
    after = chain.run_one(points, chain.root).metrics
    assert 0 < after["swept_pictures"] <= 8 and after["added"] > 0
    assert after["points"] == before["points"] + after["added"] - after["removed"]
    assert after["removed"] < 0.05 * before["points"]


def points_by_vggt(chain: Chain, folder: Path, limit: float) -> StageResult:
    """The points of a world by a network of a few random weights, which puts the cameras anywhere."""
    points = {"method": "vggt", "references": 4, "alignmentLimit": limit, "alignmentLimitDegrees": 90.0}
    models = ModelSettings(save_tiny_vggt(folder / "cache"), "cpu", LICENCES)
    again = Chain(folder / "work", {**TINY, "points": points}, chain.inputs, models)
    again.files = dict(chain.files)
    assert {stage.name for stage in again.stages if stage.models.backends or stage.pod.resources.gpus} == {"points"}
    assert not any(stage.models.backends or stage.pod.resources.gpus for stage in chain.stages)
    return again.run_one(next(stage for stage in again.stages if stage.name == "points"), again.root)


def test_a_world_whose_cameras_do_not_fit_fails(panorama_chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(SampleError) as caught:
        points_by_vggt(panorama_chain, tmp_path, 0.01)
    assert caught.value.reason == "NotAligned"


def test_the_record_names_the_model_and_its_residuals(panorama_chain: Chain, tmp_path: Path) -> None:
    made = points_by_vggt(panorama_chain, tmp_path, 1.0)
    (use,) = made.backends
    assert (use.capability, use.backend, use.licence) == ("geometry", "vggt", "vggt-aup-license")
    assert made.metrics["alignment_error"] > 0.01 and made.metrics["estimated_pictures"] == 4


def test_eight_views_with_depth_become_the_same_world(tmp_path: Path) -> None:
    exact = room_panorama("box", 0)
    assert exact.distance is not None
    files = {}
    for view in range(8):
        camera = view_camera(view, 64)
        files[f"view_{view}"] = write_picture(tmp_path / f"00{view}.png", cut_view(exact.srgb, camera))
        np.save(tmp_path / f"00{view}.depth.npy", cut_depth(exact.distance, camera))
        files[f"depth_{view}"] = tmp_path / f"00{view}.depth.npy"
    block = {**TINY, "scaffold": {**TINY["scaffold"], "method": "provided"}, "depth": {"method": "provided"}}
    chain = Chain(tmp_path / "work", block, files).run(until="depth")
    with np.load(str(chain.files["depth", "world"]["distance"])) as arrays:
        distance = arrays["distance"]
    truth = cv2.resize(exact.distance, (192, 96), interpolation=cv2.INTER_NEAREST)
    error = np.abs(np.log(distance / truth))
    assert np.median(error[40:56]) < 0.02
    # Floor and ceiling go on where the views end.
    assert np.median(error[85:]) < 0.1
    assert 0.3 < chain.made["scaffold", "world"].metrics["photographed"] < 0.7


def test_a_path_that_is_blocked_at_once_is_done_and_says_so(tmp_path: Path) -> None:
    source = write_picture(tmp_path / "room.png", room_panorama("box", 0).srgb)
    block = {**TINY, "expansion": {**TINY["expansion"], "clearance": 9.0, "motions": ["in"]}}
    chain = Chain(tmp_path / "work", block, {"source": source}).run(until="points")
    result = chain.made["expand-in", "world/view_0"]
    assert result.metrics["frames"] == 0
    assert "blocked at once" in result.warnings[0]
    assert chain.made["points", "world"].metrics["pictures"] == 16


@pytest.mark.parametrize(("shape", "reason"), [((64, 96, 3), "NotAPanorama"), ((64, 64, 3), "NotAPanorama")])
def test_other_shapes_are_no_panorama(tmp_path: Path, shape: tuple[int, ...], reason: str) -> None:
    source = write_picture(tmp_path / "flat.png", np.random.default_rng(0).random(shape))
    with pytest.raises(SampleError, match="twice as wide as high") as caught:
        Chain(tmp_path / "work", TINY, {"source": source}).run(until="scaffold")
    assert caught.value.reason == reason


def test_one_photograph_is_continued_by_its_mirror_images(tmp_path: Path) -> None:
    photograph = cut_view(room_panorama("box", 0).srgb, view_camera(0, 96))
    source = write_picture(tmp_path / "photograph.png", photograph)
    block = {**TINY, "scaffold": {**TINY["scaffold"], "method": "singleImage", "fieldOfViewDegrees": 60}}
    chain = Chain(tmp_path / "work", block, {"source": source}).run(until="scaffold")
    made = chain.made["scaffold", "world"]
    views = made.outputs["views"]
    assert isinstance(views, list)
    expected = cv2.resize(photograph, (64, 64), interpolation=cv2.INTER_AREA) * 255
    assert np.abs(views[0].values.astype(float) - expected).mean() < 1.5
    assert made.metrics["mirrored"] == pytest.approx(5 * made.metrics["photographed"], rel=0.1)
    assert "mirror images" in made.warnings[0] and "vistadream" in made.warnings[0]


@pytest.mark.parametrize("degrees", [30.0, 50.0, 60.0, 90.0, 120.0])
def test_the_ring_has_no_seam(degrees: float) -> None:
    azimuth = np.linspace(-180, 180, 3601)
    place = folded(azimuth, degrees)
    assert np.abs(place).max() <= degrees / 2 + 1e-9
    assert np.abs(np.diff(place)).max() < 0.2
    np.testing.assert_allclose(place[np.abs(azimuth) <= degrees / 2], azimuth[np.abs(azimuth) <= degrees / 2])
    np.testing.assert_allclose(place[[0, -1]], 0, atol=1e-9)


def test_above_a_photograph_lie_the_colours_of_its_sky_alone() -> None:
    photograph = np.full((96, 96, 3), (0.4, 0.6, 0.9), np.float32)
    photograph[:, 40:56] = (0.8, 0.1, 0.1)
    ring = mirrored_ring(photograph, 60.0, 128)
    above = ring.srgb[:40]
    assert (above[..., 2] > above[..., 0] + 0.3).all()
    # The border as it is continues the tower up to the pole.
    streaks = with_poles(ring.srgb, ring.photographed | ring.mirrored)[:40]
    assert (streaks[..., 0] > streaks[..., 2] + 0.3).any()


def test_ground_continues_below_a_photograph() -> None:
    slopes = np.linspace(0.4, 40.0, 1000)
    inside, times = mirrored_slope(slopes, np.full_like(slopes, 0.4))
    assert inside[0] == pytest.approx(0.4) and inside.max() <= 0.4 + 1e-9 and inside.min() >= 0.3 - 1e-9
    # Mirrored once: distances on both sides of the border have its square as their product.
    np.testing.assert_allclose((inside * slopes)[times < 1], 0.16)
    draws = np.random.default_rng(0)
    rows = np.repeat(draws.uniform(0.2, 0.5, 48), 2)[:, None, None]
    photograph = np.where(np.arange(96)[:, None, None] < 48, 0.9, rows).astype(np.float32) * np.ones(
        (1, 96, 3), np.float32
    )
    ring = mirrored_ring(photograph, 60.0, 256)
    ahead = ring.srgb[:, 256, 0]
    border = int(np.flatnonzero((ring.photographed | ring.mirrored)[:, 256])[-1]) + 1
    # No seam, and detail that a continued border lacks.
    np.testing.assert_allclose(ahead[border], ahead[border - 1], atol=0.05)
    assert ahead[border : border + 20].std() > 0.02
    assert np.abs(ahead[-20:] - 0.35).max() < 0.1


def test_a_panorama_as_one_photograph_is_warned_of(tmp_path: Path) -> None:
    source = write_picture(tmp_path / "room.png", room_panorama("box", 0).srgb)
    block = {**TINY, "scaffold": {**TINY["scaffold"], "method": "singleImage"}}
    chain = Chain(tmp_path / "work", block, {"source": source}).run(until="scaffold")
    assert "scaffold.method panorama" in chain.made["scaffold", "world"].warnings[1]


def test_a_seam_that_does_not_close_is_said(tmp_path: Path) -> None:
    srgb = np.repeat(np.linspace(0, 1, 128)[None, :, None], 64, axis=0).repeat(3, axis=2)
    chain = Chain(tmp_path / "work", TINY, {"source": write_picture(tmp_path / "cut.png", srgb)}).run(until="scaffold")
    assert "do not fit together" in chain.made["scaffold", "world"].warnings[0]


def test_seven_views_and_views_of_several_sizes_are_refused(tmp_path: Path) -> None:
    block = {**TINY, "scaffold": {**TINY["scaffold"], "method": "provided"}}
    random = np.random.default_rng(0)
    files = {f"view_{n}": write_picture(tmp_path / f"{n}.png", random.random((32, 32, 3))) for n in range(7)}
    with pytest.raises(SampleError, match="missing: 007"):
        Chain(tmp_path / "work", block, files).run(until="scaffold")
    files["view_7"] = write_picture(tmp_path / "7.png", random.random((40, 40, 3)))
    with pytest.raises(SampleError, match="32x32, 40x40"):
        Chain(tmp_path / "work", block, files).run(until="scaffold")


def test_depth_without_numbers_is_refused(tmp_path: Path) -> None:
    source = write_picture(tmp_path / "room.png", room_panorama("box", 0).srgb)
    np.save(tmp_path / "room.depth.npy", np.full((64, 128), np.nan, np.float32))
    block = {**TINY, "depth": {"method": "provided"}}
    files = {"source": source, "depth": tmp_path / "room.depth.npy"}
    with pytest.raises(SampleError, match="no finite positive depth"):
        Chain(tmp_path / "work", block, files).run(until="depth")
    with pytest.raises(SampleError, match=r"000\.depth\.npy"):
        Chain(tmp_path / "work", block, {"source": source}).run(until="depth")


class Keys:
    """An input with these keys."""

    uri, single = "s3://data/rooms/", ""

    def __init__(self, *keys: str) -> None:
        self.keys = keys


def test_folders_of_eight_views_are_samples() -> None:
    views = [f"attic/00{n}.png" for n in range(8)]
    (listed,) = list_views(Keys(*views, "attic/003.depth.npy", "cellar/000.png"))  # type: ignore[misc, arg-type]
    assert isinstance(listed, Listed)
    assert listed.id == "attic"
    assert listed.files["view_5"] == "attic/005.png" and listed.files["depth_3"] == "attic/003.depth.npy"
    assert list_views(Keys("room.jpg", "000.png")) is None  # type: ignore[arg-type]


def test_a_folder_with_what_lies_ahead_and_behind_is_a_sample_of_two_photographs() -> None:
    (listed,) = list_views(Keys("attic/000.jpg", "attic/004.png", "attic/notes.txt"))  # type: ignore[misc, arg-type]
    assert listed.files == {"source": "attic/000.jpg", "opposite": "attic/004.png"}
    assert list_views(Keys("attic/000.jpg", "attic/004.png", "attic/005.png")) is None  # type: ignore[arg-type]
    assert list_views(Keys("attic/000.jpg", "attic/004.png", "attic/other.jpg")) is None  # type: ignore[arg-type]


def test_a_folder_with_seven_of_eight_views_is_one_sample_that_says_what_it_lacks() -> None:
    seven = [f"attic/00{n}.png" for n in range(8) if n != 3]
    (listed,) = list_views(Keys(*seven))  # type: ignore[misc, arg-type]
    assert listed.id == "attic" and missing_views(listed.files) == ["003"]
    assert list_views(Keys(*seven, "attic/other.jpg")) is None  # type: ignore[arg-type]


def test_a_second_photograph_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "000.png").write_bytes(b"")
    params = WorldExplorerParams.model_validate({"scaffold": {"method": "twoImages", "backend": "seva"}})
    inputs = StageInputs({("input", "source"): tmp_path / "000.png"}, params, 1, tmp_path)
    with pytest.raises(SampleError, match=r"004 beside 000.*scaffold\.opposite_image") as caught:
        picture_path(inputs, "opposite")
    assert caught.value.reason == "OppositeMissing"


@pytest.mark.parametrize(
    "block",
    [
        {"expansion": {"motions": ["up", "in"]}},
        {"expansion": {"motions": ["in", "in"]}},
        {"depth": {"cameraHeight": 2.0, "ceilingHeight": 1.5}},
        {"scaffold": {"method": "twoImages"}},
        {"scaffold": {"method": "scaffoldGen", "prompts": ["a kitchen"]}},
        {"scaffold": {"method": "textOnly"}},
    ],
)
def test_what_does_not_work_is_not_accepted(block: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        WorldExplorerParams.model_validate(block)


def test_a_batch_says_how_each_entry_ended() -> None:
    done = Sample("photorealistic/index_0003", attributes={"index": 3, "variant": "photorealistic"})
    bad = Sample("stylized/index_0004", attributes={"index": 4, "variant": "stylized"})
    (view, *_) = bad.children(views_of(bad))
    dropped = [
        Dropped(bad, "scaffold", "NotAPanorama", "too high"),
        Dropped(view, "expand-in", "UpstreamFailed", "scaffold failed: NotAPanorama", follows=True),
    ]
    made = {name: Record(done.id, name, "key", "done") for name in ("scaffold", "points", "export")}
    files = batch_files(Catalogue("rooms", [CatalogueEntry(done, made)], {}, dropped, at=86_400.0, seconds=12.34))
    summary, failed = (
        json.loads(files[name].content) for name in ("batch_summary.json", "failed_indices_19700102_000000.json")
    )
    assert (summary["total"], summary["success"], summary["failed"]) == (2, 1, 1)
    assert (summary["elapsed_seconds"], summary["only_stages"]) == (12.3, None)
    assert summary["results"][0]["export_path"] == "photorealistic/index_0003/splat.ply"
    assert failed["failed_indices"] == [4]
    (entry,) = failed["failed_entries"]
    assert (entry["sample"], entry["stage"], entry["error"]) == (bad.id, "scaffold", "NotAPanorama: too high")


def test_a_summary_names_only_what_was_made() -> None:
    done = Sample("default/index_0000", attributes={"index": 0})
    made = {"scaffold": Record(done.id, "scaffold", "key", "done")}
    spec = {"execution": {"stages": {"only": ["scaffold", "depth"]}}}
    job = {"spec": {**spec, "worldexplorer": {"scaffold": {"method": "provided"}}}}
    ((name, content),) = batch_files(Catalogue("rooms", [CatalogueEntry(done, made)], job)).items()
    summary = json.loads(content.content)
    assert name == "batch_summary.json"
    assert (summary["only_stages"], summary["scaffold_method"]) == (["scaffold", "depth"], "provided")
    (result,) = summary["results"]
    assert result["stages_completed"] == ["scaffold"] and result["scaffold_path"] == "default/index_0000/scaffold"
    assert result["scene_path"] is None and result["export_path"] is None
