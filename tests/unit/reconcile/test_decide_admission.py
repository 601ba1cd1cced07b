"""Objects that Kueue admits as a whole: held from the first to the last stage with a GPU, preempted, given back."""

from __future__ import annotations

import random
from typing import Any

import pytest
from simulated_cluster import PODS, spec_of
from simulated_kueue import STAGES, Kueue, QueuedCluster
from simulated_operator import Operator

from scenewright.execution.jobs import CreateJob, job_manifest
from scenewright.execution.jobs.workload import HoldQuota, workload_manifest, workload_name
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Answer, Inspection
from scenewright.reconcile.decide import decide

QUEUE = {"queueName": "lab", "admission": "Object"}


def queued(kueue: Kueue, name: str, stages: int = 5, samples: int = 4, priority: int = 0, **more: Any) -> Operator:
    """The operator of an object with as many stages on a GPU; each stage has one shard of four samples."""
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    overrides = dict.fromkeys(STAGES[-stages:], gpu)
    execution = {"samplesPerShard": 4, "stageOverrides": overrides, **more.pop("execution", {})}
    spec = spec_of(execution=execution, scheduling={**QUEUE, **more})
    return Operator(QueuedCluster(spec=spec, samples=samples, name=name, kueue=kueue, priority=priority))


def turn(kueue: Kueue, *operators: Operator) -> None:
    for operator in operators:
        operator.settle()
    kueue.tick()
    for operator in operators:
        operator.settle()
        operator.cluster.tick()


def live(kueue: Kueue, *operators: Operator, turns: int = 400) -> None:
    """Until all have ended; the quota is never exceeded, and only admitted objects have Pods with GPUs."""
    for _ in range(turns):
        turn(kueue, *operators)
        assert kueue.used <= kueue.quota
        holding = [operator for operator in operators if operator.cluster.running()]  # type: ignore[attr-defined]
        for operator in holding:
            assert kueue.of(operator.cluster.object.uid) is not None
        if all(operator.status.phase in ("Complete", "Failed") for operator in operators):
            break
    for operator in operators:
        operator.settle()
        assert operator.status.phase == "Complete", operator.status.conditions
    assert not kueue.workloads, "everything is given back"


@pytest.mark.parametrize("stages", [2, 5])
def test_with_quota_for_one_the_second_starts_when_the_first_has_ended(stages: int) -> None:
    kueue = Kueue(quota=1)
    first, second = queued(kueue, "first", stages), queued(kueue, "second", stages)
    live(kueue, first, second)
    admitted = [uid for what, uid in kueue.history if what == "admitted"]
    assert sorted(admitted) == ["uid-first", "uid-second"], "each is admitted once, from its first to its last stage"
    assert [what for what, _ in kueue.history] == ["admitted", "released"] * 2
    for operator in (first, second):
        assert [each.step for each in operator.created].count("coarse") == 1


def test_stage_by_stage_they_would_take_turns() -> None:
    """The baseline that loses: Jobs that queue one by one have no Workload of the object."""
    kueue = Kueue(quota=1)
    single = queued(kueue, "single", admission="Stage")
    single.settle()
    assert not kueue.workloads and single.cluster.observed().workload is None


def test_a_more_urgent_object_preempts_and_the_other_continues_without_a_retry_counted() -> None:
    kueue = Kueue(quota=1)
    patient = queued(kueue, "patient", samples=12, execution={"maxParallelism": 1})
    while patient.status.progress not in ("24/60", "28/60"):
        turn(kueue, patient)
    done = dict(patient.cluster.storage.records)
    urgent = queued(kueue, "urgent", priority=5)
    live(kueue, patient, urgent)
    assert ("evicted", "uid-patient") in kueue.history
    assert done.items() <= patient.cluster.storage.records.items()
    assert (patient.status.restarts, patient.status.passes) == (0, 1)
    assert any(event.reason == "Preempted" for event in patient.events) or patient.status.phase == "Complete"
    order = [uid for what, uid in kueue.history if what == "released"]
    assert order == ["uid-patient", "uid-urgent", "uid-patient"]


@pytest.mark.parametrize("seed", range(6))
def test_objects_that_are_evicted_at_any_moment_all_complete(seed: int) -> None:
    chance = random.Random(seed)
    kueue = Kueue(quota=2)
    operators = [queued(kueue, f"scene-{n}", chance.choice([1, 2, 5]), chance.choice([4, 8])) for n in range(4)]
    for _ in range(60):
        turn(kueue, *operators)
        if chance.random() < 0.15:
            kueue.evict(f"uid-scene-{chance.randrange(4)}", "Evicted by somebody")
        assert kueue.used <= kueue.quota
    live(kueue, *operators, turns=1500)


