"""Processes that are told to end, or are killed, at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from toy_harness import Toy

SLOW = {"seconds": 0.15}


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
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = toy.start("double", fold_index=True)
        time.sleep(delay)
        process.signal(signal.SIGTERM)
        assert process.wait(20) in (143, -15)
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


def kill_at_random_until_done(toy: Toy, seed: int) -> tuple[dict[tuple[str, str], float], int]:
    """Kills processes of a run at random moments.

    Returns the time of every `done` that was stored, by stage and sample, and how many processes were hit.
    """
    draws = random.Random(seed)
    stored: dict[tuple[str, str], float] = {}
    hits = 0
    for step in ("double", "sum"):
        for attempt in range(40):
            process = toy.start(step, fold_index=step == "double" and attempt == 0)
            if attempt < 3:
                process.poll(draws.uniform(0.02, 0.5))
                process.signal(signal.SIGKILL)
            code = process.wait(60)
            hits += code == -9
            if code == 0:
                break
            if step == "double" and not (toy.output / ".scenewright/runs" / toy.run / "sum.jsonl").exists():
                assert toy.step("index") == 0
        for record in toy.records(step):
            if record.state == "done":
                assert (step, record.sample) not in stored, f"{record.sample} was done twice"
                stored[(step, record.sample)] = record.at
    return stored, hits


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_kills_at_random_moments_change_nothing_and_nothing_stored_is_done_twice(
    toy: Toy, seed: int, uninterrupted: dict[str, bytes]
) -> None:
    toy.parameters = {**toy.parameters, "seconds": 0.05}
    # A sample that is hit by chance must not count as one that takes the process down.
    toy.options = {"retries": {"perSample": 9, "perShard": 10}}
    stored, hits = kill_at_random_until_done(toy, seed)
    assert len(stored) == 6
    assert hits >= 1
    assert toy.step("publish") == 0
    assert toy.results() == uninterrupted


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The tree that a run without faults leaves; not what a run of other parameters leaves."""
    job = Toy(tmp_path_factory.mktemp("uninterrupted"), parameters={"seconds": 0.05})
    job.options = {"retries": {"perSample": 9, "perShard": 10}}
    job.faults()
    job.folded()
    other = Toy(tmp_path_factory.mktemp("other"), parameters={"factor": 5})
    other.folded()
    assert job.results() != other.results()
    assert json.loads(job.results()["summary.json"])["samples"]["done"] == 3
    return job.results()
