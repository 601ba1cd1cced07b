"""Faults of what the operator has made: Jobs, Pods, nodes and namespaces, changed by others behind its back."""

from __future__ import annotations

import time
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import OBJECTS, Bench, bench, seconds_for, serving

from cluster import Behaviour

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow

PODS = "/api/v1/namespaces/{}/pods"


def pods(bench: Bench) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = bench.cluster.api.get(PODS.format(bench.namespace))["items"]
    return items


def merge(bench: Bench, name: str, patch: dict[str, Any]) -> None:
    bench.cluster.api.merge(f"{op.OBJECTS.format(bench.namespace)}/{name}", patch)


def reason(bench: Bench, name: str, kind: str) -> str:
    status = op.objects(bench.cluster, bench.namespace)[name].get("status", {})
    found = next((each for each in status.get("conditions", []) if each["type"] == kind), {})
    return str(found.get("reason", "")) if found.get("status") == "True" else ""


def live_jobs_by_owner_and_step(bench: Bench) -> list[tuple[str, str]]:
    return [
        (job["metadata"]["ownerReferences"][0]["uid"], job["metadata"]["labels"]["scenewright.io/step"])
        for job in bench.jobs()
        if "deletionTimestamp" not in job["metadata"]
    ]


def test_jobs_and_pods_are_deleted_by_hand(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin()
    for _ in range(max(6, OBJECTS // 2)):
        time.sleep(bench.random.uniform(0.2, 1.5))
        running = [job for job in bench.jobs() if not job["status"].get("completionTime")]
        live = [pod for pod in pods(bench) if pod["status"].get("phase") == "Running"]
        if running and bench.random.random() < 0.5:
            job = bench.random.choice(running)["metadata"]["name"]
            _delete(bench, f"{op.JOBS.format(bench.namespace)}/{job}?propagationPolicy=Background")
        elif live:
            _delete(bench, f"{PODS.format(bench.namespace)}/{bench.random.choice(live)['metadata']['name']}")
        steps = live_jobs_by_owner_and_step(bench)
        assert len(steps) == len(set(steps))
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)


def test_objects_are_edited_suspended_resumed_and_deleted(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin()
    deleted: set[str] = set()
    for round_number in range(max(10, OBJECTS)):
        time.sleep(bench.random.uniform(0.1, 1.0))
        name = bench.random.choice([each for each in names if each not in deleted])
        change = bench.random.choice(("edit", "suspend", "resume", "delete"))
        if change == "delete" and len(deleted) < OBJECTS // 3:
            deleted.add(name)
            bench.cluster.api.delete(f"{op.OBJECTS.format(bench.namespace)}/{name}")
        elif change == "edit":
            merge(bench, name, {"spec": {"gpuChain": {"shape": round_number}}})
        else:
            merge(bench, name, {"spec": {"suspend": change == "suspend"}})
    left = [name for name in names if name not in deleted]
    for name in left:
        merge(bench, name, {"spec": {"suspend": False}})
    op.eventually(lambda: set(bench.phases()) == set(left), 60, "deleted objects are gone")
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), left)
    uids = {each["metadata"]["uid"] for each in op.objects(bench.cluster, bench.namespace).values()}
    op.eventually(
        lambda: {job["metadata"]["ownerReferences"][0]["uid"] for job in bench.jobs()} <= uids, 60, "no Job is left"
    )


def test_the_namespace_is_deleted(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    bench.begin()
    time.sleep(3.0)
    bench.cluster.api.delete(f"/api/v1/namespaces/{bench.namespace}")
    namespace = f"/api/v1/namespaces/{bench.namespace}"
    try:
        op.eventually(lambda: not bench.jobs() and not bench.phases(), 2 * seconds_for(OBJECTS), "everything is gone")
    except AssertionError as error:
        # What the namespace controller says that is left.
        raise AssertionError(f"{error}: {bench.cluster.api.get(namespace)['status']}") from None
    time.sleep(3.0)
    assert operator.running
    assert operator.metric("scenewright_reconcile_total", result="error") == 0
    bench.cluster.create_namespace(bench.namespace)


def test_a_quota_holds_jobs_back_and_says_so(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    path = f"/api/v1/namespaces/{bench.namespace}/resourcequotas"
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3))
    bench.cluster.api.create(path, quota)
    time.sleep(2.0)
    names = bench.begin(3, None)
    op.eventually(lambda: all(reason(bench, name, "Waiting") == "QuotaExceeded" for name in names), 60, "it says why")
    bench.cluster.api.delete(f"{path}/few")
    bench.check_all_complete(bench.wait_ended(90 + seconds_for(3)), names)
    bench.check_each_job_once(names)


def test_a_quota_of_pods_holds_back_and_says_so(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{bench.namespace}/resourcequotas"
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3))
    bench.cluster.api.create(path, quota)
    time.sleep(2.0)
    names = bench.begin(2, None)
    op.eventually(lambda: all(reason(bench, name, "Waiting") == "QuotaExceeded" for name in names), 90, "it says why")
    bench.cluster.api.delete(f"{path}/few")
    bench.check_all_complete(bench.wait_ended(180), names)


def test_all_pods_meet_the_restricted_pod_security_standard(bench: Bench) -> None:
    """All that we make meets the restricted standard."""
    bench.operator().start().wait_ready()
    policy = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    bench.cluster.api.merge(f"/api/v1/namespaces/{bench.namespace}", policy)
    names = bench.begin(2, 0.3)
    bench.check_all_complete(bench.wait_ended(seconds_for(2)), names)


def test_a_lost_node_is_given_up(bench: Bench) -> None:
    """Its Pods terminate for ever; they are released, replaced, and their index has used up no retry."""
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, {**op.behaviours(1.0), "paint": Behaviour(seconds=40.0)})
    names = ["lost-node"]
    op.create(bench.cluster, bench.namespace, [op.chain_object("lost-node")])
    running = op.eventually(
        lambda: [pod for pod in pods(bench) if "-paint-" in pod["metadata"]["name"] and pod["spec"].get("nodeName")],
        60,
        "Pods run",
    )
    node = running[0]["spec"]["nodeName"]
    bench.cluster.lose_node(node)
    try:
        bench.check_all_complete(bench.wait_ended(300), names)
    finally:
        bench.cluster.recover_node(node)
    paint = next(job for job in bench.jobs() if job["metadata"]["name"].endswith("-paint"))
    assert "failedIndexes" not in paint["status"] or not paint["status"]["failedIndexes"]


def test_a_shard_that_always_fails_is_given_up_and_the_chain_goes_on(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, {**op.behaviours(0.3), "shape.2": Behaviour(0.2, exit_code=21)})
    op.create(bench.cluster, bench.namespace, [op.chain_object("partly")])
    assert bench.wait_ended(120) == {"partly": "Complete"}


def test_a_configuration_error_fails_at_once(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, {**op.behaviours(0.3), "shape": Behaviour(0.2, exit_code=10)})
    op.create(bench.cluster, bench.namespace, [op.chain_object("wrong")])
    assert bench.wait_ended(90) == {"wrong": "Failed"}
    assert not [job for job in bench.jobs() if job["metadata"]["name"].endswith("-polish")]


def _delete(bench: Bench, path: str) -> None:
    try:
        bench.cluster.api.delete(path)
    except Exception as problem:
        # It has ended and gone by itself meanwhile.
        assert "404" in str(problem)
