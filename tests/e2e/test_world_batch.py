"""A curated set becomes worlds: broken entries are said, an edited one reruns alone, stage 3 runs alone on a copy."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scene_jobs import Ended, assert_consistent, lasting_files, scenewright

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

pytestmark = pytest.mark.slow

TINY: dict[str, Any] = {
    "scaffold": {"method": "panorama", "size": 64, "panoramaHeight": 96},
    "depth": {"cameraHeight": 1.3, "ceiling": "yes"},
    "expansion": {"stride": 45, "resolution": 48, "motions": ["in", "right"]},
    "training": {"steps": 10, "segment": 10, "heldOutEvery": 4},
    "walk": {"frames": 4, "width": 64, "height": 48, "reach": 0.3},
}
GOOD = ["default/index_0004", "photorealistic/index_0000", "stylized/index_0000"]


def write_panorama(path: Path, seed: int) -> None:
    """A room all round: floor, walls of four colours, ceiling."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:96, 0:192]
    walls = random.integers(60, 200, (4, 3))[columns // 48]
    picture = np.where((rows < 30)[..., None], 230, np.where((rows > 62)[..., None], (60, 90, 140), walls))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(picture + random.normal(0, 5, picture.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three worlds of two entries, and three entries that cannot become one."""
    folder = tmp_path_factory.mktemp("curated")
    for number, name in enumerate(("a.png", "b.png", "images/4.png", "cut.png")):
        write_panorama(folder / name, number)
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:500])
    write_metadata(folder, {})
    return folder


def write_metadata(folder: Path, first: dict[str, Any]) -> None:
    entries = [
        {"photorealistic": {"original_path": "a.png"}, "stylized": {"path": "b.png"}, "parameters": first},
        {"photorealistic": {"filename": "lost.png"}},
        {"photorealistic": {"path": "cut.png"}},
        {"scaffold": {"scaffold_path": "nowhere"}},
        {"index": 4, "expansion": {"trajectory_order": ["in"]}},
    ]
    (folder / "metadata.json").write_text(json.dumps({"samples": entries}))


def write_job(folder: Path, source: Path, name: str, **spec: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.yaml"
    content = {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": name},
        "spec": {"input": {"uri": str(source)}, "output": {"uri": str(folder / "out")}, "worldexplorer": TINY, **spec},
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def batch(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """The manifest of the batch that has run, and how it ended."""
    manifest = write_job(tmp_path_factory.mktemp("batch"), curated, "worlds")
    return manifest, scenewright("run", manifest)


def test_broken_entries_are_said_and_the_others_complete(batch: tuple[Path, Ended]) -> None:
    manifest, ended = batch
    output = manifest.parent / "out"
    assert_consistent(output)
    summary = json.loads((output / "batch_summary.json").read_text())
    assert (summary["total"], summary["success"], summary["failed"]) == (6, 3, 3), ended.stderr
    assert sorted(each["sample"] for each in summary["results"] if each["status"] == "success") == GOOD
    (listed,) = output.glob("failed_indices_*.json")
    failed = json.loads(listed.read_text())
    assert failed["failed_indices"] == [1, 2, 3]
    errors = {each["index"]: each["error"] for each in failed["failed_entries"]}
    assert "lost.png" in errors[1]
    assert "cut.png" in errors[2] or "truncated" in errors[2]
    assert "'nowhere' has no 000" in errors[3]
    for world in GOOD:
        for name in ("splat.ply", "walk.mp4", "scaffold/final/007.png", "scenes/world/img2trajvid/transforms.json"):
            assert (output / world / name).stat().st_size > 0


def test_an_entry_makes_the_motions_that_it_names_alone(batch: tuple[Path, Ended]) -> None:
    frames = {
        world: {
            name.rpartition("_")[0].rpartition("_")[2]
            for name in (path.name for path in (world_folder(batch[0], world) / "images").iterdir())
        }
        for world in GOOD
    }
    assert {"in", "right"} <= frames["stylized/index_0000"]
    assert "in" in frames["default/index_0004"] and "right" not in frames["default/index_0004"]


def test_several_shards_of_a_motion_give_the_bytes_of_one(
    batch: tuple[Path, Ended], curated: Path, tmp_path: Path
) -> None:
    copied, samples = tmp_path / "copied", 8 * len(GOOD)
    shutil.copytree(batch[0].parent, copied)
    before = shards_of(copied / "out", "expand-right")
    again = write_job(copied, curated, "worlds", execution={"samplesPerShard": samples // 2})
    # The first stage of a local run is one process with the index; the second one is split.
    ended = scenewright("run", again, "--only", "expand-in,expand-right", "--force")
    made = shards_of(copied / "out", "expand-right") - before
    assert len(made) >= 2 and sum(made.values()) == samples, ended.stderr
    one, several = (files_of_worlds(folder / "out") for folder in (batch[0].parent, copied))
    assert {f".scenewright/work/{world}/view_7/right.npz" for world in GOOD} <= one.keys()
    assert several == one


def files_of_worlds(output: Path) -> dict[str, str]:
    """Hashes of all lasting files of the worlds that were made."""
    return {path: value for path, value in lasting_files(output).items() if any(f"{world}/" in path for world in GOOD)}


def shards_of(output: Path, stage: str) -> Counter[tuple[str, str]]:
    """How many samples each process of a stage has made, by run and attempt."""
    files = (output / layout.ROOT / stage).rglob("*.jsonl")
    records = [Record.from_line(line) for file in files for line in file.read_text().split("\n") if '"state"' in line]
    return Counter((each.run, each.attempt) for each in records if each.state == "done")


def world_folder(manifest: Path, world: str) -> Path:
    return manifest.parent / "out" / world / "scenes" / "world" / "img2trajvid"


def test_an_edited_entry_reruns_its_own_worlds(batch: tuple[Path, Ended], curated: Path) -> None:
    manifest, _ = batch
    write_metadata(curated, {"depth": {"cameraHeight": 1.6}})
    try:
        planned = scenewright("plan", manifest)
    finally:
        write_metadata(curated, {})
    stages = {each["name"]: each["todo"] for each in planned.job["stages"]}
    assert stages["scaffold"] == 0
    assert (stages["depth"], stages["expand-in"], stages["train"]) == (2, 16, 2)


def test_training_and_export_run_alone_on_a_copied_work_folder(batch: tuple[Path, Ended], tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(world_folder(batch[0], GOOD[1]), copied / "attic" / "scenes" / "world" / "img2trajvid")
    manifest = write_job(tmp_path / "again", copied, "attic")
    ended = scenewright("run", manifest, "--only", "train,export")
    assert ended.code == 0, ended.stderr
    output = tmp_path / "again" / "out"
    assert (output / "attic" / "splat_rotated.ply").stat().st_size > 0
    assert not (output / "attic" / "scaffold").exists()
    assert "scaffold" not in ended.steps() and "train" in ended.steps()
