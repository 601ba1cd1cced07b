"""A folder of portraits becomes a data set: what is reported, what runs again, the same bytes, and who can open it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from portraits import FAULTS, write_portraits
from relight_jobs import MASKED, STAGES, done_records, json_lines, write_job
from scene_jobs import assert_consistent, lasting_files, scenewright

pytestmark = pytest.mark.slow

COUNT = 10
SEVERAL_SHARDS = {"execution": {"samplesPerShard": 4}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished job of sound and planted bad files in several shards; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("portraits")
    write_portraits(folder / "in", COUNT, side=96)
    spoilt = folder / "in"
    for number, spoil in enumerate(FAULTS.values()):
        write_portraits(folder / "more", COUNT + len(FAULTS), side=96)
        for path in (folder / "more").glob(f"p{COUNT + number:05d}.*"):
            shutil.copy(path, spoilt)
        spoil(spoilt / f"p{COUNT + number:05d}.png")
    ended = scenewright("run", write_job(folder / "job.json", folder / "in", folder / "out", **SEVERAL_SHARDS))
    assert ended.code == 1, "bad files are told by the exit code"
    return folder


def test_every_sound_image_is_a_pair_and_every_bad_one_is_reported_with_its_reason(finished: Path) -> None:
    manifest = json_lines(finished / "out" / "manifest.jsonl")
    assert [entry["id"] for entry in manifest] == [f"p{number:05d}" for number in range(COUNT)]
    with (finished / "out" / "dropped.csv").open() as file:
        dropped = {row["sample"]: row["reason"] for row in csv.DictReader(file)}
    assert dropped == {f"p{COUNT + number:05d}": reason for number, reason in enumerate(FAULTS)}
    summary = json.loads((finished / "out" / "summary.json").read_text())
    assert summary["samples"]["rejected"] == 1, "a picture without a person is no failure"
    assert summary["samples"]["failed"] == len(FAULTS) - 1


def test_the_files_lie_where_the_data_generation_puts_them(finished: Path) -> None:
    output = finished / "out"
    assert_consistent(output)
    expected = {
        "stage_1": {"foreground.png", "background.png", "mask.png", "alpha.png"},
        "stage_2": {"albedo.png"},
        "stage_3": {"degraded.png", "params.json", "normals.png", "light.png"},
        "stage_3_5": {"composite.png"},
        "outputs": {"input.png", "albedo.png", "alpha.png", "output.png", "foreground.png", "metadata.json"},
    }
    for folder, endings in expected.items():
        assert {path.name for path in (output / folder).iterdir()} == {
            f"p{number:05d}_{ending}" for number in range(COUNT) for ending in endings
        }


def test_the_background_is_the_photographs_own_to_the_last_bit_and_the_person_is_not(finished: Path) -> None:
    output = finished / "out"
    for number in range(COUNT):
        before, after, alpha = (
            cv2.imread(str(output / place.format(f"p{number:05d}")), cv2.IMREAD_UNCHANGED)
            for place in ("outputs/{}_input.png", "outputs/{}_output.png", "stage_1/{}_alpha.png")
        )
        assert np.array_equal(before[alpha == 0], after[alpha == 0])
        assert np.abs(before[alpha == 255].astype(int) - after[alpha == 255]).mean() > 1
        assert (alpha == 0).mean() > 0.2


def test_an_unchanged_run_starts_no_stage(finished: Path) -> None:
    before = lasting_files(finished / "out")
    ended = scenewright("run", finished / "job.json")
    assert ended.steps() == {"index", "publish"}
    assert lasting_files(finished / "out") == before


def test_another_ambient_range_runs_stages_3_and_3_5_again_and_nothing_else(finished: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(finished, tmp_path / "copy")
    before, files = done_records(copy / "out"), lasting_files(copy / "out")
    block = {**MASKED, "degradation": {"ambientRange": [0.3, 0.4]}}
    ended = scenewright("run", write_job(copy / "job.json", copy / "in", copy / "out", block, **SEVERAL_SHARDS))
    assert ended.steps() == {"index", "degrade", "recombine", "publish"}
    after = done_records(copy / "out")
    again = {name[0] for name in after if after[name][-1].at > before[name][-1].at}
    assert again == {"degrade", "recombine"}
    now = lasting_files(copy / "out")
    changed = {path for path in files if now[path] != files[path]}
    assert {"stage_3/p00000_degraded.png", "outputs/p00000_output.png"} <= changed
    assert not {path for path in changed if path.startswith(("stage_1", "stage_2"))}
    lights = [entry["metrics"]["degrade"]["light"] for entry in json_lines(copy / "out" / "manifest.jsonl")]
    earlier = [entry["metrics"]["degrade"]["light"] for entry in json_lines(finished / "out" / "manifest.jsonl")]
    assert all(0.3 <= light["ambient"] <= 0.4 for light in lights)
    assert [light["direction"] for light in lights] == [light["direction"] for light in earlier]


def test_keep_only_takes_folders_away_and_a_new_one_runs_its_own_stage(finished: Path, tmp_path: Path) -> None:
    fresh = write_job(tmp_path / "fresh.json", finished / "in", tmp_path / "fresh", {**MASKED, "keep": ["outputs"]})
    assert scenewright("run", fresh).code == 1, "bad files are told by the exit code"
    copy = shutil.copytree(finished, tmp_path / "copy")
    output, all_of_it = copy / "out", lasting_files(copy / "out")

    def run(*keep: str) -> tuple[set[str], set[str]]:
        """Steps that were started, and stages that made something, when these folders are kept."""
        before = done_records(output)
        block = {**MASKED, "keep": list(keep)}
        ended = scenewright("run", write_job(copy / "job.json", copy / "in", output, block, **SEVERAL_SHARDS))
        assert ended.code == 1
        after = done_records(output)
        return ended.steps(), {name[0] for name in after if after[name][-1].at > before[name][-1].at}

    assert run("outputs") == ({"index", "publish"}, set())
    assert lasting_files(output) == lasting_files(tmp_path / "fresh")
    assert not [path.name for path in output.iterdir() if path.name.startswith("stage_")]
    steps, again = run("outputs", "stage_3")
    assert again == {"degrade"} and not steps & {"segment", "albedo"}
    assert {path.name for path in output.iterdir() if path.is_dir()} == {".scenewright", "outputs", "stage_3"}
    assert run("outputs", "stage_1", "stage_2", "stage_3", "stage_3_5")[1] == {"segment", "albedo", "recombine"}
    assert lasting_files(output) == all_of_it


def test_a_picture_without_a_person_is_a_result_and_no_failure(tmp_path: Path) -> None:
    write_portraits(tmp_path / "in", 3, side=64)
    for nobody, code in (("p00001", 0), ("p00000", 0), ("p00002", 1)):
        FAULTS["no-subject"](tmp_path / "in" / f"{nobody}.png")
        ended = scenewright("run", write_job(tmp_path / "job.json", tmp_path / "in", tmp_path / "out"))
        assert ended.code == code, "only when nothing at all is left"
    assert ended.job["reason"] == "NothingLeft"
    assert ended.job["message"] == "nothing is left; 3 of 3 samples rejected in segment: no-subject"
    assert ended.job["failures"] == []


def test_two_runs_of_the_same_spec_are_byte_identical(finished: Path, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.json", finished / "in", tmp_path / "out")
    assert scenewright("run", job, environment={"OMP_NUM_THREADS": "1"}).code == 1
    first, second = lasting_files(finished / "out"), lasting_files(tmp_path / "out")
    assert first == second
    assert {"metadata.jsonl", "croissant.json", "manifest.jsonl", "outputs/p00000_output.png"} <= first.keys()
    assert first["outputs/p00000_output.png"] != first["outputs/p00001_output.png"]


def test_variants_share_photograph_and_albedo_and_only_a_new_one_is_made(finished: Path, tmp_path: Path) -> None:
    block = {**MASKED, "variants": 2, "keep": ["outputs"], "caption": {"backend": "classic"}}
    spec = {"input": {"uri": str(finished / "in"), "select": {"limit": 2}}}
    job = write_job(tmp_path / "job.json", finished / "in", tmp_path / "out", block, **spec)
    assert scenewright("run", job).code == 0
    names = {path.name for path in (tmp_path / "out" / "outputs").iterdir()}
    shared = {f"p0000{number}_{kind}.png" for number in (0, 1) for kind in ("input", "albedo", "alpha", "foreground")}
    own = {f"p0000{n}_v{v}_{kind}" for n in (0, 1) for v in (0, 1) for kind in ("output.png", "metadata.json")}
    assert names == shared | own
    assert not {path.name for path in (tmp_path / "out").iterdir()} & {"stage_1", "stage_2", "stage_3", "stage_3_5"}
    lights = {entry["id"]: entry["light_direction"] for entry in json_lines(tmp_path / "out" / "metadata.jsonl")}
    assert len({tuple(direction) for direction in lights.values()}) == 4
    before = done_records(tmp_path / "out")
    job = write_job(tmp_path / "job.json", finished / "in", tmp_path / "out", {**block, "variants": 3}, **spec)
    assert scenewright("run", job).code == 0
    new = {name for name in done_records(tmp_path / "out") if name not in before}
    assert new == {(stage, f"p0000{number}_v2") for stage in STAGES[2:] for number in (0, 1)}


def test_a_list_names_images_ids_masks_and_boxes(finished: Path, tmp_path: Path) -> None:
    mask = {"mask": str(finished / "in" / "p00003.mask.png"), "person": "Anna"}
    rows = [
        {"uri": str(finished / "in" / "p00003.png"), "id": "anna", **mask},
        *({"uri": str(finished / "in" / "p00003.png"), "id": f"anna{number}", **mask} for number in range(5)),
        {"file_name": "nowhere.png"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    block = {**MASKED, "split": {"validation": 0.3, "test": 0.4}}
    ended = scenewright("run", write_job(tmp_path / "job.json", tmp_path / "list.jsonl", tmp_path / "out", block))
    assert ended.code == 1
    entries = json_lines(tmp_path / "out" / "metadata.jsonl")
    assert "anna" in {entry["id"] for entry in entries}
    assert len(entries) == 6 and len({entry["split"] for entry in entries}) == 1, "all pictures of Anna stay together"
    assert (tmp_path / "out" / "outputs" / "anna_input.png").read_bytes() == (
        finished / "out" / "outputs" / "p00003_input.png"
    ).read_bytes()
    assert "nowhere,index,InputMissing" in (tmp_path / "out" / "dropped.csv").read_text()


def test_hugging_face_datasets_open_the_result(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    found = datasets.load_dataset(
        "imagefolder", data_dir=str(finished / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(found) == COUNT
    row = found[3]
    output = cv2.imread(str(finished / "out" / "outputs" / f"{row['id']}_output.png"))[..., ::-1]
    assert np.array_equal(np.asarray(row["degraded"]), output)
    assert all(np.asarray(row[role]).shape == output.shape for role in ("target", "albedo"))
    assert np.asarray(row["alpha"]).shape == output.shape[:2]
    assert np.linalg.norm(row["light_direction"]) == pytest.approx(1.0)


def test_the_pages_snippet_trains_on_the_result(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    page = (Path(__file__).parents[2] / "docs" / "relight.md").read_text()
    (snippet,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Adam" in block]
    exec(snippet.replace("results/portraits", str(finished / "out")), {})
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if "loss" in line]
    assert len(losses) > 1 and losses[-1] < losses[0]


def test_mlcroissant_opens_the_result(finished: Path) -> None:
    import mlcroissant

    found = mlcroissant.Dataset(str(finished / "out" / "croissant.json"))
    samples = list(found.records("samples"))
    assert [row["samples/id"].decode() for row in samples] == [f"p{number:05d}" for number in range(COUNT)]
    truth = json_lines(finished / "out" / "metadata.jsonl")
    assert samples[4]["samples/ambient"] == pytest.approx(truth[4]["ambient"])
    for kind in ("degraded", "targets", "albedos", "alphas", "foregrounds"):
        images = {row[f"{kind}/id"].decode(): row[f"{kind}/image"] for row in found.records(kind)}
        assert len(images) == COUNT
        assert images["p00002"].size == (96, 96)


def test_the_page_tells_counts_reasons_and_licences(finished: Path) -> None:
    page = (finished / "out" / "report.html").read_text()
    for reason in FAULTS:
        assert reason in page
    assert "10 done" in page
    assert "10 pairs of before and after" in page
    assert "no weights" in page
