"""Faults of the operator itself: it dies at any moment, it has a rival, it is cut off; nothing is lost or doubled."""

from __future__ import annotations

import time

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


def test_killed_at_random_moments(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    names = bench.begin()
    kill_while(bench, operator, 8, 5.0)
    bench.check_all_complete(bench.wait_ended(seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


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
    names = bench.begin(3, 20.0)
    op.eventually(lambda: len(bench.jobs()) >= 6, 60, "stages run")
    before = {job["metadata"]["name"] for job in bench.jobs()}
    for name in names:
        bench.cluster.api.delete(f"{op.OBJECTS.format(bench.namespace)}/{name}")
    names = bench.begin(3, 0.3)
    bench.check_all_complete(bench.wait_ended(seconds_for(3)), names)
    op.eventually(lambda: not before & {job["metadata"]["name"] for job in bench.jobs()}, 60, "old Jobs are gone")
