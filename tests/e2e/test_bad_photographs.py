"""Whatever lies in the input or is asked for: made rightly, or refused by name, and nothing half-written."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_images import BAD, BOMB_SIDE, GOOD
from PIL import Image
from scene_jobs import (
    COMMAND,
    SMALL,
    Ended,
    assert_agreement,
    assert_consistent,
    photograph,
    published,
    records,
    scenewright,
    visible_files,
    write_manifest,
    write_photograph,
)

from scenewright_stages.vision.gaussians.ply import read_ply

RESULTS = {"gf.ply", "orbit.mp4", "metrics.json", "input.png"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """One run over every good and every bad image at once."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "in").mkdir()
    for name, content in {**GOOD, **{name: content for name, (content, _) in BAD.items()}}.items():
        (folder / "in" / name).write_bytes(content)
    (folder / "in" / "void.png").write_bytes(b"")
    manifest = write_manifest(folder / "job.json", folder / "in", folder / "out", SMALL)
    return scenewright("run", manifest), folder / "out"


@pytest.mark.slow
def test_every_bad_image_is_dropped_with_its_reason_and_every_other_is_made(mixed: tuple[Ended, Path]) -> None:
    ended, output = mixed
    assert ended.code == 1, ended.stderr
    with (output / "dropped.csv").open() as file:
        dropped = {row["sample"]: (row["stage"], row["reason"]) for row in csv.DictReader(file)}
    expected = {name.split(".")[0]: ("outpaint", reason) for name, (_, reason) in BAD.items()}
    assert dropped == {**expected, "void": ("index", "EmptyFile")}
    made = {record.sample for record in records(output) if (record.stage, record.state) == ("render", "done")}
    assert made == {name.split(".")[0] for name in GOOD}
    assert_consistent(output)


@pytest.mark.slow
def test_the_messages_name_the_file_the_value_and_the_remedy(mixed: tuple[Ended, Path]) -> None:
    messages = {failure["sample"]: failure["message"] for failure in mixed[0].job["failures"]}
    for text, sample in {
        "bomb.png has 900000000 pixels": "bomb",
        "Scale it down": "bomb",
        "dot.png has 1x1 pixels; each side needs at least 16": "dot",
        "truncated.jpg is truncated": "truncated",
        "corrupt.png is corrupt": "corrupt",
        "Convert it to JPEG": "text",
    }.items():
        assert text in messages[sample]


@pytest.mark.slow
def test_bad_images_leave_no_file_and_good_ones_all_of_theirs(mixed: tuple[Ended, Path]) -> None:
    files = visible_files(mixed[1])
    folders = {path.split("/")[0] for path in files if "/" in path}
    assert folders == {name.split(".")[0] for name in GOOD}
    for folder in folders:
        assert {f"{folder}/{name}" for name in RESULTS} <= files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deep", "cmyk", "palette", "animated"])
def test_odd_formats_show_what_the_plain_one_shows(mixed: tuple[Ended, Path], name: str) -> None:
    """An inverted CMYK, the high byte alone, wrong palette or the second frame would all be far off."""
    plain, other = (_pixels(mixed[1] / sample / "input.png") for sample in ("plain", name))
    second_frame = photograph(seed=1).astype(np.float64)
    allowed = {"deep": 0.51}.get(name, 6)
    assert np.abs(other - plain).mean() < allowed
    for wrong in (second_frame, 255 - plain, np.floor(plain / 16) * 16):
        assert np.abs(wrong - plain).mean() > allowed


@pytest.mark.slow
def test_a_photograph_lies_upright_and_transparent_parts_are_white(mixed: tuple[Ended, Path]) -> None:
    rotated = _pixels(mixed[1] / "rotated" / "input.png")
    assert rotated.shape[0] > rotated.shape[1]
    assert rotated[:8, :, 2].mean() > rotated[-8:, :, 2].mean() + 40, "the sky is above"
    assert (_pixels(mixed[1] / "alpha" / "input.png")[:, :15] == 255).all()


def _pixels(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float64)


@pytest.mark.slow
def test_a_sole_image_that_cannot_be_read_is_refused_leaves_no_result_and_costs_no_memory(tmp_path: Path) -> None:
    peaks = {name: _peak_of_a_refusal(tmp_path / name.split(".")[0], name) for name in ("truncated.jpg", "bomb.png")}
    # On a busy machine a second process may begin before the first has ended, which takes 100 MB more.
    assert peaks["bomb.png"] < peaks["truncated.jpg"] + BOMB_SIDE**2 // 2, "the bomb's pixels take twice that at least"


def _peak_of_a_refusal(folder: Path, name: str) -> int:
    """Runs a bad image alone; returns the bytes that the largest process held."""
    content, reason = BAD[name]
    folder.mkdir()
    (folder / name).write_bytes(content)
    ended, peak = _measured("run", write_manifest(folder / "job.json", folder / name, folder / "out", SMALL))
    assert ended.code == 10
    assert [failure["reason"] for failure in ended.job["failures"]] == [reason]
    assert name in ended.job["failures"][0]["message"]
    assert visible_files(folder / "out") == {"dropped.csv", "manifest.jsonl", "report.html", "summary.json"}
    assert_consistent(folder / "out")
    print(f"{name}: {peak / 2**20:.0f} MiB at most")
    return peak


_MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def _measured(*arguments: object) -> tuple[Ended, int]:
    """A command, and the bytes that the largest of all its processes held."""
    peak = Path(str(arguments[1])).parent / "peak.txt"
    command = [sys.executable, "-c", _MEASURE, str(peak), *COMMAND, *map(str, arguments), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    ended = Ended(done.returncode, done.stdout, done.stderr)
    assert_agreement(ended)
    return ended, int(peak.read_text()) * 1024


@pytest.mark.parametrize("kind", ["missing file", "folder of other things"])
def test_an_input_without_a_photograph_is_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    source = tmp_path / ("nothing.png" if kind == "missing file" else "nothing")
    if kind == "folder of other things":
        source.mkdir()
        (source / "notes.txt").write_text("text")
        (source / "x.depth.png").write_bytes(GOOD["plain.png"])
    manifest = write_manifest(tmp_path / "job.json", source, tmp_path / "out", SMALL)
    ended = scenewright("run", manifest)
    assert ended.code == 10
    assert [problem["field"] for problem in ended.problems] == ["spec.input.uri"]
    assert str(source) in str(ended.problems[0]["value"])
    assert ended.problems[0]["remedy"]
    assert not (tmp_path / "out").exists()


def test_an_output_without_the_right_to_write_is_refused_before_anything_runs(tmp_path: Path) -> None:
    write_photograph(tmp_path / "a.png")
    # Root may write everywhere but here.
    target = Path("/proc/scenewright-output") if os.geteuid() == 0 else Path("/root/scenewright-output")
    manifest = write_manifest(tmp_path / "job.json", tmp_path / "a.png", target, SMALL)
    ended = scenewright("run", manifest)
    assert ended.code == 10
    assert [problem["field"] for problem in ended.problems] == ["spec.output.uri"]
    assert str(target) in str(ended.problems[0]["value"])
    assert ended.problems[0]["remedy"]
    assert not target.exists()


@pytest.mark.slow
def test_an_output_that_becomes_full_is_refused_and_heals(tmp_path: Path, small_disk: Path) -> None:
    write_photograph(tmp_path / "a.png")
    manifest = write_manifest(tmp_path / "job.json", tmp_path / "a.png", small_disk / "out", SMALL)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((1 << 20) - (72 << 10)))
    ended = scenewright("run", manifest)
    assert ended.code == 10
    assert "no space is left" in str(ended.job["message"]) + str(ended.problems)
    assert not (small_disk / "out" / ".scenewright" / "published.json").exists()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    healed = scenewright("run", manifest)
    assert healed.code == 0, healed.stderr
    assert_consistent(small_disk / "out")


@pytest.fixture(scope="module")
def measured_depth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """One run over photographs with measured depth: whole, half NaN, all NaN, as a 16-bit PNG, and none."""
    folder = tmp_path_factory.mktemp("depth")
    source = folder / "in"
    for seed, name in enumerate(("whole", "half", "void", "deep", "bare")):
        write_photograph(source / f"{name}.png", seed)
    depth = np.full((64, 64), 2.0, np.float32) + np.linspace(0, 1, 64, dtype=np.float32)[:, None]
    np.save(source / "whole.depth.npy", depth)
    holey = depth.copy()
    holey[:, :32] = np.nan
    holey[0, 40:] = np.inf
    np.save(source / "half.depth.npy", holey)
    np.save(source / "void.depth.npy", np.full_like(depth, np.nan))
    Image.fromarray((depth * 1000).astype(np.uint16)).save(source / "deep.depth.png")
    block = {**SMALL, "depth": {"backend": "provided"}, "fieldOfViewDegrees": 60}
    manifest = write_manifest(folder / "job.json", source, folder / "out", block)
    return scenewright("run", manifest), folder / "out"


@pytest.mark.slow
def test_a_depth_map_is_no_sample_and_an_unusable_one_drops_its_sample(measured_depth: tuple[Ended, Path]) -> None:
    ended, output = measured_depth
    assert ended.code == 1, ended.stderr
    assert ended.job["samples"] == 5
    failures = {failure["sample"]: failure for failure in ended.job["failures"]}
    assert set(failures) == {"void", "bare"}
    assert failures["bare"]["reason"] == "DepthMissing"
    assert "void.depth.npy" in failures["void"]["message"]
    assert "no valid value" in failures["void"]["message"]
    assert_consistent(output)
    assert {path.split("/")[0] for path in published(output) if path.endswith("gf.ply")} == {"whole", "half", "deep"}


@pytest.mark.slow
def test_depth_that_is_not_a_number_makes_no_gaussian(measured_depth: tuple[Ended, Path]) -> None:
    whole, half = (read_ply(measured_depth[1] / name / "gf.ply") for name in ("whole", "half"))
    assert len(whole) == 64 * 64
    assert len(half) == 64 * 32 - 24
    means = half.means.numpy()
    assert np.isfinite(means).all()
    assert (means[:, 0] > -0.02).all(), "all lie in the right half, where depth was measured"
    assert (whole.means.numpy()[:, 0] < -0.02).mean() > 0.4
