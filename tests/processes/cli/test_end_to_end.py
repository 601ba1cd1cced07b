"""The command line with real stage processes and a toy pipeline: run, rerun, plan, retry, report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agreement import assert_numbers_agree
from plugins import with_plugins

from scenewright_stages.contract import layout

MANIFEST = """
apiVersion: scenewright.io/v1alpha1
kind: SceneJob
metadata: {name: toy}
spec:
  input: {uri: ./in}
  output: {uri: ./out}
  toy: {faults: {sampleError: bad}}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("s1", "s2"):
        (tmp_path / "in" / f"{name}.txt").write_text("1 2 3")
    (tmp_path / "job.yaml").write_text(MANIFEST)
    return tmp_path / "job.yaml"


def scenewright(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **with_plugins(toy="toy_pipeline:PIPELINE")}
    command = [sys.executable, "-m", "scenewright.cli.main", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    output = Path(str(arguments[1])).parent / "out" if len(arguments) > 1 else Path()
    if arguments[0] in ("run", "retry") and (output / layout.SUMMARY).exists() and done.returncode in (0, 1):
        told = json.loads(done.stdout)["jobs"][0] if "-o" in arguments else None
        assert_numbers_agree(output, told, "" if told else done.stdout)
    return done


def planned(job: Path, *options: str) -> dict[str, dict[str, Any]]:
    result = scenewright("plan", job, *options, "-o", "json")
    assert result.returncode == 0, result.stderr
    return {stage["name"]: stage for stage in json.loads(result.stdout)["jobs"][0]["stages"]}


@pytest.mark.slow
def test_what_is_planned_is_run_and_what_is_done_is_up_to_date(job: Path) -> None:
    assert {name: stage["todo"] for name, stage in planned(job).items()} == {"double": 2, "sum": 2}
    assert not (job.parent / "out").exists(), "a plan writes nothing"
    first = scenewright("run", job)
    assert first.returncode == 0, first.stderr
    assert "toy: 2 samples done" in first.stdout
    assert "\x1b" not in first.stdout
    assert (job.parent / "out" / "s1" / "result.json").is_file()
    stages = planned(job, "--set", "sum.offset=1")
    assert {name: stage["todo"] for name, stage in stages.items()} == {"double": 0, "sum": 2}
    assert stages["sum"]["reasons"] == {"parameters changed": 2}
    again = scenewright("run", job, "-o", "json")
    ended = json.loads(again.stdout)
    assert (again.returncode, ended["exitCode"], ended["jobs"][0]["reason"]) == (0, 0, "Complete")
    assert set(ended["jobs"][0]["stepSeconds"]) == {"index", "publish"}
    shown = scenewright("report", job)
    assert "sum: 2 done" in shown.stdout
    assert "report.html" in shown.stdout


@pytest.mark.slow
def test_failed_samples_give_1_and_are_tried_again_by_retry_alone(job: Path) -> None:
    (job.parent / "in" / "bad.txt").write_text("1")
    first = scenewright("run", job)
    assert first.returncode == 1
    assert "failed: bad: double: ToyBroken" in first.stdout
    again = scenewright("run", job)
    assert again.returncode == 1
    assert "double: nothing to run (2 done, 1 failed before)" in again.stdout
    assert "double: done" in scenewright("retry", job).stdout
    assert "double: done" in scenewright("run", job, "--set", "execution.retryToken=second").stdout
    assert "double: nothing to run" in scenewright("run", job, "--set", "execution.retryToken=second").stdout


@pytest.mark.parametrize("content", [None, "empty", "other"])
def test_input_without_a_sample_is_refused_and_nothing_is_written(job: Path, content: str | None) -> None:
    target = job.parent / "nothing"
    if content is not None:
        target.mkdir()
    if content == "other":
        (target / "a.xyz").write_text("1")
    result = scenewright("run", job, "--input", target)
    assert result.returncode == 10
    assert result.stderr.startswith(f"error: spec.input.uri: '{target}")
    assert not (job.parent / "out").exists()


def test_an_output_that_cannot_be_written_is_refused(job: Path) -> None:
    (job.parent / "file").write_text("in the way")
    result = scenewright("run", job, "--output", job.parent / "file" / "out")
    assert result.returncode == 10
    assert result.stderr.startswith("error: spec.output.uri: ")
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_no_readable_sample_at_all_is_a_refusal(job: Path) -> None:
    for path in (job.parent / "in").iterdir():
        path.rename(path.with_name(f"bad-{path.name}"))
    result = scenewright("run", job)
    assert result.returncode == 10
    assert "no sample could be read" in result.stderr


@pytest.mark.slow
def test_force_runs_again_from_a_stage_on_and_executions_are_folders_of_their_own(job: Path) -> None:
    assert scenewright("run", job, "--execution", "new").returncode == 0
    (execution,) = (job.parent / "out").iterdir()
    assert (execution / "s1" / "result.json").is_file()
    forced = scenewright("run", job, "--execution", "last", "--start-from", "sum", "--force", "-o", "json")
    ended = json.loads(forced.stdout)
    assert (forced.returncode, set(ended["jobs"][0]["stepSeconds"])) == (0, {"index", "sum", "publish"})
    again = scenewright("run", job, "--execution", execution.name, "-o", "json")
    assert set(json.loads(again.stdout)["jobs"][0]["stepSeconds"]) == {"index", "publish"}
    stages = planned(job, "--execution", "last", "--force")
    assert {name: stage["reasons"] for name, stage in stages.items()} == {"double": {"forced": 2}, "sum": {"forced": 2}}
    assert [each.name for each in (job.parent / "out").iterdir()] == [execution.name]
