"""Same manifest, same bytes: run again, with other threads, killed at any moment; and nothing is done twice."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from killing import kill_tree, start
from scene_jobs import (
    COARSE,
    STAGES,
    assert_consistent,
    lasting_files,
    made_by,
    published,
    scenewright,
    visible_files,
    write_manifest,
    write_photograph,
)

pytestmark = pytest.mark.slow

SAMPLES = ("a", "b")
THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
KILLS = int(os.environ.get("SCENEWRIGHT_KILLS", "6"))
"""Each costs the start of several processes; ``make soak`` sets 20."""
RECORDS = len(STAGES) * len(SAMPLES)
LONGEST_WAIT = 2.0
"""Seconds after the record that a kill waits for: it strikes in the middle of work, not right after storing."""


def job(folder: Path, **changes: Any) -> Path:
    """A job of two photographs in a folder of its own."""
    for seed, name in enumerate(SAMPLES):
        write_photograph(folder / "in" / f"{name}.png", seed)
    return write_manifest(folder / "job.json", folder / "in", folder / "out", {**COARSE, **changes})


@dataclass(frozen=True)
class Whole:
    """A run that nobody disturbed: its folder."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "out"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A finished run with two threads; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("whole")
    ended = scenewright("run", job(folder), environment=dict.fromkeys(THREADS, "2"))
    assert ended.code == 0, ended.stderr
    assert ended.steps() >= set(STAGES)
    return Whole(folder)


@pytest.fixture
def copied(whole: Whole, tmp_path: Path) -> Path:
    """A copy of that run to go on with."""
    shutil.copytree(whole.folder, tmp_path / "copy")
    job(tmp_path / "copy")
    return tmp_path / "copy"


def test_another_run_with_another_number_of_threads_gives_the_same_bytes(whole: Whole, tmp_path: Path) -> None:
    ended = scenewright("run", job(tmp_path), environment=dict.fromkeys(THREADS, "1"))
    assert ended.code == 0, ended.stderr
    first, second = lasting_files(whole.output), lasting_files(tmp_path / "out")
    assert first == second
    assert len(first) > 20
    assert visible_files(whole.output) - first.keys() == {path for path in published(whole.output) if _may_differ(path)}
    assert first["a/gf.ply"] != first["b/gf.ply"]


def _may_differ(path: str) -> bool:
    """Pages hold times, recordings random ids."""
    return path.endswith(("report.html", ".rrd"))


def test_an_unchanged_run_starts_no_stage_and_changes_nothing(copied: Path) -> None:
    before, records = lasting_files(copied / "out", recordings=True), made_by(copied / "out")
    ended = scenewright("run", copied / "job.json")
    assert ended.code == 0
    assert ended.steps() == {"index", "publish"}
    assert lasting_files(copied / "out", recordings=True) == before
    assert made_by(copied / "out") == records


def test_a_coarse_parameter_runs_coarse_and_render_again_and_nothing_else(copied: Path) -> None:
    before, bytes_before = made_by(copied / "out"), lasting_files(copied / "out")
    ended = scenewright("run", copied / "job.json", "--set", "vistadream.coarse.iterationsPerFrame=20")
    assert ended.code == 0
    assert ended.steps() == {"index", "coarse", "render", "publish"}
    new = made_by(copied / "out").keys() - before.keys()
    assert {(stage, sample) for stage, _, sample in new} == {
        (stage, sample) for stage in ("coarse", "render") for sample in SAMPLES
    }
    now = lasting_files(copied / "out")
    changed = {path for path in bytes_before if now.get(path) != bytes_before[path]}
    assert {"a/gf.ply", "b/gf.ply", "a/orbit.mp4"} <= changed, "comparing bytes does find what differs"
    assert not changed & {"a/input.png", "a/outpaint.png", "a/depth.png"}


@pytest.mark.soak
def test_kills_at_random_moments_leave_the_same_tree_and_nothing_stored_is_done_again(
    whole: Whole, tmp_path: Path
) -> None:
    """Kills everything at random moments and gives the same command; where that gets through, begins anew."""
    draws = random.Random(8)
    rounds: list[list[int]] = []
    while sum(map(len, rounds)) < KILLS:
        manifest = job(tmp_path / str(len(rounds)))
        awaited = sorted(draws.choices(range(RECORDS), k=KILLS - sum(map(len, rounds))))
        rounds.append(records_after_kills(manifest, awaited, draws))
        ended = scenewright("run", manifest)
        assert ended.code == 0, ended.stderr
        assert all(len(makers) == 1 for makers in made_by(manifest.parent / "out").values())
        assert lasting_files(manifest.parent / "out") == lasting_files(whole.output)
        assert_consistent(manifest.parent / "out")
    print(f"records stored after each kill, of {RECORDS}, by output: {rounds}")
    assert len({count for counts in rounds for count in counts}) >= 3, "kills hit at all stages of progress"


def records_after_kills(manifest: Path, awaited: Sequence[int], draws: random.Random) -> list[int]:
    """Starts and kills the same command until it gets through before its kill; `done` records after each kill.

    What was stored before a kill must be there after the next one, made by the same process.

    Args:
        awaited: how many records must be stored before each kill. Progress and not the clock decides when to strike:
            a machine may be twice as fast or slow as a minute ago.
        draws: of the seconds that go by after that.
    """
    counts: list[int] = []
    stored: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
    for least in awaited:
        process = start("run", manifest)
        await_records(process, manifest.parent / "out", least)
        time.sleep(draws.uniform(0.3, LONGEST_WAIT))
        if not kill_tree(process):
            break
        found = made_by(manifest.parent / "out")
        assert stored.items() <= found.items(), "something stored was lost, or was done again"
        stored = found
        counts.append(len(found))
    return counts


def await_records(process: subprocess.Popen[bytes], output: Path, least: int, seconds: float = 240.0) -> None:
    """Returns when so many records are stored, or the process has ended."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and len(made_by(output)) < least:
        assert time.monotonic() < deadline, f"{least} records were never stored"
        time.sleep(0.05)


def test_a_kill_right_after_every_stage_costs_none_of_them(whole: Whole, tmp_path: Path) -> None:
    """Kills as soon as a stage has stored its records: the next command begins with the next stage."""
    manifest, output = job(tmp_path), tmp_path / "out"
    for stage in STAGES[:-1]:
        process = start("run", manifest)
        assert await_stored(output, stage), f"{stage} stored no record"
        before = made_by(output)
        kill_tree(process)
        assert before.items() <= made_by(output).items()
    ended = scenewright("run", manifest)
    assert ended.code == 0
    assert ended.steps() & set(STAGES) <= {"render"}
    assert lasting_files(output) == lasting_files(whole.output)


def await_stored(output: Path, stage: str, seconds: float = 120.0) -> bool:
    """Waits until all samples have a ``done`` of a stage."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if sum(name == stage for name, _, _ in made_by(output)) == len(SAMPLES):
            return True
        time.sleep(0.05)
    return False
