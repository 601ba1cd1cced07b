"""Raw API objects become what the planner sees."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import api_objects as raw
import pytest

from scenewright.reconcile.cache.projection import count_indexes, observed_job, observed_object, observed_pod
from scenewright_stages.contract.reports import Report, StageCounts


def test_a_job_is_read_with_its_labels_and_counts() -> None:
    job = observed_job(raw.JOB)
    assert job is not None
    assert (job.step, job.run, job.work_hash) == ("coarse", "1a2b3c4d-1", "00ff00ff00ff00ff")
    assert (job.completions, job.parallelism, job.active, job.ready, job.succeeded, job.failed) == (12, 4, 2, 1, 8, 3)
    assert (job.completed_indexes, job.failed_indexes) == (8, 2)
    assert job.created_at == datetime(2026, 11, 21, 10, tzinfo=UTC)


def test_a_failure_target_is_no_end() -> None:
    job = observed_job(raw.JOB)
    assert job is not None
    assert job.ended == ""


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_terminal_condition_is_the_end(kind: str) -> None:
    condition = {"type": kind, "status": "True", "reason": "Why", "lastTransitionTime": "2026-11-21T11:00:00Z"}
    job = observed_job(raw.job(conditions=[*raw.JOB["status"]["conditions"], condition]))
    assert job is not None
    assert (job.ended, job.reason) == (kind, "Why")
    assert job.ended_at == datetime(2026, 11, 21, 11, tzinfo=UTC)


def test_a_terminal_condition_that_is_false_is_no_end() -> None:
    job = observed_job(raw.job(conditions=[{"type": "Complete", "status": "False"}]))
    assert job is not None
    assert job.ended == ""


def test_a_job_of_another_owner_is_not_ours() -> None:
    foreign = raw.job()
    foreign["metadata"]["ownerReferences"][0]["apiVersion"] = "batch/v1"
    assert observed_job(foreign) is None


def test_a_running_pod_is_read() -> None:
    pod = observed_pod(raw.POD)
    assert pod is not None
    assert (pod.job, pod.step, pod.index, pod.node) == ("s-yard-1a2b3c4d-coarse", "coarse", 3, "gpu-1")
    assert (pod.owner_uid, pod.exit_code) == ("job-uid", None)
    assert pod.started_at == datetime(2026, 11, 21, 10, 0, 5, tzinfo=UTC)
    assert pod.scheduled_at == datetime(2026, 11, 21, 10, 0, 3, tzinfo=UTC)


def test_the_report_of_an_ended_pod_is_parsed() -> None:
    report = Report(step="index", samples=3, stages={"coarse": StageCounts(total=3, todo=3, shards=1)})
    pod = observed_pod(raw.pod(phase="Succeeded", containerStatuses=raw.terminated(0, report.to_bytes().decode())))
    assert pod is not None
    assert pod.report is None
    assert pod.unpacked().report == report
    assert (pod.exit_code, pod.finished_at) == (0, datetime(2026, 11, 21, 10, 1, 5, tzinfo=UTC))


@pytest.mark.parametrize("text", ["", "not json", '{"step": 5}', '{"step":"index","unknown":1}'])
def test_a_message_without_a_report_gives_none(text: str) -> None:
    pod = observed_pod(raw.pod(phase="Succeeded", containerStatuses=raw.terminated(0, text)))
    assert pod is not None
    assert pod.unpacked().report is None


PROXY = {"name": "istio-proxy", "state": {"running": {"startedAt": "2026-11-21T10:00:01Z"}}}
ENDED_PROXY = {"name": "zz-proxy", "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": "{}"}}}


@pytest.mark.parametrize("before", [[], [PROXY], [ENDED_PROXY], [PROXY, ENDED_PROXY]])
@pytest.mark.parametrize("after", [[], [PROXY], [ENDED_PROXY]])
def test_the_worker_is_read_whatever_was_injected_beside_it(before: list[Any], after: list[Any]) -> None:
    report = Report(step="index", samples=3)
    for code, reason in ((0, "Completed"), (137, "OOMKilled")):
        worker = raw.terminated(code, report.to_bytes().decode(), reason)
        pod = observed_pod(raw.pod(phase="Running", containerStatuses=[*before, *worker, *after]))
        assert pod is not None
        assert (pod.exit_code, pod.unpacked().report) == (code, report)
        assert pod.reason == ("" if code == 0 else "OOMKilled")
        assert bool(pod.still_running) == (PROXY in [*before, *after])


def test_a_proxy_that_has_ended_is_no_end_of_the_worker() -> None:
    worker = {"name": "worker", "state": {"running": {"startedAt": "2026-11-21T10:00:05Z"}}}
    pod = observed_pod(raw.pod(phase="Running", containerStatuses=[ENDED_PROXY, worker]))
    assert pod is not None
    assert (pod.exit_code, pod.finished_at, pod.still_running) == (None, None, "")


@pytest.mark.parametrize("where", ["initContainerStatuses", "containerStatuses"])
def test_an_injected_container_that_cannot_start_is_the_reason_only_while_the_worker_waits_for_it(where: str) -> None:
    broken = {"name": "istio-proxy", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "none"}}}
    states = {"waiting": {"reason": "PodInitializing"}, "running": {"startedAt": "2026-11-21T10:00:05Z"}}
    for name, state in states.items():
        parts: dict[str, list[Any]] = {"containerStatuses": [{"name": "worker", "state": {name: state}}]}
        parts[where] = [broken, *parts.get(where, [])]
        pod = observed_pod(raw.pod(**parts))
        assert pod is not None
        assert pod.waiting_reason == ("ImagePullBackOff" if name == "waiting" else "")


def test_why_a_pod_does_not_start_is_read() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod = observed_pod(raw.pod(phase="Pending", containerStatuses=[{"name": "worker", "state": waiting}]))
    assert pod is not None
    assert (pod.waiting_reason, pod.waiting_message) == ("ImagePullBackOff", "no such image")


def test_a_pod_is_seen_whatever_somebody_writes_into_the_label_of_its_index() -> None:
    relabelled = raw.pod()
    relabelled["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = "x"
    pod = observed_pod(relabelled)
    assert pod is not None and pod.index == 0


def test_an_unschedulable_pod_carries_the_scheduler_s_words() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/4 nodes"}
    pod = observed_pod(raw.pod(phase="Pending", conditions=[condition], containerStatuses=[]))
    assert pod is not None
    assert pod.unschedulable == "0/4 nodes"
    assert pod.scheduled_at is None


def test_a_disrupted_pod_is_marked() -> None:
    pod = observed_pod(raw.pod(phase="Failed", conditions=[{"type": "DisruptionTarget", "status": "True"}]))
    assert pod is not None
    assert pod.disrupted


def test_a_container_that_was_out_of_memory_says_so() -> None:
    pod = observed_pod(raw.pod(phase="Failed", containerStatuses=raw.terminated(137, reason="OOMKilled")))
    assert pod is not None
    assert pod.reason == "OOMKilled"


def test_a_pod_without_status_is_pending() -> None:
    bare = {**raw.POD, "status": {}}
    pod = observed_pod(bare)
    assert pod is not None
    assert (pod.phase, pod.started_at, pod.report) == ("Pending", None, None)


def test_a_pod_without_our_owner_is_ignored_whatever_its_labels_say() -> None:
    stray = raw.pod()
    del stray["metadata"]["ownerReferences"]
    assert observed_pod(stray) is None


def test_an_object_keeps_its_annotations_but_not_the_applied_copy_of_its_spec() -> None:
    value = observed_object(raw.OBJECT, "SceneJob")
    assert value.annotations == {"scenewright.io/retry": "3"}
    assert (value.generation, value.resource_version, value.deleting) == (2, "110", False)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("4", 1), ("0-9", 10), ("0-2,5,7-8", 6), ("0-99999", 100_000)])
def test_index_ranges_are_counted(text: str, count: int) -> None:
    assert count_indexes(text) == count


@pytest.mark.parametrize(
    ("finalizers", "deleted", "expected"),
    [
        (["foregroundDeletion"], True, ""),
        (["batch.kubernetes.io/job-tracking"], True, ""),
        (["foregroundDeletion", "foreign.example/guard"], True, "foreign.example/guard"),
        (["foreign.example/guard"], False, ""),
        ([], True, ""),
    ],
)
def test_only_finalizers_of_others_that_hold_a_deletion_are_read(
    finalizers: list[str], deleted: bool, expected: str
) -> None:
    extra = {"finalizers": finalizers, **({"deletionTimestamp": "2026-11-21T10:00:09Z"} if deleted else {})}
    job, pod = raw.job(), raw.pod()
    for each in (job, pod):
        each["metadata"] |= extra
    found = observed_job(job), observed_pod(pod)
    assert [each.held_by for each in found if each is not None] == [expected, expected]
