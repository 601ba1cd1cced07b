"""What holds a run up: how long it is put up with, what is asked, and what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from simulated_cluster import PODS, Cluster, SimulatedJob, spec_of
from simulated_operator import Operator

from scenewright.execution.jobs import CreateJob, job_name
from scenewright.kube.client import ApiError, Client
from scenewright.planning.plan import Plan
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.cache.observation import Answer, Inspection, ObjectKey
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.decide import DecideSettings
from scenewright.reconcile.decide.actions import Inspect, ReleasePod
from scenewright.reconcile.decide.context import state_of
from scenewright_stages.contract.pipeline import IMAGES

PATIENCE = DecideSettings()
DEADLINE = 1800.0


class Held:
    """A run whose stage does not start; tests move its clock and change its Pods."""

    def __init__(self, **changes: Any) -> None:
        self.cluster = Cluster(spec=spec_of(**changes))
        self.operator = Operator(self.cluster)
        while not any(job.seen.step == "depth" for job in self.cluster.jobs.values()):
            self.cluster.tick()
            self.operator.settle()
        self.job.seen = replace(self.job.seen, created_at=self.cluster.now, started_at=self.cluster.now)

    @property
    def job(self) -> SimulatedJob:
        """The Job of the stage."""
        return next(job for job in self.cluster.jobs.values() if job.seen.step == "depth")

    def with_pods(self, count: int = 1, **fields: Any) -> Held:
        """The stage has Pods as given."""
        for _ in range(count):
            pod = self.cluster._new_pod(self.job, 0)
            self.cluster._keep(replace(pod, **fields))
        self.job.seen = replace(self.job.seen, active=count)
        return self

    def change_pods(self, **fields: Any) -> None:
        """All Pods of the stage change."""
        for pod in [pod for pod in self.cluster.pods.values() if pod.step == "depth"]:
            self.cluster._keep(replace(pod, **fields))

    def after(self, seconds: float) -> tuple[str, str, str]:
        """Phase, reason and message so many seconds later."""
        self.cluster.now += timedelta(seconds=seconds)
        self.operator.settle()
        status = self.operator.status
        kind = status.phase if status.phase in ("Waiting", "Failed") else "Progressing"
        found = next(each for each in status.conditions if each.type == kind)
        assert found.status == "True"
        return status.phase, found.reason, found.message

    def after_deletion(self) -> tuple[str, str, str]:
        """Phase, reason and message while deleted Jobs are still there."""
        self.operator.settle()
        state = state_of(self.operator.status)
        found = next(each for each in self.operator.status.conditions if each.type == state.phase)
        return state.phase, found.reason, found.message

    @property
    def asked(self) -> list[str]:
        """What was asked so far."""
        return [inspection.what for inspection in self.cluster.answers]

    def again_after(self) -> float | None:
        """When the planner wants to look again."""
        return self.operator.settle().again_after


@pytest.mark.parametrize(
    "reason", ["ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"]
)
def test_configuration_errors_of_a_pod_fail_soon_with_its_own_reason(reason: str) -> None:
    held = Held().with_pods(waiting_reason=reason, waiting_message='secret "lab-s3" not found')
    phase, told, message = held.after(1)
    assert (phase, told) == ("Waiting", reason)
    assert held.again_after() == pytest.approx(PATIENCE.configuration_grace - 1)
    assert held.after(PATIENCE.configuration_grace)[:2] == ("Failed", reason)
    assert 'shard 0 of depth cannot start: secret "lab-s3" not found' in message
    assert [(event.type, event.reason) for event in held.operator.events[2:]] == [("Warning", reason)] * 2
    assert held.job.seen.deleting


def test_a_configuration_mended_in_time_continues() -> None:
    held = Held().with_pods(waiting_reason="CreateContainerConfigError")
    held.after(20)
    held.change_pods(waiting_reason="", phase="Running", started_at=held.cluster.now)
    held.job.seen = replace(held.job.seen, ready=1)
    assert held.after(100)[0] == "Running"
    assert held.operator.run().phase == "Complete"


def test_an_image_that_cannot_be_pulled_fails_after_five_minutes_and_flapping_changes_nothing() -> None:
    held = Held().with_pods(waiting_reason="ErrImagePull", waiting_message="not found")
    assert held.after(10)[:2] == ("Waiting", "ImagePullBackOff")
    writes = len(held.operator.statuses)
    held.change_pods(waiting_reason="ImagePullBackOff", waiting_message="Back-off pulling image")
    assert held.after(60)[:2] == ("Waiting", "ImagePullBackOff")
    assert len(held.operator.statuses) == writes
    assert held.after(240)[:2] == ("Failed", "ImagePullBackOff")


def test_the_five_minutes_count_from_the_node_and_not_from_the_queue_for_one() -> None:
    held = Held().with_pods(waiting_reason="ErrImagePull")
    held.change_pods(scheduled_at=held.cluster.now + timedelta(seconds=1000))
    assert held.after(1010)[0] == "Waiting"
    assert held.after(300)[0] == "Failed"


def test_one_broken_node_among_others_gets_the_whole_start_deadline() -> None:
    held = Held().with_pods(waiting_reason="ImagePullBackOff")
    held.job.seen = replace(held.job.seen, ready=2)
    assert held.after(400)[0] == "Running"
    assert held.again_after() == pytest.approx(DEADLINE - 400)
    assert held.after(DEADLINE)[:2] == ("Failed", "ImagePullBackOff")


def test_a_pod_that_has_a_node_and_does_not_start_is_reported_and_fails_at_the_deadline() -> None:
    held = Held().with_pods(waiting_reason="ContainerCreating")
    assert held.after(60)[0] == "Running"
    assert held.after(PATIENCE.slow_start)[:2] == ("Waiting", "PodNotStarting")
    assert held.after(DEADLINE)[:2] == ("Failed", "StartDeadlineExceeded")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: gpus', "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "PodSecurity"),
        ("admission webhook said no", "PodsRefused"),
        ("images.video: not in the operator's configuration, which has scene", "ImageNotConfigured"),
    ],
)
def test_a_job_without_pods_is_explained_from_its_events_and_fails_at_the_deadline(words: str, reason: str) -> None:
    held = Held()
    held.cluster.ready = False
    held.cluster.truths["failed-creates"] = (True, words)
    assert held.after(5)[0] == "Running"
    assert held.after(10) == ("Waiting", reason, words)
    progressing = next(each for each in held.operator.status.conditions if each.type == "Progressing")
    assert (progressing.status, progressing.reason) == ("False", reason)
    writes = len(held.operator.statuses)
    assert held.after(DEADLINE / 2)[0] == "Waiting"
    assert len(held.operator.statuses) == writes
    assert held.after(DEADLINE / 2)[:2] == ("Failed", reason)


def test_a_job_without_pods_that_no_event_explains_points_at_the_job_controller() -> None:
    held = Held()
    held.cluster.truths["failed-creates"] = (False, "")
    assert held.after(45)[:2] == ("Waiting", "PodsNotCreated")
    assert held.after(DEADLINE)[:2] == ("Failed", "PodsNotCreated")


def test_a_job_controller_that_lags_changes_no_status() -> None:
    held = Held()
    held.cluster.truths["failed-creates"] = (False, "")
    writes = len(held.operator.statuses)
    assert held.after(15)[0] == "Running"
    assert held.after(20)[0] == "Running"
    assert len(held.operator.statuses) == writes


def not_taken_up(**changes: Any) -> Held:
    """A stage whose Job has just been made; the Job controller has not looked at it."""
    held = Held(**changes)
    held.job.seen = replace(held.job.seen, started_at=None)
    return held


def test_of_a_job_that_the_job_controller_has_not_looked_at_no_events_are_asked_and_the_run_never_fails() -> None:
    """They could tell nothing, and each list keeps an API server from its work that has too much of it already."""
    held = not_taken_up()
    writes = len(held.operator.statuses)
    for _ in range(8):
        assert held.after(11)[0] == "Running"
    assert (len(held.operator.statuses), held.asked) == (writes, [])
    assert held.after(11)[:2] == ("Waiting", "PodsNotCreated")
    assert "has not looked at the Job" in held.after(100 * DEADLINE)[2]
    assert held.operator.status.phase == "Waiting"
    assert not held.asked
    held.job.seen = replace(held.job.seen, started_at=held.cluster.now)
    assert held.after(5)[0] == "Running", "the deadline counts from here"
    held.cluster.truths["failed-creates"] = (True, "exceeded quota: gpus")
    assert held.after(10)[:2] == ("Waiting", "QuotaExceeded")


@pytest.mark.parametrize("in_queue", [50.0, 10 * DEADLINE])
def test_a_job_that_its_queue_has_let_go_waits_for_the_job_controller_like_a_new_one(in_queue: float) -> None:
    held = suspended_by_queue()
    held.cluster.truths["workload"] = (True, "no room")
    held.after(in_queue)
    held.job.seen = replace(held.job.seen, suspended=False)
    assert held.after(1)[0] == "Running"
    assert held.after(30)[0] == "Running"
    assert held.asked in ([], ["workload"])
    assert held.after(90)[:2] == ("Waiting", "PodsNotCreated")


def test_an_event_that_comes_late_is_reported_instead_of_the_job_controller() -> None:
    held = Held()
    held.cluster.truths["failed-creates"] = (False, "")
    assert held.after(15)[0] == "Running"
    held.cluster.truths["failed-creates"] = (True, "exceeded quota: gpus")
    assert held.after(35) == ("Waiting", "QuotaExceeded", "exceeded quota: gpus")


def test_an_answer_about_an_earlier_job_of_the_name_is_not_believed() -> None:
    held = Held()
    held.cluster.ready = False
    question = Inspection("failed-creates", held.job.seen.name)
    held.cluster.answers[question] = Answer(True, "exceeded quota: gpus", held.cluster.now - timedelta(seconds=1))
    held.cluster.truths["failed-creates"] = (False, "")
    assert held.after(11)[0] == "Running"
    assert held.after(35)[:2] == ("Waiting", "PodsNotCreated")


def test_a_pause_between_attempts_is_no_reason_to_ask() -> None:
    held = Held().with_pods(phase="Failed", exit_code=137)
    held.change_pods(started_at=held.cluster.now, finished_at=held.cluster.now)
    held.job.seen = replace(held.job.seen, active=0, failed=1)
    assert held.after(600)[0] == "Running"
    assert not held.asked
    held.cluster.truths["failed-creates"] = (True, "exceeded quota: pods")
    assert held.after(120)[:2] == ("Waiting", "QuotaExceeded")


def test_a_job_that_the_api_server_finds_invalid_is_a_configuration_error_at_once() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    cluster.carry_out = lambda action: None  # type: ignore[method-assign]
    (create,) = [each for each in operator.settle_once().actions if isinstance(each, CreateJob)]
    work = cluster.work()
    assert isinstance(work, Plan)
    name = job_name("SceneJob", "courtyard", "uid-1", work.work_hash, create.step)
    inspector = Inspector(cast(Client, None), Store(), lambda: cluster.now)
    inspector.note_refused("uid-1", name, "spec.template.spec.tolerations[0].key: Invalid value", invalid=True)
    cluster.answers |= inspector.answers("uid-1")
    operator.settle_once()
    failed = next(each for each in operator.status.conditions if each.type == "Failed")
    assert (failed.status, failed.reason) == ("True", "ConfigurationError")
    assert "tolerations[0].key: Invalid value" in failed.message


def test_a_refused_job_is_tried_again_until_the_start_deadline() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    work: Any = cluster.work()
    name = job_name("SceneJob", "courtyard", "uid-1", work.work_hash, "index")
    refused: list[CreateJob] = []
    cluster.carry_out = refused.append  # type: ignore[method-assign,assignment,arg-type,return-value]

    def look() -> str:
        cluster.answers[Inspection("failed-creates", name)] = Answer(
            True, "exceeded quota: count/jobs.batch", cluster.now
        )
        decision = operator.settle_once()
        assert decision.status is not None
        return decision.status.phase

    assert look() == "Waiting"
    assert refused
    cluster.now += timedelta(seconds=DEADLINE - 10)
    assert look() == "Waiting"
    cluster.now += timedelta(seconds=10)
    assert look() == "Failed"


def test_a_long_wait_before_the_run_takes_nothing_from_the_time_of_a_refused_job() -> None:
    cluster = Cluster(output_holder=ObjectKey("SceneJob", "lab", "other"))
    operator = Operator(cluster)
    assert operator.settle_once().status.reason == "OutputBusy"  # type: ignore[union-attr]
    cluster.now += timedelta(seconds=3 * DEADLINE)
    cluster.output_holder = None
    cluster.carry_out = lambda _action: None  # type: ignore[method-assign,assignment]
    work: Any = cluster.work()
    question = Inspection("failed-creates", job_name("SceneJob", "courtyard", "uid-1", work.work_hash, "index"))
    found = []
    for wait in (0.0, 10.0, DEADLINE):
        cluster.now += timedelta(seconds=wait)
        cluster.answers[question] = Answer(True, "exceeded quota: count/jobs.batch", cluster.now)
        operator.settle_once()
        found.append(operator.status.phase)
    assert found == ["Waiting", "Waiting", "Failed"]


def test_pods_without_room_wait_for_it_as_long_as_such_a_node_exists() -> None:
    held = Held().with_pods(2, unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    assert held.after(10)[0] == "Running"
    assert held.after(30)[:2] == ("Waiting", "WaitingForCapacity")
    assert "Insufficient" in held.after(1)[2]
    assert not held.asked
    assert held.again_after() == pytest.approx(DEADLINE - 41)
    held.cluster.truths["capacity"] = (True, "")
    assert held.after(10 * DEADLINE)[:2] == ("Waiting", "WaitingForCapacity")
    assert held.asked == ["capacity"]
    held.cluster.truths["capacity"] = (False, "no node offers nvidia.com/gpu: 1")
    phase, reason, message = held.after(200)
    assert (phase, reason) == ("Failed", "Unschedulable")
    assert "no node offers nvidia.com/gpu: 1" in message


def test_pods_for_which_a_node_is_being_made_wait_with_the_words_of_the_autoscaler() -> None:
    held = Held().with_pods(unschedulable="0/0 nodes are available")
    held.cluster.truths["capacity"] = (True, "TriggeredScaleUp: gpu-pool 0->1")
    held.after(31)
    assert held.after(10 * DEADLINE)[:2] == ("Waiting", "WaitingForCapacity")
    assert "gpu-pool 0->1" in held.after(200)[2]


def test_a_job_that_cannot_start_is_recreated_from_an_edited_spec() -> None:
    held = Held().with_pods(unschedulable="Insufficient nvidia.com/gpu")
    assert held.after(60)[:2] == ("Waiting", "WaitingForCapacity")
    uid = held.job.seen.uid
    held.cluster.edit(scheduling={"nodeSelector": {"pool": "small"}})
    assert held.after(1)[0] == "Running"
    assert held.job.seen.deleting
    for _ in range(5):
        held.cluster.tick()
        held.operator.settle()
    assert held.job.seen.uid != uid
    assert held.operator.run().phase == "Complete"
    assert held.operator.status.starts == 1


def test_a_correction_before_the_first_notice_is_not_lost() -> None:
    held = Held(scheduling={"nodeSelector": {"pool": "smal"}}).with_pods(unschedulable="0/3 nodes match")
    assert held.after(5)[0] == "Running"
    held.cluster.edit(scheduling={"nodeSelector": {"pool": "small"}})
    assert held.after(5)[0] == "Running"
    assert held.operator.status.observed_generation == held.cluster.generation
    assert not held.job.seen.deleting
    held.after(PATIENCE.notice)
    assert held.job.seen.deleting, "at the first notice it is made anew with the right selector"


def test_a_corrected_image_of_the_configuration_reaches_a_job_that_cannot_start() -> None:
    held = Held().with_pods(waiting_reason="ImagePullBackOff", waiting_message="not found")
    assert held.after(30)[:2] == ("Waiting", "ImagePullBackOff")
    assert not held.job.seen.deleting
    held.operator.settings = DecideSettings(
        pods=PODS.model_copy(update={"images": {name: f"{name}:2" for name in IMAGES}})
    )
    held.after(1)
    assert held.job.seen.deleting


@pytest.mark.parametrize("fields", [{"succeeded": 1}, {"suspended": True}])
def test_a_job_that_has_run_or_that_a_queue_holds_is_not_recreated(fields: dict[str, Any]) -> None:
    held = Held(scheduling={"queueName": "lab"}).with_pods(unschedulable="Insufficient nvidia.com/gpu")
    held.job.seen = replace(held.job.seen, **fields)
    assert held.after(200)[0] == "Waiting"
    held.cluster.edit(ttlSecondsAfterFinished=60)
    assert held.after(1)[0] == "Waiting"
    assert not held.job.seen.deleting


def test_more_pods_than_gpus_is_no_trouble_at_all() -> None:
    held = Held().with_pods(8, unschedulable="Insufficient nvidia.com/gpu")
    held.job.seen = replace(held.job.seen, ready=8)
    assert held.after(10 * DEADLINE)[0] == "Running"
    assert not held.asked


def test_a_stage_of_which_a_pod_has_run_waits_for_room_for_ever() -> None:
    held = Held().with_pods(unschedulable="Insufficient nvidia.com/gpu")
    held.job.seen = replace(held.job.seen, succeeded=1)
    assert held.after(10 * DEADLINE)[:2] == ("Waiting", "WaitingForCapacity")
    assert not held.asked


def suspended_by_queue(queue: str = "lab") -> Held:
    """A stage whose Job waits in a queue."""
    held = Held(scheduling={"queueName": queue})
    held.job.seen = replace(held.job.seen, suspended=True, started_at=None)
    return held


def test_a_job_in_a_queue_tells_the_queues_words_and_never_fails() -> None:
    held = suspended_by_queue()
    held.cluster.truths["workload"] = (True, "couldn't assign flavors: insufficient unused quota")
    assert held.after(30)[0] == "Running"
    assert held.after(31) == ("Waiting", "QueuePending", "couldn't assign flavors: insufficient unused quota")
    held.cluster.truths["workload"] = (True, "position 3")
    assert held.after(PATIENCE.queue_answer_age + 1)[2] == "position 3"
    assert held.after(100 * DEADLINE)[1] == "QueuePending"
    held.job.seen = replace(held.job.seen, suspended=False, started_at=held.cluster.now)
    assert held.after(5)[0] == "Running"


@pytest.mark.parametrize(("was_admitted", "parallelism"), [(False, 2), (True, 1)])
def test_the_parallelism_of_a_suspended_job_is_edited_until_its_queue_has_admitted_it_once(
    was_admitted: bool, parallelism: int
) -> None:
    held = Held(scheduling={"queueName": "lab"})
    if was_admitted:
        held.with_pods(phase="Running")
        held.change_pods(started_at=held.cluster.now)
        held.after(5)
        # A queue that evicts restores the parallelism that it had lowered after it has suspended the Job.
        held.job.seen = replace(held.job.seen, parallelism=1)
    held.job.seen = replace(held.job.seen, suspended=True, started_at=None)
    held.cluster.edit_execution(maxParallelism=2)
    held.after(5)
    assert held.job.seen.parallelism == parallelism


def test_a_queue_that_nobody_serves_is_reported_after_five_minutes() -> None:
    held = suspended_by_queue()
    held.cluster.truths["workload"] = (False, "")
    assert held.after(61)[:2] == ("Waiting", "QueuePending")
    assert held.after(240)[:2] == ("Waiting", "QueueControllerMissing")
    held.cluster.truths["workload"] = (True, "admitted soon")
    assert held.after(200)[:2] == ("Waiting", "QueuePending")


def test_who_may_not_read_the_queue_does_not_say_that_it_is_missing() -> None:
    held = suspended_by_queue()
    held.cluster.truths["workload"] = (None, "is unknown: 403 Forbidden: workloads is forbidden")
    words = "waits in the queue lab; why is unknown: 403 Forbidden: workloads is forbidden"
    assert held.after(61) == ("Waiting", "QueuePending", words)
    assert held.after(10 * DEADLINE) == ("Waiting", "QueuePending", words)


def test_a_queue_that_does_not_exist_fails_the_run_at_the_start_deadline_and_so_frees_its_output() -> None:
    held = suspended_by_queue()
    held.cluster.truths["workload"] = (False, "the LocalQueue lab does not exist")
    assert held.after(61)[:2] == ("Waiting", "QueuePending")
    assert held.after(PATIENCE.queue_controller)[:2] == ("Waiting", "QueueControllerMissing")
    phase, reason, message = held.after(DEADLINE)
    assert (phase, reason) == ("Failed", "QueueControllerMissing")
    assert "the LocalQueue lab does not exist" in message
    assert held.job.seen.deleting


def test_a_corrected_queue_reaches_a_job_whose_queue_does_not_exist() -> None:
    held = suspended_by_queue()
    held.cluster.truths["workload"] = (False, "the LocalQueue lab does not exist")
    held.after(PATIENCE.queue_controller)
    assert not held.job.seen.deleting
    held.cluster.edit(scheduling={"queueName": "gpus"})
    held.after(1)
    assert held.job.seen.deleting


def test_a_job_whose_pods_have_run_never_fails_of_a_workload_that_is_away_for_a_moment() -> None:
    held = suspended_by_queue()
    held.job.seen = replace(held.job.seen, succeeded=1)
    held.cluster.truths["workload"] = (False, "")
    for _ in range(3):
        assert held.after(DEADLINE)[:2] == ("Waiting", "QueueControllerMissing")


@pytest.mark.parametrize(
    "scheduling", [{}, {"labels": {"kueue.x-k8s.io/queue-name": "lab"}}], ids=["defaulted by the queue", "by label"]
)
def test_the_queue_is_the_one_that_the_live_job_names(scheduling: dict[str, Any]) -> None:
    held = Held(scheduling=scheduling)
    labelled = replace(held.job.seen, queue="lab")
    held.job.seen = replace(labelled, suspended=True, started_at=None)
    held.cluster.truths["workload"] = (True, "position 3")
    assert held.after(61) == ("Waiting", "QueuePending", "position 3")
    held.job.seen = replace(labelled, completions=8, parallelism=2)
    held.after(1)
    assert held.job.seen.parallelism == 2, "how many Pods of an admitted Job run is its queue's to say"


def test_time_in_the_queue_does_not_count_for_the_start_deadline() -> None:
    held = suspended_by_queue()
    held.after(10 * DEADLINE)
    held.job.seen = replace(held.job.seen, suspended=False, started_at=held.cluster.now)
    held.with_pods(waiting_reason="ContainerCreating")
    assert held.after(60)[0] == "Running"


def test_a_job_that_a_person_suspended_is_named() -> None:
    held = Held()
    held.job.seen = replace(held.job.seen, suspended=True)
    held.cluster.truths["workload"] = (False, "")
    assert held.after(61)[:2] == ("Waiting", "JobSuspended")


def test_a_job_that_kueue_took_without_a_queue_says_which_field_is_missing() -> None:
    held = Held()
    held.job.seen = replace(held.job.seen, suspended=True)
    held.cluster.truths["workload"] = (True, "the workload has no queue")
    phase, reason, message = held.after(61)
    assert (phase, reason) == ("Waiting", "QueuePending")
    assert "manageJobsWithoutQueueName" in message and "scheduling.queueName" in message
    assert held.after(100_000)[:2] == ("Waiting", "QueuePending")


def test_without_rights_at_kueue_both_causes_are_named() -> None:
    held = Held()
    held.job.seen = replace(held.job.seen, suspended=True)
    held.cluster.truths["workload"] = (None, "forbidden")
    phase, reason, message = held.after(61)
    assert (phase, reason) == ("Waiting", "JobSuspended")
    assert "somebody suspended" in message and "manageJobsWithoutQueueName" in message


@pytest.mark.parametrize("of", ["Job", "Pod"])
@pytest.mark.parametrize("why", ["edited", "suspended"])
def test_a_finalizer_of_somebody_else_is_named_while_it_keeps_a_job(of: str, why: str) -> None:
    held = Held().with_pods(phase="Failed", exit_code=143)
    if of == "Pod":
        held.change_pods(held_by="foreign.example/guard")
    else:
        held.job.seen = replace(held.job.seen, held_by="foreign.example/guard")
    held.job.ticks_to_go = 10_000
    held.cluster.edit(**({"suspend": True} if why == "suspended" else {"output": {"uri": "s3://scenes/else"}}))
    phase, reason, message = held.after_deletion()
    assert (phase, reason) == (("Suspended", "Suspending") if why == "suspended" else ("Waiting", "DeletionHeld"))
    assert "foreign.example/guard" in message and f"the {of} " in message


def test_a_pod_that_an_injected_container_keeps_is_named_and_never_fails_the_run() -> None:
    held = Held()
    ended = {"exit_code": 0, "started_at": held.cluster.now, "finished_at": held.cluster.now}
    held.with_pods(phase="Running", still_running="istio-proxy", **ended)
    held.job.seen = replace(held.job.seen, ready=0)
    assert held.after(30)[0] != "Waiting"
    phase, reason, message = held.after(40)
    assert (phase, reason) == ("Waiting", "SidecarRuns") and "istio-proxy" in message
    assert held.after(100_000)[1] == "SidecarRuns"
    held.change_pods(phase="Succeeded", still_running="")
    assert held.after(1)[1] != "SidecarRuns"


def test_an_output_that_another_object_writes_to_is_waited_for_by_name() -> None:
    cluster = Cluster(output_holder=ObjectKey("SceneJob", "lab", "older"))
    operator = Operator(cluster)
    operator.settle()
    found = next(each for each in operator.status.conditions if each.type == "Waiting")
    assert (found.status, found.reason) == ("True", "OutputBusy")
    assert "SceneJob lab/older" in found.message
    assert [(event.type, event.reason) for event in operator.events] == [("Normal", "OutputBusy")]
    assert not operator.created
    cluster.output_holder = None
    assert operator.run().phase == "Complete"


def test_an_object_of_another_namespace_is_waited_for_without_its_name() -> None:
    operator = Operator(Cluster(output_holder=ObjectKey("DatasetJob", "team-b", "secret-product")))
    operator.settle()
    (found,) = (each for each in operator.status.conditions if each.type == "Waiting")
    assert (found.status, found.reason) == ("True", "OutputBusy")
    texts = [operator.status.model_dump_json(), *(event.message for event in operator.events)]
    assert not any("secret-product" in text or "team-b" in text for text in texts)


def test_the_status_says_where_the_jobs_of_an_edited_object_still_write() -> None:
    operator = Operator(Cluster())
    operator.settle()
    assert operator.status.writing.place == "s3://scenes/curated"
    operator.cluster.edit(output={"uri": "s3://scenes/elsewhere"})
    operator.settle()
    assert operator.status.writing.place == "s3://scenes/curated", "its Jobs are only being deleted"
    operator.run()
    assert operator.status.writing.place == "s3://scenes/elsewhere"


def test_the_output_gate_is_for_the_start_only_and_not_for_plans() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    operator.settle()
    cluster.output_holder = ObjectKey("SceneJob", "lab", "older")
    assert operator.run().phase == "Complete"
    planning = Cluster(output_holder=ObjectKey("SceneJob", "lab", "older"))
    planning.edit_execution(planOnly=True)
    assert Operator(planning).run().phase == "Complete"


def terminating(ready: bool | None) -> Held:
    """A Pod that was told to end and whose node is well or not."""
    held = Held().with_pods(phase="Running")
    held.change_pods(started_at=held.cluster.now, deleted_at=held.cluster.now + timedelta(seconds=30))
    held.cluster.truths["node"] = (ready, "")
    return held


def released(held: Held) -> list[str]:
    """Pods that the next decisions release."""
    names: list[str] = []
    carry_out = held.cluster.carry_out

    def note(action: Any) -> None:
        if isinstance(action, ReleasePod):
            names.append(action.name)
        carry_out(action)

    held.cluster.carry_out = note  # type: ignore[method-assign]
    held.operator.settle()
    held.cluster.carry_out = carry_out  # type: ignore[method-assign]
    return names


def test_a_pod_on_a_lost_node_is_released_a_minute_after_its_grace_period() -> None:
    held = terminating(ready=False)
    assert held.again_after() == pytest.approx(90)
    held.cluster.now += timedelta(seconds=89)
    assert not released(held)
    assert not held.asked
    held.cluster.now += timedelta(seconds=1)
    assert len(released(held)) == 1
    assert held.asked == ["node"]


def test_a_pod_that_takes_its_time_on_a_node_that_is_well_is_left_alone() -> None:
    held = terminating(ready=True)
    held.cluster.now += timedelta(seconds=1000)
    assert not released(held)
    assert held.asked == ["node"]
    assert held.again_after() is not None


def forbidden(held: Held, inspection: Inspection) -> None:
    """The operator asks the API server, which lets it see no node."""

    class Forbidding:
        async def get(self, resource: Any, _namespace: str, _name: str) -> dict[str, Any]:
            if resource.plural != "nodes":
                return {"spec": {"template": {"spec": {"containers": [{}]}}}}
            raise ApiError(403, "Forbidden", "nodes is forbidden")

        async def pages(self, resource: Any, *_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
            if resource.plural == "nodes":
                raise ApiError(403, "Forbidden", "nodes is forbidden")
            yield {"items": []}

    inspector = Inspector(cast(Client, Forbidding()), Store(), lambda: held.cluster.now)
    asyncio.run(inspector.ask(held.cluster.observed(), inspection))
    held.cluster.answers |= inspector.answers("uid-1")


def test_who_may_not_see_nodes_releases_no_pod() -> None:
    held = terminating(ready=True)
    held.cluster.now += timedelta(seconds=1000)
    forbidden(held, Inspection("node", "node-1"))
    assert not released(held)


def test_who_may_not_see_nodes_fails_no_run_for_want_of_them() -> None:
    held = Held().with_pods(unschedulable="Insufficient nvidia.com/gpu")
    held.cluster.now += timedelta(seconds=DEADLINE)
    forbidden(held, Inspection("capacity", held.job.seen.name))
    assert held.after(1)[:2] == ("Waiting", "WaitingForCapacity")


def test_pods_on_lost_nodes_are_released_whatever_the_object_does() -> None:
    scenes: list[Callable[[Held], None]] = [
        lambda held: held.cluster.edit(suspend=True),
        lambda held: held.cluster.edit(vistadream={"mode": "sideways"}),
        lambda held: held.cluster.edit_execution(seed=7),
    ]
    for scene in scenes:
        held = terminating(ready=False)
        scene(held)
        held.operator.settle()
        held.cluster.now += timedelta(seconds=200)
        assert len(released(held)) == 1


def test_nothing_is_asked_on_the_happy_path() -> None:
    cluster = Cluster()
    asked: list[Any] = []
    carry_out = cluster.carry_out
    cluster.carry_out = lambda action: (
        asked.append(action) if isinstance(action, Inspect) else None,
        carry_out(action),
    )[1]  # type: ignore[method-assign,func-returns-value]
    Operator(cluster).run()
    assert not asked
