"""What the watches tell becomes keys in the queue: at once where something ended, later where something only moved."""

from __future__ import annotations

from typing import Any

import api_objects as raw
import pytest

from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.cache.projection import observed_job, observed_pod
from scenewright.reconcile.queue import Priority
from scenewright.reconcile.watch.routing import NOISE_SECONDS, Router

YARD = ObjectKey("SceneJob", "lab", "yard")
COMPLETE = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-21T11:00:00Z"}


class Asked:
    """A queue that only notes what it is asked for."""

    def __init__(self) -> None:
        self.adds: list[tuple[ObjectKey, Priority, float]] = []

    def add(self, key: ObjectKey, priority: Priority = Priority.RUNNING, delay: float = 0.0) -> None:
        self.adds.append((key, priority, delay))


class Bench:
    """A router with its stores; the object `yard` is known unless told otherwise."""

    def __init__(self, **changes: Any) -> None:
        self.queue = Asked()
        self.router = Router(self.queue)  # type: ignore[arg-type]
        self.objects, self.jobs, self.pods = self.router.objects, self.router.jobs, self.router.pods
        self.take(**changes)
        self.queue.adds.clear()

    def take(self, event: str | None = "MODIFIED", own: bool = False, version: int = 110, **changes: Any) -> None:
        document = {**raw.scene(**changes), "kind": "SceneJob"}
        document["metadata"]["resourceVersion"] = str(version)
        document["metadata"]["uid"] = "object-uid"
        document["status"].setdefault("run", "1a2b3c4d-1")
        if own:
            self.router.take_own_write(document)
        else:
            self.router.take("SceneJob", event, document)

    def put_job(self, version: int, **status: Any) -> None:
        job = observed_job(raw.job(**status))
        assert job is not None
        self.jobs.put(job, version)

    def put_pod(self, version: int, **status: Any) -> None:
        pod = observed_pod(raw.pod(**status))
        assert pod is not None
        self.pods.put(pod, version)

    def put_ended_pod_that_is_gone(self) -> None:
        self.put_pod(2, phase="Succeeded", containerStatuses=raw.terminated(0, '{"step":"coarse"}'))
        self.pods.remove("lab", raw.POD["metadata"]["name"], "pod-uid")

    def reports(self) -> list[str]:
        return [pod.report_text for pod in self.pods.of_owner("job-uid")]


def test_a_new_object_starts_and_a_known_running_one_continues() -> None:
    bench = Bench(status={"phase": ""})
    bench.objects.remove(YARD, "object-uid")
    bench.queue.adds.clear()
    bench.take(status={"phase": ""})
    bench.objects.remove(YARD, "object-uid")
    bench.take(status={"phase": "Running"})
    assert bench.queue.adds == [(YARD, Priority.STARTING, 0.0), (YARD, Priority.RUNNING, 0.0)]


def test_our_own_status_write_asks_for_nothing_and_neither_does_its_echo() -> None:
    bench = Bench()
    bench.take(own=True, version=111, status={"progress": "1/9"})
    bench.take(version=111, status={"progress": "1/9"})
    assert bench.queue.adds == []


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"generation": 3}},
        {"metadata": {"annotations": {"scenewright.io/retry": "9"}}},
        {"metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}},
    ],
)
def test_other_work_is_planned_at_once(change: dict[str, Any]) -> None:
    bench = Bench()
    bench.take(version=111, **change)
    assert bench.queue.adds == [(YARD, Priority.RUNNING, 0.0)]


def test_an_ended_job_goes_before_everything_else() -> None:
    bench = Bench()
    bench.put_job(1)
    bench.queue.adds.clear()
    bench.put_job(2, conditions=[COMPLETE])
    assert bench.queue.adds == [(YARD, Priority.FINISHING, 0.0)]


def test_a_job_that_is_gone_is_urgent_while_the_object_runs() -> None:
    bench = Bench()
    bench.put_job(1)
    bench.queue.adds.clear()
    bench.jobs.remove("lab", raw.JOB["metadata"]["name"])
    assert bench.queue.adds == [(YARD, Priority.FINISHING, 0.0)]


def test_a_job_of_an_ended_object_that_expires_asks_for_nothing() -> None:
    bench = Bench(status={"phase": "Complete"})
    bench.put_job(1, conditions=[COMPLETE])
    bench.queue.adds.clear()
    bench.jobs.remove("lab", raw.JOB["metadata"]["name"])
    assert bench.queue.adds == []


def test_jobs_and_pods_that_come_and_go_are_gathered() -> None:
    bench = Bench()
    bench.put_job(1)
    bench.queue.adds.clear()
    bench.put_pod(1)
    bench.put_pod(2, phase="Failed", containerStatuses=raw.terminated(1))
    bench.put_job(3, ready=3)
    bench.pods.remove("lab", raw.POD["metadata"]["name"])
    assert bench.queue.adds == [(YARD, Priority.RUNNING, NOISE_SECONDS)] * 4


