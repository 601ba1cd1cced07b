"""Faults of what the operator has made: Jobs, Pods, nodes and namespaces, changed by others behind its back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import OBJECTS, PODS, SHARDS, Bench, bench, seconds_for, serving

from cluster import Behaviour, simulation
from cluster.api import ApiError

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow


def merge(bench: Bench, name: str, patch: dict[str, Any]) -> None:
    bench.cluster.api.merge(f"{op.OBJECTS.format(bench.namespace)}/{name}", patch)


def reason_of(value: dict[str, Any], kind: str) -> str:
    conditions = value.get("status", {}).get("conditions", [])
    return next((each["reason"] for each in conditions if each["type"] == kind and each["status"] == "True"), "")


def live_jobs_by_owner_and_step(bench: Bench) -> list[tuple[str, str]]:
    return [
        (job["metadata"]["ownerReferences"][0]["uid"], job["metadata"]["labels"]["scenewright.io/step"])
        for job in bench.jobs()
        if "deletionTimestamp" not in job["metadata"]
    ]


@pytest.mark.soak
def test_jobs_and_pods_are_deleted_by_hand(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    names = bench.begin(seconds=(0.5, 3.0 + OBJECTS / 10))
    deleted = 0
    for _ in range(max(6, OBJECTS // 2)):
        time.sleep(bench.random.uniform(0.2, 1.5))
        jobs = [job for job in bench.jobs() if not job["status"].get("completionTime")]
        pods = bench.pods("fieldSelector=status.phase=Running")
        if jobs:
            job = bench.random.choice(jobs)["metadata"]["name"]
            deleted += _delete(bench, f"{op.JOBS.format(bench.namespace)}/{job}?propagationPolicy=Background")
        if pods:
            pod = bench.random.choice(pods)["metadata"]["name"]
            deleted += _delete(bench, f"{PODS.format(bench.namespace)}/{pod}")
        steps = live_jobs_by_owner_and_step(bench)
        assert len(steps) == len(set(steps))
    print(f"{deleted} Jobs and Pods were deleted")
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)
    bench.check_nothing_is_left()


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
    make_namespace_again(bench, 60)


def make_namespace_again(bench: Bench, seconds: float) -> None:
    """Waits until the deleted namespace itself is gone, which is a moment after its last object."""

    def is_gone() -> bool:
        found = bench.cluster.api.get("/api/v1/namespaces")["items"]
        return bench.namespace not in {each["metadata"]["name"] for each in found}

    op.eventually(is_gone, seconds, "the namespace is gone")
    bench.cluster.create_namespace(bench.namespace)


@pytest.mark.soak
def test_a_namespace_whose_pods_have_failed_is_not_held_by_our_jobs(bench: Bench) -> None:
    """The Job controller keeps a failed Pod of such a Job until its replacement is there, which nobody may create."""
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3, shards=1))
    nowhere = {"gpuResource": "example.com/none"}
    op.create(bench.cluster, bench.namespace, [op.chain_object(f"scene-{n}", scheduling=nowhere) for n in range(3)])
    pods = f"/api/v1/namespaces/{bench.namespace}/pods?labelSelector=scenewright.io/step=paint"
    op.eventually(lambda: len(bench.cluster.api.get(pods)["items"]) == 3, 60, "each has a Pod that no node takes")
    bench.cluster.api.delete(f"/api/v1/namespaces/{bench.namespace}")
    make_namespace_again(bench, 180)
    assert not bench.jobs() and not bench.phases()


@pytest.mark.parametrize("what", ["count/jobs.batch", "pods"])
def test_a_quota_holds_back_and_says_so(bench: Bench, what: str) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3, shards=SHARDS))
    path = f"/api/v1/namespaces/{bench.namespace}/resourcequotas"
    bench.cluster.api.create(path, quota(what))
    op.eventually(lambda: bench.cluster.api.get(f"{path}/few").get("status", {}).get("hard"), 30, "the quota holds")
    names = bench.begin(seconds=None)
    wait_all_say(bench, "QuotaExceeded")
    bench.cluster.api.delete(f"{path}/few")
    bench.check_all_complete(bench.wait_ended(180 + seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


def quota(what: str) -> dict[str, Any]:
    metadata, spec = {"name": "few"}, {"hard": {what: "0"}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}


def wait_all_say(bench: Bench, why: str) -> None:
    """Every object waits, for this reason."""

    def look() -> bool:
        return all(reason_of(each, "Waiting") == why for each in op.objects(bench.cluster, bench.namespace).values())

    op.eventually(look, 60 + seconds_for(OBJECTS), f"every object says {why}", 1.0)


@pytest.mark.soak
def test_pod_security_refuses_pods_and_every_object_says_so(bench: Bench) -> None:
    """All that we make meets the restricted standard; what a policy of others adds to it may not."""
    bench.operator().start().wait_ready()
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    bench.cluster.api.merge(f"/api/v1/namespaces/{bench.namespace}", labels)
    bench.cluster.simulate(bench.namespace, op.behaviours(0.3, shards=SHARDS))
    with pods_on_the_hosts_network(bench):
        names = bench.begin(seconds=None)
        wait_all_say(bench, "PodSecurity")
    bench.check_all_complete(bench.wait_ended(180 + seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


@contextmanager
def pods_on_the_hosts_network(bench: Bench) -> Iterator[None]:
    """A policy that changes every Pod of the namespace so that the restricted standard refuses it."""
    name, kind = f"host-network-{bench.namespace}", "admissionregistration.k8s.io/v1beta1"
    patch = {"expression": "[JSONPatch{op: 'add', path: '/spec/hostNetwork', value: true}]"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    spec = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": patch}],
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": bench.namespace}}}
    manifests = {
        "MutatingAdmissionPolicy": ("mutatingadmissionpolicies", spec),
        "MutatingAdmissionPolicyBinding": (
            "mutatingadmissionpolicybindings",
            {"policyName": name, "matchResources": here},
        ),
    }
    paths = {each: f"/apis/{kind}/{plural}/{name}" for each, (plural, _) in manifests.items()}
    for each, (_, content) in manifests.items():
        manifest = {"apiVersion": kind, "kind": each, "metadata": {"name": name}, "spec": content}
        bench.cluster.api.apply(paths[each], manifest)
    try:
        op.eventually(lambda: not admits_pods(bench), 60, "the policy is at work")
        yield
    finally:
        for path in paths.values():
            bench.cluster.api.delete(path)


def admits_pods(bench: Bench) -> bool:
    try:
        simulation.is_effective(bench.cluster.api, bench.namespace, "")
    except ApiError as problem:
        assert "violates PodSecurity" in str(problem)
        return False
    return True


def test_a_shard_that_always_fails_is_given_up_and_the_chain_continues(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    failing = {**op.behaviours(0.3, shards=SHARDS), f"shape.{SHARDS - 1}": Behaviour(0.2, exit_code=21)}
    bench.cluster.simulate(bench.namespace, failing)
    names = bench.begin(seconds=None)
    bench.check_all_complete(bench.wait_ended(seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)
    shape = [job for job in bench.jobs() if job["metadata"]["name"].endswith("-shape")]
    assert [job["status"].get("failedIndexes") for job in shape] == [str(SHARDS - 1)] * len(names)


def test_a_configuration_error_fails_at_once(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    failing = {**op.behaviours(0.3, shards=SHARDS), "shape": Behaviour(0.2, exit_code=10)}
    bench.cluster.simulate(bench.namespace, failing)
    names = bench.begin(seconds=None)
    assert bench.wait_ended(seconds_for(OBJECTS)) == dict.fromkeys(names, "Failed")
    assert {job["metadata"]["labels"]["scenewright.io/step"] for job in bench.jobs()} == {"index", "paint", "shape"}


def _delete(bench: Bench, path: str) -> bool:
    """Whether it was there: it may have ended and gone by itself meanwhile."""
    try:
        bench.cluster.api.delete(path)
    except ApiError as problem:
        assert problem.code == 404
        return False
    return True
