"""The operator on a real control plane with simulated Pods: what its users do, without faults."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import SHARDS, Bench, bench, seconds_for, serving

from cluster import Behaviour
from scenewright_stages.contract.reports import Report, StageCounts

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow


def condition(value: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((each for each in value.get("status", {}).get("conditions", []) if each["type"] == kind), {})


def read(bench: Bench, name: str) -> dict[str, Any]:
    return op.objects(bench.cluster, bench.namespace).get(name, {})


def merge(bench: Bench, name: str, patch: dict[str, Any]) -> None:
    bench.cluster.api.merge(f"{op.OBJECTS.format(bench.namespace)}/{name}", patch)


def has_phase(bench: Bench, name: str, phase: str, seconds: float = 60.0) -> dict[str, Any]:
    op.eventually(lambda: bench.phases().get(name) == phase, seconds, f"{name} is {phase}; {bench.explain()}")
    return read(bench, name)


def steps(bench: Bench) -> set[str]:
    return {job["metadata"]["labels"]["scenewright.io/step"] for job in bench.jobs()}


def test_an_object_goes_through_index_stages_and_publish(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin(3, 0.5)
    bench.check_all_complete(bench.wait_ended(seconds_for(3)), names)
    bench.check_each_job_once(names)
    status = read(bench, names[0])["status"]
    assert status["progress"] == "48/48"
    assert [stage["state"] for stage in status["stages"]] == ["Done"] * 3
    assert all(stage["samples"]["done"] == 16 for stage in status["stages"])


def test_kubectl_wait_and_get_show_the_end(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.begin(1, 0.2)

    def kubectl(*arguments: str) -> str:
        command = [bench.cluster.kubectl, f"--kubeconfig={bench.cluster.kubeconfig}", "-n", bench.namespace]
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout

    kubectl("wait", "--for=condition=Complete", "--timeout=90s", "scenejob/scene-000")
    header, row = kubectl("get", "scenejobs").splitlines()
    assert header.split() == [
        "NAME", "PIPELINE", "PHASE", "REASON", "STAGE", "PROGRESS", "FAILED", "RATE", "MESSAGE", "AGE",
    ]  # fmt: skip
    assert row.split()[:4] == ["scene-000", "gpuChain", "Complete", "48/48"]
    described = kubectl("describe", "scenejob", "scene-000")
    assert "Started" in described
    assert "all 16 samples are done" in described


def test_an_edit_of_the_work_ends_its_jobs_and_starts_the_next(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(60.0))
    op.create(bench.cluster, bench.namespace, [op.chain_object("edited")])
    op.eventually(lambda: "paint" in steps(bench), 60, "the first stage runs")
    before = {job["metadata"]["uid"] for job in bench.jobs()}
    bench.cluster.simulate(bench.namespace, op.behaviours(0.2))
    merge(bench, "edited", {"spec": {"gpuChain": {"paint": 1}}})
    has_phase(bench, "edited", "Complete", 90)
    alive = [
        job for job in bench.jobs() if job["metadata"]["uid"] in before and not job["status"].get("completionTime")
    ]
    assert not alive
    assert len({job["metadata"]["labels"]["scenewright.io/work-hash"] for job in bench.jobs()}) >= 1


def test_an_edit_that_is_no_work_starts_nothing(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin(1, 0.2)
    bench.wait_ended(seconds_for(1))
    merge(bench, names[0], {"spec": {"execution": {"maxParallelism": 3}}, "metadata": {"labels": {"a": "b"}}})
    has_phase(bench, names[0], "Complete")
    bench.check_each_job_once(names)


def test_suspending_ends_the_jobs_and_resuming_continues(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(60.0))
    op.create(bench.cluster, bench.namespace, [op.chain_object("paused")])
    op.eventually(lambda: "paint" in steps(bench), 60, "the first stage runs")
    merge(bench, "paused", {"spec": {"suspend": True}})
    has_phase(bench, "paused", "Suspended")
    # The phase tells the wish; the condition is true only when its Jobs have ended.
    op.eventually(lambda: condition(read(bench, "paused"), "Suspended")["status"] == "True", 30, "nothing runs")
    assert not [job for job in bench.jobs() if not job["status"].get("completionTime")]
    bench.cluster.simulate(bench.namespace, op.behaviours(0.2))
    merge(bench, "paused", {"spec": {"suspend": False}})
    has_phase(bench, "paused", "Complete", 90)


def test_objects_are_listed_in_pages(bench: Bench) -> None:
    """All at once would be held in memory as one document, again at every list anew: kopf's default."""
    count = 220
    suspended = (op.chain_object(f"scene-{number:03d}", suspend=True) for number in range(count))
    op.create(bench.cluster, bench.namespace, suspended)
    mark = bench.cluster.audit.mark()
    bench.operator().start().wait_ready()
    op.eventually(lambda: list(bench.phases().values()) == ["Suspended"] * count, 60, "every object was seen")
    requests = bench.cluster.audit.requests(mark, user=op.USER)
    lists = [each.user_agent for each in requests if (each.verb, each.resource) == ("list", "scenejobs")]
    assert sum("kopf" in agent for agent in lists) == 3, lists


