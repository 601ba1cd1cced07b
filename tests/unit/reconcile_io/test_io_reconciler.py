"""Reconciling objects that share an output, from one observation to the next."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import api_objects as raw
import pytest
from plugins import plugins
from reconcile_bench import Bench

from scenewright.kube.client import ApiError
from scenewright.reconcile.act.acting import NameTakenError
from scenewright.reconcile.act.reconciler import Reconciler
from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.cache.projection import observed_job, observed_pod

OLD, YOUNG = ObjectKey("SceneJob", "lab", "old"), ObjectKey("SceneJob", "lab", "young")


def reconciled(bench: Bench, *keys: ObjectKey) -> None:
    async def at_once() -> None:
        await asyncio.gather(*(bench.reconciler.reconcile(key) for key in keys))

    asyncio.run(at_once())


@pytest.mark.parametrize("order", [(OLD, YOUNG), (YOUNG, OLD)])
def test_of_two_objects_that_are_reconciled_at_once_one_begins(order: tuple[ObjectKey, ObjectKey]) -> None:
    bench = Bench()
    bench.put("old", 2)
    bench.put("young", 1)
    reconciled(bench, *order)
    assert bench.notes.created == ["old"]
    reconciled(bench, *order)
    assert set(bench.notes.created) == {"old"}
    assert bench.phase(YOUNG) == "Waiting"


def test_an_output_is_claimed_only_when_the_dependency_holds() -> None:
    with plugins(fitting="toy_fitting:FITTING"):
        bench = Bench()
        bench.put("old", 2, vistadream=None, fitting={"tuningRun": "fixer"})
        reconciled(bench, OLD)
        assert bench.phase(OLD) == "Waiting"
        bench.put("young", 1)
        reconciled(bench, YOUNG)
    assert bench.notes.created == ["young"]


def test_a_run_that_could_not_be_begun_yet_keeps_its_place_and_one_that_was_given_up_does_not() -> None:
    bench = Bench()
    bench.put("old", 2)
    bench.notes.error = RuntimeError("the API server is away")
    with pytest.raises(RuntimeError):
        reconciled(bench, OLD)
    bench.put("young", 1)
    reconciled(bench, YOUNG)
    assert bench.phase(YOUNG) == "Waiting"
    bench.notes.error = None
    document = raw.scene(
        "old", metadata={"resourceVersion": "150", "generation": 3}, spec={"vistadream": {"mode": "?"}}
    )
    bench.router.take("SceneJob", "MODIFIED", document)
    reconciled(bench, OLD)
    reconciled(bench, YOUNG)
    assert bench.notes.created == ["young"]


def forged_pod(**changes: Any) -> dict[str, Any]:
    """A Pod that says in its labels that it is one of ours."""
    pod = raw.pod(phase="Succeeded", containerStatuses=raw.terminated(0, '{"step": "coarse"}'))
    pod["metadata"] |= {"name": "forged", "uid": "forged-uid", **changes}
    return pod


FOREIGN_JOB = [
    {"apiVersion": "batch/v1", "kind": "Job", "name": "s-yard-1a2b3c4d-coarse", "uid": "x", "controller": True}
]


@pytest.mark.parametrize(
    "changes",
    [
        {"ownerReferences": []},
        {"ownerReferences": FOREIGN_JOB},
        {"ownerReferences": [{**raw.POD["metadata"]["ownerReferences"][0], "controller": False}]},
        {"ownerReferences": [{**raw.POD["metadata"]["ownerReferences"][0], "apiVersion": "apps/v1"}]},
        {"namespace": "elsewhere"},
    ],
    ids=["nobody's", "another Job's", "not controlled", "another kind's", "in another namespace"],
)
def test_a_push_counts_only_from_a_pod_of_one_of_the_operators_jobs(changes: dict[str, Any]) -> None:
    bench = Bench()
    document = raw.scene("yard")
    document["metadata"]["uid"] = "object-uid"
    bench.router.take("SceneJob", "ADDED", document)
    job = observed_job(raw.JOB)
    assert job is not None
    bench.jobs.put(job, 1)
    for content in (raw.POD, forged_pod(**changes)):
        pod = observed_pod(content)
        if pod is not None:
            bench.pods.put(pod, 2)
    observed = bench.observed(ObjectKey("SceneJob", "lab", "yard"))
    assert [pod.name for pod in observed.pods] == [raw.POD["metadata"]["name"]]
    forged = bench.router.pushing_pod(changes.get("namespace", "lab"), "forged")
    assert forged is None, "its counters are not taken either"
    known = bench.router.pushing_pod("lab", raw.POD["metadata"]["name"])
    assert known is not None and known.owner_uid == "object-uid"


def test_a_job_of_another_namespace_is_no_job_of_the_object_that_it_names() -> None:
    bench = Bench()
    document = raw.scene("yard")
    document["metadata"]["uid"] = "object-uid"
    bench.router.take("SceneJob", "ADDED", document)
    foreign = raw.job()
    foreign["metadata"]["namespace"] = "elsewhere"
    job = observed_job(foreign)
    assert job is not None
    bench.jobs.put(job, 1)
    assert bench.observed(ObjectKey("SceneJob", "lab", "yard")).jobs == ()


def test_changed_labels_do_not_hide_a_pod_of_the_operator() -> None:
    bench = Bench()
    document = raw.scene("yard")
    document["metadata"]["uid"] = "object-uid"
    bench.router.take("SceneJob", "ADDED", document)
    job = observed_job(raw.JOB)
    relabelled = raw.pod()
    relabelled["metadata"]["labels"]["scenewright.io/owner-uid"] = "another"
    pod = observed_pod(relabelled)
    assert job is not None and pod is not None
    bench.jobs.put(job, 1)
    bench.pods.put(pod, 2)
    assert len(bench.observed(ObjectKey("SceneJob", "lab", "yard")).pods) == 1


FAULTS = [
    ValueError("a value that nobody foresaw"),
    KeyError("stage"),
    RuntimeError(),
    RecursionError("too deep"),
    NameTakenError("Job lab/x exists and belongs to something else; delete or rename it"),
    ApiError(403, "Forbidden", "jobs.batch is forbidden: cannot patch"),
]


def with_fault(bench: Bench, where: str, error: Exception) -> Reconciler:
    """A reconciler that fails while it observes, decides or acts."""

    def fail(*_: object) -> Any:
        raise error

    match where:
        case "observing":
            observer = replace(bench.observer, plans=cast(Any, SimpleNamespace(plan=fail)))
            return replace(bench.reconciler, observer=observer)
        case "deciding":
            return replace(bench.reconciler, decide=fail)
        case _:
            bench.notes.error = error
            return bench.reconciler


@pytest.mark.parametrize("where", ["observing", "deciding", "acting"])
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_whatever_stops_an_object_is_in_its_status_until_it_goes_on(where: str, error: Exception) -> None:
    bench = Bench()
    bench.put("old", 2)
    broken = with_fault(bench, where, error)
    asyncio.run(broken._handle(OLD))
    waiting = bench.condition(OLD, "Waiting")
    assert waiting is not None and waiting.status == "True"
    assert (str(error) or type(error).__name__) in waiting.message
    assert waiting.reason in ("OperatorError", "JobNameTaken", "NotPermitted")
    bench.notes.error = None
    reconciled(bench, OLD)
    assert bench.phase(OLD) == "Indexing" and bench.notes.created == ["old"], "nothing is lost"


def test_what_has_ended_keeps_its_end_whatever_fails_later() -> None:
    bench = Bench()
    document = raw.scene("old", status={"phase": "Complete", "observedGeneration": 2})
    bench.router.take("SceneJob", "ADDED", document)
    asyncio.run(with_fault(bench, "deciding", ValueError("x"))._handle(OLD))
    assert bench.phase(OLD) == "Complete"


@pytest.mark.parametrize("status", [409, 429, 500, 504])
def test_what_should_pass_but_lasts_is_reported_until_it_has_passed(status: int) -> None:
    bench = Bench()
    bench.put("old", 2)
    text = 'Internal error occurred: failed calling webhook "policy.lab": context deadline exceeded'
    for _ in range(9):
        asyncio.run(with_fault(bench, "acting", ApiError(status, "InternalError", text))._handle(OLD))
    waiting = bench.condition(OLD, "Waiting")
    assert waiting is not None and (waiting.status, waiting.reason) == ("True", "ApiServerFails")
    assert "policy.lab" in waiting.message
    bench.notes.error = None
    reconciled(bench, OLD)
    assert bench.phase(OLD) == "Indexing" and bench.notes.created == ["old"]


@pytest.mark.parametrize("status", [0, 409, 429, 503])
def test_what_passes_by_itself_is_not_reported(status: int) -> None:
    bench = Bench()
    bench.put("old", 2)
    asyncio.run(with_fault(bench, "acting", ApiError(status, "", "busy"))._handle(OLD))
    assert bench.condition(OLD, "Waiting") is None
