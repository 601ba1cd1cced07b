"""Processes that are told to end, or are killed, at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from plugins import with_plugins
from toy_harness import Toy
from toy_pipeline import write_inputs


def await_runs(toy: Toy, count: int) -> None:
    """Waits until that many samples' code has started."""
    deadline = time.monotonic() + 30
    while len(toy.runs()) < count:
        assert time.monotonic() < deadline, toy.console()
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_143_and_the_same_step_continues(toy: Toy, number: signal.Signals) -> None:
    toy.parameters = {**toy.parameters, "seconds": 0.4}
    process = toy.start("double", fold_index=True)
    await_runs(toy, 2)
    process.signal(number)
    assert process.wait(20) == 143
    assert toy.report("double").reason == "Terminated"
    done = {record.sample for record in toy.records("double") if record.state == "done"}
    assert "s0000" in done
    assert len(done) < 3
    assert toy.step("double") == 0
    assert [run for run in toy.runs() if run[1] in done] == [("double", sample) for sample in sorted(done)]
    assert not any(record.state == "started" for record in toy.records("double"))


def test_sigterm_lets_a_sample_finish_that_can(toy: Toy) -> None:
    toy.parameters = {**toy.parameters, "seconds": 1.0}
    process = toy.start("double", fold_index=True)
    await_runs(toy, 1)
    process.signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert [record.state for record in toy.records("double")] == ["done"]


def test_sigterm_abandons_a_sample_that_cannot_finish_within_the_grace(toy: Toy) -> None:
    toy.parameters = {**toy.parameters, "seconds": 60.0}
    process = toy.start("double", {"SCENEWRIGHT_GRACE_SECONDS": "3"}, fold_index=True)
    await_runs(toy, 1)
    time.sleep(0.5)
    started = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert time.monotonic() - started < 3.5
    assert toy.records("double") == []


def test_code_that_never_looks_up_is_left_within_the_grace(toy: Toy) -> None:
    """The stage neither reports progress nor returns: a watching thread ends the process."""
    toy.faults(deaf="s0000", seconds=60.0)
    process = toy.start("double", {"SCENEWRIGHT_GRACE_SECONDS": "2"}, fold_index=True)
    await_runs(toy, 1)
    started = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert time.monotonic() - started < 4
    assert toy.records("double") == []


def test_a_signal_right_at_the_start_is_no_success(toy: Toy) -> None:
    quick = toy.parameters
    toy.parameters = {**quick, "seconds": 1.0}  # else a quiet machine is done before the signal comes, rightly with 0
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = toy.start("double", fold_index=True)
        time.sleep(delay)
        process.signal(signal.SIGTERM)
        assert process.wait(20) in (143, -15)
    toy.parameters = quick
    assert toy.step("double", fold_index=True) == 0


def test_the_death_of_the_parent_ends_the_process(toy: Toy) -> None:
    toy.parameters = {**toy.parameters, "seconds": 60.0}
    read_end, write_end = os.pipe()
    process = toy.start_afresh(
        "double", {"SCENEWRIGHT_PARENT_FD": str(read_end)}, pass_fds=(read_end,), fold_index=True
    )
    os.close(read_end)
    try:
        await_runs(toy, 1)
        os.close(write_end)
        assert process.wait(20) == 143
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def test_a_kill_while_publishing_is_repaired_by_publishing_again(toy: Toy, tmp_path: Path) -> None:
    toy.folded()
    whole = toy.results()
    toy.parameters = {**toy.parameters, "factor": 3}
    reference = Toy(tmp_path / "reference", parameters={"factor": 3})
    reference.folded()
    toy.new_run()
    assert [toy.step(step) for step in ("index", "double", "sum")] == [0, 0, 0]
    for delay in (0.0, 0.01, 0.02, 0.03, 0.05):
        process = toy.start("publish")
        time.sleep(delay)
        process.signal(signal.SIGKILL)
        process.wait(20)
    assert toy.step("publish") == 0
    assert toy.results() != whole
    assert toy.results() == reference.results()


