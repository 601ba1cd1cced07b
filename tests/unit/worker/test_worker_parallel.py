"""Several samples at a time: no more than asked for, and who is to blame when a process dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_chains import chain_of, pipeline_of

from scenewright_stages.contract.pipeline import INPUT, Read, StagePod, StageSpec
from scenewright_stages.contract.records import STARTED_TOGETHER, Deaths, Record, deaths
from scenewright_stages.contract.samples import Sample
from scenewright_stages.worker.stage.sample_runner import for_each, thread_count
from scenewright_stages.worker.stage.shard_plan import CRASHED, ShardPlanner
from scenewright_stages.worker.states import Evidence
from scenewright_stages.worker.worklists import WorkItem

STAGE = StageSpec(
    "stage",
    1,
    "m:C",
    (Read(INPUT),),
    (),
    pod=StagePod(threads=2),
)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_is_worked_on_once_by_at_most_so_many_at_a_time(threads: int) -> None:
    lock, running, most, seen = threading.Lock(), [0], [0], []

    def work(item: int) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1
            seen.append(item)

    for_each(iter(range(30)), work, threads)
    assert sorted(seen) == list(range(30))
    assert most[0] == threads


@pytest.mark.parametrize("threads", [1, 3])
def test_after_a_fault_nothing_more_is_taken_and_the_fault_is_raised(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    def work(item: int) -> None:
        time.sleep(0.001)
        if item == 5:
            raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt):
        for_each(items(), work, threads)
    assert len(taken) < 20


def test_threads_follow_the_processes_cpus_not_the_nodes(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text("100000 100000\n")
    assert thread_count(7, {}, limit) == 7
    assert thread_count(0, {"OMP_NUM_THREADS": "3"}, limit) == 3
    assert thread_count(0, {}, limit) == 1
    assert thread_count(0, {"OMP_NUM_THREADS": "500"}, limit) == 32
    limit.write_text("max 100000\n")
    assert thread_count(0, {}, limit) == min(32, len(os.sched_getaffinity(0)))
    assert thread_count(0, {}, tmp_path / "none") == min(32, len(os.sched_getaffinity(0)))


def started(sample: str, attempt: str, reason: str = "") -> Record:
    return Record(sample, "stage", "k", "started", "run", attempt, at=1.0, reason=reason)


def planned(records: dict[str, list[Record]]) -> tuple[list[tuple[str, bool]], dict[str, str]]:
    items = [WorkItem(Sample(name), "no record") for name in sorted(records)]
    chain = chain_of(pipeline_of(STAGE), keys={"stage": "k"})
    population = chain.population(item.sample for item in items)
    plan = ShardPlanner(chain, STAGE, population, "run", retries=1).plan(items, Evidence({"stage": records}))
    return (
        [(item.sample.id, item.suspected) for item in plan.items],
        {record.sample: record.reason for record, _ in plan.records},
    )


def test_samples_that_ran_together_when_the_process_died_run_first_and_alone() -> None:
    records = {"a": [], "b": [started("b", "1", STARTED_TOGETHER)], "c": [started("c", "1", STARTED_TOGETHER)]}
    assert planned(records) == ([("b", True), ("c", True), ("a", False)], {})


def test_a_sample_is_never_given_up_for_deaths_that_others_may_have_caused() -> None:
    together = [started("a", attempt, STARTED_TOGETHER) for attempt in "123"]
    assert planned({"a": together}) == ([("a", True)], {})
    assert planned({"a": [*together, started("a", "4")]}) == ([], {"a": CRASHED})


def test_deaths_alone_are_counted_apart() -> None:
    records = [started("a", "1", STARTED_TOGETHER), started("a", "2")]
    assert deaths(records, "run") == {"a": Deaths(total=2, alone=1)}