@pytest.mark.parametrize("why", ["suspend", "budget", "failed"])
def test_whoever_stops_gives_the_quota_back(why: str) -> None:
    kueue = Kueue(quota=1)
    more = {"execution": {"budget": {"gpuHours": 0.002}}} if why == "budget" else {}
    operator = queued(kueue, "first", **more)
    if why == "failed":
        operator.cluster.fate = lambda step, index, attempt: 10 if step == "depth" else 0
    for _ in range(12):
        turn(kueue, operator)
    if why == "suspend":
        assert kueue.of("uid-first") is not None
        operator.cluster.edit(suspend=True)
    for _ in range(12):
        turn(kueue, operator)
    expected = {"suspend": "Suspended", "budget": "Waiting", "failed": "Failed"}[why]
    assert operator.status.phase == expected and not kueue.workloads


def test_it_waits_with_kueues_words_and_asks_again_when_it_needs_something_else() -> None:
    kueue = Kueue(quota=1)
    operator = queued(kueue, "wide", samples=8, execution={"maxParallelism": 2})
    for _ in range(30):
        turn(kueue, operator)
    assert (operator.status.phase, operator.status.reason) == ("Waiting", "QueuePending")
    waiting = next(each for each in operator.status.conditions if each.type == "Waiting")
    assert "insufficient quota for nvidia.com/gpu" in waiting.message
    operator.cluster.edit_execution(maxParallelism=1)
    live(kueue, operator)


def test_its_jobs_name_no_queue_and_run_where_it_was_admitted() -> None:
    kueue = Kueue(quota=1)
    operator = queued(kueue, "first", labels={"kueue.x-k8s.io/queue-name": "other", "team": "vision"})
    live(kueue, operator)
    plan = operator.cluster.work()
    assert isinstance(plan, Plan)
    creates = {each.step: each for each in operator.created}
    job = manifest_of(operator, creates["coarse"])
    pod = job["spec"]["template"]["spec"]
    assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"] and "suspend" not in job["spec"]
    assert pod["nodeSelector"] == {"gpu": "h200"} and pod["tolerations"][-1]["key"] == "gpu"
    assert "nodeSelector" not in manifest_of(operator, creates["publish"])["spec"]["template"]["spec"]


def test_a_workload_asks_for_the_most_that_any_stage_needs() -> None:
    operator = queued(Kueue(1), "first")
    plan = operator.cluster.work()
    assert isinstance(plan, Plan)
    hold = HoldQuota("run-1", (("outpaint", 3), ("coarse", 5)))
    manifest = workload_manifest(plan, operator.cluster.object, hold, PODS)
    (podset,) = manifest["spec"]["podSets"]
    (container,) = podset["template"]["spec"]["containers"]
    assert podset["count"] == 5 and container["resources"]["requests"]["nvidia.com/gpu"] == "1"
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-first"


def manifest_of(operator: Operator, create: CreateJob) -> dict[str, Any]:
    plan = operator.cluster.work()
    assert isinstance(plan, Plan)
    return job_manifest(create.applied_to(plan), operator.cluster.object, create, PODS)


@pytest.mark.parametrize(
    ("manager", "acts"), [(None, True), ("scenewright.io/operator", True), ("kueue.x-k8s.io/multikueue", False)]
)
def test_what_another_controller_manages_is_left_alone(manager: str | None, acts: bool) -> None:
    operator = queued(Kueue(1), "first")
    operator.cluster.edit(managedBy=manager)
    operator.settle()
    assert (bool(operator.created), bool(operator.statuses)) == (acts, acts)


def test_without_kueue_it_says_so_and_asks_again() -> None:
    operator = queued(Kueue(1), "first")
    cluster = operator.cluster
    for _ in range(3):
        operator.settle()
        cluster.tick()
    cluster.kueue.workloads.clear()  # type: ignore[attr-defined]
    plan = cluster.work()
    assert isinstance(plan, Plan)
    question = Inspection("failed-creates", workload_name(plan, cluster.object))
    cluster.answers[question] = Answer(True, "Kueue is not installed", cluster.now)
    decision = decide(cluster.observed(), operator.settings, cluster.now)
    assert decision.status is not None and decision.status.reason == "QueueControllerMissing"
    assert "Kueue is not installed" in decision.status.message or "cannot be created" in decision.status.message
    assert any(isinstance(action, HoldQuota) for action in decision.actions)
