"""Long work in real processes: durable state across deaths and signals, time limits, and two ranks on one sample."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from last_records import latest
from plugins import with_plugins
from toy_harness import Started, start_worker
from toy_steps import Job
from toy_training import PIPELINE

from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record, deaths
from scenewright_stages.contract.reports import Report

SUM_OF_TWO_RANKS = 3.0


class Training(Job):
    """A job of the training pipeline with one sample, whose stage runs in processes of its own."""

    def start(self, **options: Any) -> Started:
        """Starts the process of the stage."""
        self.options = options
        variables = {
            **os.environ,
            **with_plugins(training="toy_training:PIPELINE"),
            "SCENEWRIGHT_TASK": self.session("train").task.model_dump_json(by_alias=True),
            "SCENEWRIGHT_SCRATCH": str(self.folder / "scratch"),
            "SCENEWRIGHT_PROGRESS_FILE": str(self.folder / "progress.json"),
            "SCENEWRIGHT_HOLDER_PID": str(os.getpid()),
        }
        return start_worker(variables, self.folder / "console.txt")

    def train(self, **options: Any) -> int:
        """Runs the process of the stage to its end; its exit code."""
        return self.start(**options).wait()

    def steps(self, rank: int = 0) -> list[int]:
        """Every step that a rank began, over all processes."""
        lines = (self.folder / "steps.txt").read_text().splitlines()
        return [int(step) for _, number, step in map(str.split, lines) if int(number) == rank]

    def last(self) -> Record:
        """The record that counts for the sample."""
        return latest(self.records("train"))["s"]

    def died(self) -> int:
        """Deaths that count against the sample."""
        found = deaths(self.records("train"), self.run).get("s")
        return found.total if found is not None else 0

    def report(self) -> Report:
        """What the last process told."""
        return Report.from_bytes((self.output / layout.report(self.run, "train")).read_bytes())

    def console(self) -> str:
        """What the processes printed."""
        return (self.folder / "console.txt").read_text()


@pytest.fixture
def training(tmp_path: Path) -> Callable[..., Training]:
    """Makes an indexed job with these parameters."""

    def make(**block: Any) -> Training:
        job = Training(tmp_path, PIPELINE, {"notes": str(tmp_path), **block})
        (job.source / "s.txt").write_text("words")
        job.index()
        return job

    return make


def test_a_killed_process_is_continued_from_its_last_state(training: Callable[..., Training]) -> None:
    job = training(diesAt=6)
    assert job.train() == -signal.SIGKILL
    assert job.died() == 1
    assert job.train() == 0
    assert job.steps() == [1, 2, 3, 4, 5, 6, 5, 6], "the state was saved after step 4"
    assert job.last().state == "done"
    assert json.loads((job.output / "s.json").read_text())["sum"] == 6.0
    assert "continues from the state saved at step 4" in job.console()
    states = job.output / layout.STATE
    assert {path.name for path in states.rglob("*") if path.is_file()} == {"sum.json", "latest.json"}
    job.publish()
    assert not [path for path in states.rglob("*") if path.is_file()]


def test_three_deaths_at_one_state_give_the_sample_up_and_an_advanced_state_forgives(
    training: Callable[..., Training],
) -> None:
    job = training(diesAt=3, once=False)
    assert [job.train() for _ in range(3)] == [-signal.SIGKILL] * 3
    assert job.died() == 3, "all at step 2"
    assert job.train() == 0
    assert (job.last().state, job.last().reason) == ("failed", "Crashed")
    assert job.steps() == [1, 2, 3, 3, 3]


@pytest.mark.parametrize(("fault", "code"), [("diesLoading", -signal.SIGKILL), ("failsLoading", 1)])
def test_deaths_while_loading_count_too(training: Callable[..., Training], fault: str, code: int) -> None:
    job = training(**{fault: True})
    assert [job.train() for _ in range(3)] == [code] * 3
    assert job.died() == 3
    assert job.train() == 0, "no end of restarts"
    assert (job.last().state, job.last().reason) == ("failed", "Crashed")


def test_a_death_after_an_advanced_state_counts_alone(training: Callable[..., Training]) -> None:
    job = training(diesAt=3, once=False)
    assert [job.train() for _ in range(2)] == [-signal.SIGKILL] * 2
    assert job.died() == 2
    job.block["diesAt"] = 5
    assert job.train() == -signal.SIGKILL
    assert job.died() == 1, "at step 4"


def test_sigterm_saves_what_is_done_and_the_next_process_continues_from_there(
    training: Callable[..., Training],
) -> None:
    job = training(steps=40, seconds=0.1, interval=0)
    process = job.start()
    deadline = time.monotonic() + 30.0
    while not (job.folder / "steps.txt").exists() or len(job.steps()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.signal(signal.SIGTERM)
    assert process.wait(30) == 143
    made = len(job.steps())
    assert made < 40 and job.died() == 0
    job.block["seconds"] = 0.0
    assert job.train() == 0
    assert job.steps() == list(range(1, 41)), "no step was done twice"


def test_the_time_limit_counts_from_the_last_state(training: Callable[..., Training]) -> None:
    job = training(steps=6, seconds=0.3, interval=1)
    assert job.train(sample_timeout_seconds=1.0) == 0
    assert job.last().seconds > 1.0


def test_without_a_state_the_time_limit_is_that_of_the_whole_sample(training: Callable[..., Training]) -> None:
    job = training(steps=60, seconds=0.1, interval=0)
    assert job.train(sample_timeout_seconds=1.0) == 30
    assert job.last().reason == "Timeout"


def test_a_state_of_another_input_is_not_continued(training: Callable[..., Training]) -> None:
    job = training(diesAt=5)
    assert job.train() == -signal.SIGKILL
    (job.source / "s.txt").write_text("other words")
    job.new_run()
    job.index()
    assert job.train() == 0
    assert job.steps() == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]
    assert "made of other parameters or data" in job.console()


@pytest.mark.slow
def test_two_ranks_outlive_a_sample_that_fails_and_end_with_their_process_when_one_dies(tmp_path: Path) -> None:
    block = {"notes": str(tmp_path), "processes": 2, "bad": "bad", "diesAt": 4, "dyingRank": 1}
    job = Training(tmp_path, PIPELINE, block)
    job.input = str(job.source / "list.jsonl")
    for name in ("bad", "s"):
        (job.source / f"{name}.txt").write_text(name)
    rows = [{"uri": "bad.txt"}, {"uri": "s.txt", "prompt": "rain", "unread": 1}]
    (job.source / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    job.index()
    assert job.train() == 1
    report = job.report()
    assert (report.reason, report.message) == ("ProcessLost", "rank 1 of 2 ended with exit code -9")
    assert job.died() == 1
    assert job.train() == 0
    ends = {name: (record.state, record.reason) for name, record in latest(job.records("train")).items()}
    assert ends == {"bad": ("failed", "Diverged"), "s": ("done", "")}
    for rank in range(2):
        assert job.steps(rank) == [1, 2, 1, 2, 3, 4, 3, 4, 5, 6], "bad, then s, which went on after step 2"
    assert json.loads((job.output / "s.json").read_text()) == {"sum": 6 * SUM_OF_TWO_RANKS, "prompt": "rain"}
