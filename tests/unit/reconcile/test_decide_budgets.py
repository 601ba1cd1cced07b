"""Forecasts before the first GPU Pod, and budgets: a rest at the limit loses nothing, and a raise continues."""

from __future__ import annotations

import random
from typing import Any

import pytest
from simulated_cluster import TICK, Cluster, spec_of
from simulated_operator import Operator

from scenewright.api.execution import Budget
from scenewright.api.status import Status


def world(samples: int = 10, **execution: Any) -> tuple[Cluster, Operator]:
    spec = spec_of()
    spec["execution"] = {**spec["execution"], **execution}
    cluster = Cluster(spec=spec, samples=samples)
    return cluster, Operator(cluster)


def used(status: Status) -> float:
    before = status.spent.gpu_seconds if status.spent else 0.0
    return before + sum(stage.gpu_seconds for stage in status.stages)


def test_a_forecast_is_in_the_status_before_the_first_pod_with_a_gpu() -> None:
    _, operator = world()
    operator.run()
    written = next(status for status in operator.statuses if status.forecast is not None)
    assert written.phase in ("Indexing", "Running") and not any(stage.started_at for stage in written.stages)
    assert written.forecast is not None
    assert written.forecast.gpu_hours == pytest.approx(10 * (6 + 2 + 30 + 250 + 20) / 3600, rel=0.01)
    assert written.forecast.wall_seconds == pytest.approx(4 * (6 + 2 + 30 + 250 + 20))


def test_without_a_budget_nothing_is_kept_of_what_was_spent() -> None:
    _, operator = world()
    assert operator.run().spent is None


@pytest.mark.parametrize("pods", [1, 2, 16])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.75])
def test_at_the_limit_it_rests_and_a_raise_continues_where_it_was(share: float, pods: int) -> None:
    """Over limits in every stage: it stops before the next decision would have let a Pod run on."""
    _, free = world(maxParallelism=pods)
    whole = used(free.run())
    limit = share * whole
    cluster, operator = world(maxParallelism=pods, budget={"gpuHours": limit / 3600})
    resting = operator.run(300)
    assert (resting.phase, resting.reason) == ("Waiting", "BudgetReached")
    assert limit <= used(resting) <= limit + TICK * min(pods, 3), "one tick of the Pods that ran"
    done = dict(cluster.storage.records)
    for _ in range(20):
        cluster.tick()
        operator.settle()
    assert not cluster.jobs, "nothing runs while it rests"
    assert operator.status.phase == "Waiting" and used(operator.status) == used(resting)
    work = resting.effective.work_hash
    cluster.edit_execution(budget={"gpuHours": 10 * whole / 3600})
    ended = operator.run(300)
    assert (ended.phase, ended.progress, ended.effective.work_hash) == ("Complete", "50/50", work)
    assert done.items() <= cluster.storage.records.items()
    assert used(ended) >= used(resting), "what was spent before the rest still counts"


def test_a_budget_that_is_raised_too_little_rests_on_without_a_run() -> None:
    cluster, operator = world(budget={"gpuHours": 0.01})
    first = operator.run(200)
    created = len(operator.created)
    cluster.edit_execution(budget={"gpuHours": 0.0101})
    for _ in range(10):
        operator.settle()
        cluster.tick()
    assert operator.status.phase == "Waiting" and len(operator.created) == created
    assert operator.status.starts == first.starts


def test_wall_time_stops_it_and_rests_do_not_count() -> None:
    cluster, operator = world(budget={"wallTime": "1m"})
    resting = operator.run(200)
    assert (resting.reason, resting.spent.wall_seconds) == ("BudgetReached", 60.0)  # type: ignore[union-attr]
    for _ in range(100):
        cluster.tick()
        operator.settle()
    cluster.edit_execution(budget={"wallTime": "1h"})
    assert operator.run(200).phase == "Complete"


def test_publishing_is_never_held_back() -> None:
    _, free = world()
    whole = used(free.run())
    _, operator = world(budget={"gpuHours": (whole - 1.0) / 3600})
    assert operator.run(300).phase in ("Complete", "Waiting")
    _, exact = world(budget={"gpuHours": (whole + 1.0) / 3600})
    assert exact.run(300).phase == "Complete"


def test_the_next_decision_is_due_when_the_budget_will_be_used_up() -> None:
    cluster, operator = world(budget={"gpuHours": 1.0})
    while not any(pod.step == "outpaint" and pod.started_at for pod in cluster.pods.values()):
        operator.settle()
        cluster.tick()
    held = sum(pod.step == "outpaint" for pod in cluster.pods.values())
    operator.settle()
    assert operator.last.again_after is not None
    left = (3600.0 - used(operator.status)) / held
    assert operator.last.again_after <= left + TICK


def test_suspension_and_restarts_keep_what_was_spent() -> None:
    cluster, operator = world(budget={"gpuHours": 1.0})
    while used(operator.status) < 20:
        operator.settle()
        cluster.tick()
    before = used(operator.status)
    cluster.edit(suspend=True)
    for _ in range(6):
        operator.settle()
        cluster.tick()
    cluster.edit(suspend=False)
    ended = operator.run(300)
    assert ended.phase == "Complete" and ended.spent is not None
    assert ended.spent.gpu_seconds >= before and ended.spent.wall_seconds > 0


def test_the_forecast_is_within_a_fifth_on_ten_jobs() -> None:
    """Pods that take the catalogue's seconds, each a tenth more or less, on ten jobs of different sizes."""
    chance = random.Random(7)
    for samples in (1, 3, 4, 5, 10, 16, 23, 40, 64, 99):
        cluster, operator = world(samples)
        operator.run(400)
        forecast = next(status.forecast for status in operator.statuses if status.forecast is not None)
        plan = cluster.work()
        held = 0.0
        for create in operator.created:
            if create.step in plan.keys:  # type: ignore[union-attr]
                seconds = plan.stage(create.step).pod.seconds_per_sample  # type: ignore[union-attr]
                counts = [len(range(index, samples, create.shards)) for index in range(create.shards)]
                held += sum(count * seconds * chance.uniform(0.9, 1.1) for count in counts)
        assert held / 3600 == pytest.approx(forecast.gpu_hours, rel=0.2)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("1d12h", 129_600), ("36h", 129_600), ("45s", 45)])
def test_wall_times_are_durations(text: str, seconds: int) -> None:
    assert Budget(wall_time=text).wall_seconds == seconds
    assert Budget(wall_time=text).gpu_seconds == float("inf")


@pytest.mark.parametrize("execution", [{"budget": {"gpuHours": 9.0}}, {}])
def test_with_a_budget_a_single_photograph_is_counted_before_it_gets_a_gpu(execution: dict[str, Any]) -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    spec = spec_of(input={"uri": "s3://photos/one.jpg"})
    spec["execution"] = {"samplesPerShard": 4, "stageOverrides": {"outpaint": gpu}, **execution}
    operator = Operator(Cluster(spec=spec, samples=1))
    assert operator.run().phase == "Complete"
    assert (operator.created[0].step == "index") is bool(execution)