@dataclass
class Kills:
    """What killing a run's processes at random moments came to.

    Attributes:
        stored: attempt that stored the `done` of each stage and sample.
        hits: processes that were killed before they ended.
        survivors: `done` records that a killed process had stored, and that the next ones built on.
    """

    stored: dict[tuple[str, str], str] = field(default_factory=dict)
    hits: int = 0
    survivors: int = 0

    def look(self, toy: Toy, step: str, hit: bool) -> None:
        """After every process: each stored `done` is still the only one of its sample."""
        for record in toy.records(step):
            if record.state == "done":
                known = self.stored.setdefault((step, record.sample), record.attempt)
                assert known == record.attempt, f"{record.sample} was done again after it was stored"
                self.survivors += hit


def kill_at_random_until_done(toy: Toy, seed: int) -> Kills:
    """Runs both stages, and kills the first three processes of each at random moments."""
    draws = random.Random(seed)
    kills = Kills()
    for step in ("double", "sum"):
        for attempt in range(10):
            process = toy.start(step, fold_index=True)
            if attempt < 3:
                process.poll(draws.uniform(0.01, 0.3))
                process.signal(signal.SIGKILL)
            code = process.wait(60)
            kills.hits += code == -9
            kills.look(toy, step, hit=code == -9)
            if code == 0:
                break
    return kills


KILL_PARAMETERS = {"seconds": 0.06}
KILL_OPTIONS = {"retries": {"perSample": 9, "perShard": 10}}
"""A sample that is hit by chance must not count as one that takes the process down."""


@pytest.mark.slow
def test_killed_processes_leave_records_that_the_next_ones_build_on(toy: Toy) -> None:
    """The other test of random kills would say nothing if no killed process had ever stored a record."""
    toy.parameters = {**toy.parameters, "seconds": 0.4}
    toy.environment = {"TOY_FLUSH_SECONDS": "0.02"}
    process = toy.start("double", fold_index=True)
    await_runs(toy, 3)
    time.sleep(0.3)
    process.signal(signal.SIGKILL)
    assert process.wait(20) == -9
    kills = Kills()
    kills.look(toy, "double", hit=True)
    assert kills.survivors >= 1
    assert toy.step("double") == 0
    kills.look(toy, "double", hit=False)
    assert len(kills.stored) == 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kills_at_random_moments_change_nothing_and_nothing_stored_is_done_twice(
    toy: Toy, seed: int, uninterrupted: dict[str, bytes]
) -> None:
    write_inputs(toy.input, 6)
    toy.parameters = {**toy.parameters, **KILL_PARAMETERS}
    toy.options = KILL_OPTIONS
    toy.environment = {"TOY_FLUSH_SECONDS": "0.02"}
    kills = kill_at_random_until_done(toy, seed)
    assert kills.hits >= 1
    assert len(kills.stored) == 12
    assert toy.step("publish") == 0
    assert toy.results() == uninterrupted


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tree that a run without faults leaves; not what a run of other parameters leaves."""
    job = Toy(tmp_path_factory.mktemp("uninterrupted"), samples=6, parameters=dict(KILL_PARAMETERS))
    job.options = KILL_OPTIONS
    job.faults()
    job.folded()
    other = Toy(tmp_path_factory.mktemp("other"), samples=6, parameters={"factor": 5})
    other.folded()
    assert job.results() != other.results()
    assert json.loads(job.results()["summary.json"])["samples"]["done"] == 6
    return job.results()


def test_index_and_publish_are_left_at_once(toy: Toy) -> None:
    toy.folded()
    (toy.reports / "progress.json").write_text("")
    process = toy.start("publish", with_plugins(toy="toy_broken:SLOW_REPORTER"), job={"other": 1})
    deadline = time.monotonic() + 20
    while '"step": "publish", "shard": 0, "phase": "publishing"' not in (toy.reports / "progress.json").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert time.monotonic() - started < 3
    assert toy.step("publish", job={"other": 1}) == 0
