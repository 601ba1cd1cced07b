"""Faults of Pods in mid-run: evicted, refused, killed, deleted while their kubelet is away, lost with their node."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import operator_process as op
import pytest
from kubelet_verdicts import ADMISSION, DISRUPTIONS, FAILURES, INDEX, Admission, drain
from operator_fixtures import OBJECTS, PODS, SHARDS, Bench, bench, seconds_for, serving

from cluster import Behaviour, simulation
from scenewright_stages.contract.task import TaskRetries

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow

STAGE = "paint"
HANGING = Behaviour(hang=True)


def running(bench: Bench) -> list[dict[str, Any]]:
    """The Pods of the first stage that run and are not deleted."""
    found = bench.pods(f"labelSelector=scenewright.io/step={STAGE}&fieldSelector=status.phase=Running")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def begin_hanging(bench: Bench, key: str = STAGE) -> list[str]:
    """Objects whose first stage runs and does not end; its Pods that are created from now on are quick."""
    bench.cluster.simulate(bench.namespace, {**op.behaviours(0.5, shards=SHARDS), key: HANGING})
    names = bench.begin(seconds=None)
    wait_all_run(bench)
    return names


def wait_all_run(bench: Bench) -> list[dict[str, Any]]:
    """The running Pods of the first stage, once all of them run."""
    pods: list[dict[str, Any]] = op.eventually(
        lambda: [found for found in [running(bench)] if len(found) == SHARDS * OBJECTS],
        seconds_for(OBJECTS),
        f"all Pods of {STAGE} run",
    )[0]
    return pods


def be_quick(bench: Bench) -> None:
    """Pods from now on end by themselves."""
    bench.cluster.simulate(bench.namespace, op.behaviours(0.5, shards=SHARDS))


def check_no_index_has_failed(bench: Bench) -> None:
    """What ended a Pod was not counted against its index."""
    assert not [job["metadata"]["name"] for job in bench.jobs() if job["status"].get("failedIndexes")]
    succeeded = bench.pods(f"labelSelector=scenewright.io/step={STAGE}&fieldSelector=status.phase=Succeeded")
    assert {pod["metadata"]["annotations"].get(FAILURES, "0") for pod in succeeded} == {"0"}


@pytest.mark.soak
def test_pods_are_evicted_more_often_than_they_may_fail(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    names = begin_hanging(bench)
    rounds = TaskRetries().per_shard + 1
    for number in range(rounds):
        victims = [pod for pod in wait_all_run(bench) if pod["metadata"]["labels"][INDEX] == "0"]
        assert len(victims) == len(names)
        if number == rounds - 1:
            victims = running(bench)
            be_quick(bench)
        for pod in victims:
            bench.random.choice(DISRUPTIONS)(bench, pod)
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)
    check_no_index_has_failed(bench)
    evictions = len(names) * (rounds - 1 + SHARDS)
    assert operator.metric("scenewright_attempts_total", **{"class": "infra"}) == evictions
    bench.check_nothing_is_left()


@pytest.mark.soak
def test_kubelets_refuse_pods_at_their_admission(bench: Bench) -> None:
    """At least one of each object, and a third of all first ones: those of index and publish too."""
    operator = bench.operator().start().wait_ready()
    behaviours = op.behaviours((0.2, 1.0), shards=SHARDS)
    waiting = {step: replace(each, waiting=ADMISSION) for step, each in behaviours.items()}
    bench.cluster.simulate(bench.namespace, waiting)
    names = bench.begin(seconds=None)
    with Admission(bench, 0.33, lambda pod: step_of(pod) == STAGE and pod["metadata"]["labels"][INDEX] == "0") as nodes:
        bench.check_all_complete(bench.wait_ended(3 * seconds_for(OBJECTS)), names)
    print(f"refused: {nodes.refused.total()}")
    assert set(nodes.refused) == set(names)
    bench.check_each_job_once(names)
    assert operator.metric("scenewright_attempts_total", **{"class": "infra"}) == nodes.refused.total()


def step_of(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["scenewright.io/step"])


@pytest.mark.soak
def test_every_stage_pod_is_killed_once(bench: Bench) -> None:
    """As by the kernel when memory is short: each index is tried again, and nothing else is."""
    operator = bench.operator().start().wait_ready()
    killed = Behaviour(seconds=(0.5, 2.0), exit_code=137, fail_first=1)
    bench.cluster.simulate(bench.namespace, {**op.behaviours(shards=SHARDS), "default": killed})
    names = bench.begin(seconds=None)
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)
    pods = len(names) * len(op.STAGES) * SHARDS
    assert operator.metric("scenewright_attempts_total", **{"class": "app"}) == pods
    assert operator.metric("scenewright_attempts_total", **{"class": "success"}) == pods + 2 * len(names)


def test_pods_are_deleted_while_their_kubelets_are_away(bench: Bench) -> None:
    """None is replaced before its kubelet is back and says that it has ended: never do two work on one shard."""
    bench.operator().start().wait_ready()
    names = begin_hanging(bench)
    be_quick(bench)
    for node in bench.cluster.node_names():
        bench.cluster.lose_node(node)
    try:
        bench.delete_all(f"{PODS.format(bench.namespace)}?labelSelector=scenewright.io/step={STAGE}")
        time.sleep(8.0)
        assert len(bench.pods(f"labelSelector=scenewright.io/step={STAGE}")) == SHARDS * len(names)
    finally:
        for node in bench.cluster.node_names():
            bench.cluster.recover_node(node)
        simulation.remind(bench.cluster.api)
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


@pytest.mark.soak
def test_lost_nodes_are_given_up(bench: Bench) -> None:
    """Half of all nodes: their Pods terminate for ever, and are released, replaced, and no index has failed by it."""
    bench.operator().start().wait_ready()
    names = begin_hanging(bench)
    be_quick(bench)
    lost = bench.cluster.node_names()[::2]
    pods = running(bench)
    for node in lost:
        bench.cluster.lose_node(node)
    try:
        op.eventually(lambda: all(is_tainted(bench, node) for node in lost), 120, "the nodes count as lost")
        for pod in pods:
            if pod["spec"]["nodeName"] not in lost:
                drain(bench, pod)
        bench.check_all_complete(bench.wait_ended(240 + seconds_for(OBJECTS)), names)
    finally:
        for node in lost:
            bench.cluster.recover_node(node)
    hit = {pod["metadata"]["labels"]["scenewright.io/object"] for pod in pods if pod["spec"]["nodeName"] in lost}
    print(f"{len(hit)} objects had a Pod on a lost node")
    assert hit
    check_no_index_has_failed(bench)
    bench.check_each_job_once(names)


def is_tainted(bench: Bench, node: str) -> bool:
    taints = bench.cluster.api.get(f"/api/v1/nodes/{node}")["spec"].get("taints", [])
    return any(each["effect"] == "NoExecute" for each in taints)