def test_a_retry_annotation_runs_the_work_again_once(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin(1, 0.2)
    bench.wait_ended(seconds_for(1))
    first = read(bench, names[0])["status"]["run"]
    merge(bench, names[0], {"metadata": {"annotations": {"scenewright.io/retry": "1"}}})
    op.eventually(lambda: read(bench, names[0])["status"].get("run") not in ("", None, first), 30, "another run")
    status = has_phase(bench, names[0], "Complete", 90)["status"]
    again = status["run"]
    merge(bench, names[0], {"metadata": {"annotations": {"scenewright.io/retry": None}}})
    merge(bench, names[0], {"spec": {"execution": {"maxParallelism": 5}}})
    assert has_phase(bench, names[0], "Complete")["status"]["run"] == again


def test_objects_with_nested_outputs_run_one_at_a_time(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(2.0))
    op.create(bench.cluster, bench.namespace, [op.chain_object("first", "s3://scenes/shared")])
    time.sleep(1.1)  # Times of creation are whole seconds; within one, either may be the first.
    op.create(bench.cluster, bench.namespace, [op.chain_object("second", "s3://scenes/shared/inner/")])
    waiting = op.eventually(
        lambda: condition(read(bench, "second"), "Waiting").get("reason") == "OutputBusy" and read(bench, "second"),
        30,
        "the second waits",
    )
    assert "first" in condition(waiting, "Waiting")["message"]
    has_phase(bench, "first", "Complete", 90)
    ended = read(bench, "first")["status"]["finishedAt"]
    has_phase(bench, "second", "Complete", 90)
    assert read(bench, "second")["status"]["startedAt"] >= ended


def test_a_deleted_object_leaves_nothing(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin(2, 60.0)
    op.eventually(lambda: len(bench.jobs()) >= 4, 60, "stages run")
    bench.cluster.api.delete(f"{op.OBJECTS.format(bench.namespace)}/{names[0]}")
    op.eventually(lambda: names[0] not in bench.phases(), 30, "the object is gone")
    op.eventually(lambda: len(_jobs_of(bench, names[0])) == 0, 60, "its Jobs are gone")
    assert _jobs_of(bench, names[1])


def test_a_refused_spec_names_the_field(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    manifest = op.chain_object("wrong")
    manifest["spec"]["gpuChain"] = {"paint": -1}
    op.create(bench.cluster, bench.namespace, [manifest])
    failed = has_phase(bench, "wrong", "Failed")
    assert "spec.gpuChain.paint" in condition(failed, "Failed")["message"]
    assert not bench.jobs()


def test_an_unchanged_dataset_costs_index_and_publish_only(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    counts = {name: StageCounts(total=4, done=4) for name in ("paint", "shape", "polish")}
    reports = {step: Report(step=step, samples=4, stages=counts).to_bytes().decode() for step in ("index", "publish")}
    bench.cluster.simulate(bench.namespace, {step: Behaviour(0.2, message=text) for step, text in reports.items()})
    op.create(bench.cluster, bench.namespace, [op.chain_object("unchanged")])
    has_phase(bench, "unchanged", "Complete")
    assert steps(bench) == {"index", "publish"}
    pods = [job["spec"]["template"]["spec"]["containers"][0].get("resources", {}) for job in bench.jobs()]
    assert not any("nvidia.com/gpu" in (each.get("limits") or {}) for each in pods)


def test_metrics_tell_of_the_work(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    names = bench.begin(2, 0.2)
    bench.wait_ended(seconds_for(2))
    assert operator.metric("scenewright_finished_total", result="Complete") == len(names)
    assert operator.metric("scenewright_jobs", phase="Complete") == len(names)
    pods = 2 + len(op.STAGES) * SHARDS
    assert operator.metric("scenewright_attempts_total", **{"class": "success"}) == pods * len(names)
    assert operator.metric("scenewright_api_requests_total", verb="create", resource="jobs", code="201") == 10
    assert operator.metric("scenewright_leader") == 1


def test_a_second_operator_stands_by_and_takes_over(bench: Bench) -> None:
    first = bench.operator("operator-a").start().wait_ready()
    second = bench.operator("operator-b").start().wait_alive()
    names = bench.begin(4, (0.5, 2.0))
    op.eventually(lambda: sum(bench.created_jobs().values()) >= 6, 60, "the first works")
    assert second.running
    assert second.metric("scenewright_leader") == 0
    assert second.metric("scenewright_api_requests_total", verb="create", resource="jobs") == 0
    first.kill()
    bench.check_all_complete(bench.wait_ended(seconds_for(4)), names)
    bench.check_each_job_once(names)
    assert second.metric("scenewright_leader") == 1


def test_a_stopped_operator_gives_its_lease_back(bench: Bench) -> None:
    first = bench.operator("operator-a", lease=_long_lease(bench)).start().wait_ready()
    assert first.stop() == 0
    # A lease of 60 s that was not given back would keep this one waiting.
    bench.operator("operator-b", lease=_long_lease(bench)).start().wait_ready(30)


def _long_lease(bench: Bench) -> dict[str, Any]:
    return {"namespace": op.SYSTEM, "name": f"long-{bench.namespace}", "seconds": 60}


def _jobs_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    return [job for job in bench.jobs() if job["metadata"]["labels"]["scenewright.io/object"] == name]
