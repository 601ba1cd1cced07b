"""What is counted between two written statuses."""

from __future__ import annotations

from itertools import pairwise

from scenewright.api.status import SampleCounts, StageStatus, Status
from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.status.accounting import account
from scenewright.telemetry.metrics import REGISTRY


def status(pipeline: str, run: str = "r-1", **stage: float) -> Status:
    samples = SampleCounts(total=8)
    return Status(run=run, pipeline=pipeline, stages=[StageStatus(name="paint", samples=samples, **stage)])


def counted(pipeline: str, *statuses: Status) -> tuple[float | None, float | None]:
    """GPU seconds, busy and waiting, after the statuses have been written one after the other."""
    for old, new in pairwise(statuses):
        account(ObjectKey("SceneJob", "lab", "scene"), old, new)
    labels = {"namespace": "lab", "kind": "SceneJob", "pipeline": pipeline, "stage": "paint"}
    name = "scenewright_gpu_seconds_total"
    busy = REGISTRY.get_sample_value(name, {**labels, "state": "busy"})
    return busy, REGISTRY.get_sample_value(name, {**labels, "state": "waiting"})


def test_gpu_time_is_counted_though_no_push_came_through() -> None:
    """A Pod's end tells how long it held its GPUs and for how much of it samples ran."""
    assert counted("silent", status("silent"), status("silent", gpu_seconds=100.0, gpu_busy_seconds=80.0)) == (80, 20)


def test_gpu_time_that_was_pushed_is_not_counted_again_at_the_end() -> None:
    pushed = status("pushing", gpu_seconds=60.0, gpu_busy_seconds=50.0)
    ended = status("pushing", gpu_seconds=100.0, gpu_busy_seconds=80.0)
    assert counted("pushing", status("pushing"), pushed, ended, ended) == (80, 20)


def test_gpu_time_of_an_earlier_run_or_operator_is_not_counted_again() -> None:
    seen = status("resumed", gpu_seconds=100.0, gpu_busy_seconds=80.0)
    more = status("resumed", gpu_seconds=110.0, gpu_busy_seconds=85.0)
    again = status("resumed", run="r-2", gpu_seconds=110.0, gpu_busy_seconds=85.0)
    assert counted("resumed", seen, more, again) == (5, 5)