RUNNING_POD = [{"name": "worker", "state": {"running": {"startedAt": "2026-11-21T10:01:00Z"}}}]
PULL_FAILS = [{"name": "worker", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]


def test_what_only_counts_waits_until_counts_may_be_written_and_trouble_does_not() -> None:
    bench = Bench(status={"phase": "Running"})
    bench.router.progress_due = lambda _uid: 60.0
    bench.put_job(1)
    bench.queue.adds.clear()
    bench.put_pod(1, phase="Pending")
    bench.put_pod(2, phase="Running", containerStatuses=RUNNING_POD)
    bench.put_job(2, ready=1, active=1)
    bench.put_pod(3, phase="Succeeded", containerStatuses=raw.terminated(0))
    assert bench.queue.adds == [(YARD, Priority.RUNNING, 60.0)] * 4
    bench.queue.adds.clear()
    bench.put_job(3, failed=1)
    bench.put_pod(4, phase="Pending", containerStatuses=PULL_FAILS)
    bench.put_pod(5, phase="Failed", containerStatuses=raw.terminated(1))
    bench.pods.remove("lab", raw.POD["metadata"]["name"])
    assert bench.queue.adds == [(YARD, Priority.RUNNING, NOISE_SECONDS)] * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"phase": "Waiting"}},
        {"status": {"phase": "Running", "spent": {"gpuSeconds": 0.0}}},
        {"status": {"phase": "Running"}, "spec": {"execution": {"budget": {"gpuHours": 1.0}}}},
    ],
)
def test_an_object_that_waits_or_has_a_budget_hears_of_each_pod_soon(changes: dict[str, Any]) -> None:
    bench = Bench(**changes)
    bench.router.progress_due = lambda _uid: 60.0
    bench.put_job(1)
    bench.queue.adds.clear()
    bench.put_pod(1, phase="Running", containerStatuses=RUNNING_POD)
    assert bench.queue.adds == [(YARD, Priority.RUNNING, NOISE_SECONDS)]


def test_a_report_that_an_ended_job_was_waited_for_is_urgent() -> None:
    bench = Bench()
    bench.put_job(1, conditions=[COMPLETE])
    bench.put_pod(1)
    bench.queue.adds.clear()
    bench.put_pod(2, phase="Succeeded", containerStatuses=raw.terminated(0, '{"step":"index"}'))
    assert bench.queue.adds == [(YARD, Priority.FINISHING, 0.0)]


def test_the_pods_of_an_ended_object_are_forgotten_but_those_of_its_next_run_are_not() -> None:
    bench = Bench()
    bench.put_job(1, conditions=[COMPLETE])
    bench.put_pod(1)
    bench.take(version=111, status={"phase": "Complete"})
    assert len(bench.pods) == 0
    bench.put_pod(2, phase="Succeeded")
    assert len(bench.pods) == 0
    bench.put_job(5, conditions=[])
    bench.put_pod(3)
    assert len(bench.pods) == 1


def test_the_report_of_a_pod_that_is_gone_before_its_job_is_complete_is_there_when_it_is() -> None:
    bench = Bench()
    bench.put_job(1)
    bench.put_ended_pod_that_is_gone()
    bench.put_job(3, conditions=[COMPLETE])
    assert bench.reports() == ['{"step":"coarse"}']
    bench.take(version=111, status={"phase": "Complete"})
    assert bench.reports() == []


def test_a_pod_that_is_gone_without_a_report_is_forgotten() -> None:
    bench = Bench()
    bench.put_job(1)
    bench.put_pod(2)
    bench.pods.remove("lab", raw.POD["metadata"]["name"], "pod-uid")
    assert len(bench.pods) == 0


def test_pods_that_are_gone_are_forgotten_with_their_job() -> None:
    bench = Bench()
    bench.put_job(1)
    bench.put_ended_pod_that_is_gone()
    bench.jobs.remove("lab", raw.JOB["metadata"]["name"], "job-uid")
    assert bench.reports() == []
    bench.put_ended_pod_that_is_gone()
    assert bench.reports() == []


def test_everybody_forgets_an_object_that_is_gone() -> None:
    bench = Bench()
    forgotten: list[str] = []
    bench.router.forgetters.append(forgotten.append)
    bench.put_job(1)
    bench.put_pod(1)
    bench.take(event="DELETED", version=112)
    assert forgotten == ["object-uid"]
    assert (len(bench.objects), len(bench.pods)) == (0, 0)
    bench.jobs.remove("lab", raw.JOB["metadata"]["name"], "job-uid")
    assert len(bench.jobs) == 0


def test_who_waits_for_a_dependency_is_woken_by_its_end() -> None:
    bench = Bench(
        status={
            "phase": "Waiting",
            "conditions": [{"type": "Waiting", "status": "True", "reason": "DependencyRunning"}],
        }
    )
    run = raw.scene("fixer", status={"phase": "Running"})
    bench.router.take("TuningRun", None, run)
    bench.queue.adds.clear()
    ended = raw.scene("fixer", status={"phase": "Complete"}, metadata={"resourceVersion": "140"})
    bench.router.take("TuningRun", "MODIFIED", ended)
    assert (YARD, Priority.STARTING, 0.0) in bench.queue.adds


def test_a_resync_asks_for_all_that_have_not_ended() -> None:
    bench = Bench()
    other = raw.scene("other", status={"phase": "Complete"})
    bench.router.take("SceneJob", None, other)
    bench.queue.adds.clear()
    bench.router.resync(5.0)
    assert [key for key, _, _ in bench.queue.adds] == [YARD]
