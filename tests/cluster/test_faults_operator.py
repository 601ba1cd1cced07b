"""Faults of the operator itself: it dies at any moment, it has a rival, it is cut off; nothing is lost or doubled."""

from __future__ import annotations

import time
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import OBJECTS, Bench, bench, seconds_for, serving

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow


def kill_while(bench: Bench, operator: op.OperatorProcess, kills: int, longest: float) -> None:
    """Kills and restarts it, at random moments up to `longest` seconds after its start."""
    for _ in range(kills):
        time.sleep(bench.random.uniform(0.3, longest))
        operator.kill()
        operator.start()


@pytest.mark.soak
def test_killed_at_random_moments(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    names = bench.begin()
    kill_while(bench, operator, 8, 5.0)
    bench.check_all_complete(bench.wait_ended(seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)
    bench.check_nothing_is_left()


def test_down_while_everything_ends(bench: Bench) -> None:
    """What happens meanwhile is found by the next one, without a single event of it."""
    operator = bench.operator().start().wait_ready()
    names = bench.begin(seconds=1.0)
    op.eventually(lambda: len(bench.jobs()) >= OBJECTS, seconds_for(OBJECTS), "half of it has begun")
    operator.kill()
    op.eventually(
        lambda: all(job["status"].get("completionTime") for job in bench.jobs()), seconds_for(OBJECTS), "Jobs end"
    )
    operator.start()
    bench.check_all_complete(bench.wait_ended(seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


@pytest.mark.soak
def test_two_operators_fight_for_the_lease(bench: Bench) -> None:
    first, second = bench.operator("operator-a"), bench.operator("operator-b")
    first.start().wait_ready()
    second.start().wait_alive()
    names = bench.begin()
    for leader, other in ((first, second), (second, first)):
        time.sleep(bench.random.uniform(1.0, 4.0))
        leader.kill()
        op.eventually(lambda other=other: other.metric("scenewright_leader") == 1, 40, "the other leads")
        leader.start().wait_alive()
    bench.check_all_complete(bench.wait_ended(seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


def test_deleted_and_made_again_under_the_same_name(bench: Bench) -> None:
    """The successor of a deleted object is another one: its Jobs have other names and an own run."""
    bench.operator().start().wait_ready()
    names = bench.begin(seconds=600.0)
    op.eventually(lambda: len(bench.jobs()) == 2 * OBJECTS, seconds_for(OBJECTS), "stages run")
    before = names_of(bench.jobs())
    bench.delete_all(op.OBJECTS.format(bench.namespace))
    names = bench.begin(seconds=0.3)
    bench.check_all_complete(bench.wait_ended(seconds_for(OBJECTS)), names)
    op.eventually(lambda: before.isdisjoint(names_of(bench.jobs())), seconds_for(OBJECTS), "old Jobs are gone")
    bench.check_each_job_once(names)


def names_of(jobs: list[dict[str, Any]]) -> set[str]:
    return {job["metadata"]["name"] for job in jobs}


@pytest.mark.soak
def test_objects_on_one_output_take_turns_though_the_operator_is_killed(bench: Bench) -> None:
    """Two objects on each output, the same or a nested one: never a Job of one before the last one of the other."""
    operator = bench.operator().start().wait_ready()
    names = bench.begin(output=lambda number: f"s3://scenes/{number // 2}" + "/inner" * (number % 4 == 3))
    kill_while(bench, operator, 3, 5.0)
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)
    turns = {name: span_of([job for job in bench.jobs() if owner_of(job) == name]) for name in names}
    for first, second in zip(names[::2], names[1::2], strict=True):
        (_, end), (begin, _) = sorted((turns[first], turns[second]))
        assert end <= begin, f"{first} and {second}"


def owner_of(job: dict[str, Any]) -> str:
    return str(job["metadata"]["labels"]["scenewright.io/object"])


def span_of(jobs: list[dict[str, Any]]) -> tuple[str, str]:
    """From the first creation to the last end, as the API server writes times."""
    begin = min(job["metadata"]["creationTimestamp"] for job in jobs)
    return begin, max(job["status"]["completionTime"] for job in jobs)
