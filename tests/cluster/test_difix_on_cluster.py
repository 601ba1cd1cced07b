"""The three objects of the DiFix loop on a real control plane with simulated Pods, applied in any order.

Toys prove on real Pods that objects wait for each other (`test_toys_on_cluster`). Here it is these three: who waits for
whom, which checkpoint the scene is made with, and what a change of the data set starts.
"""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
from collections.abc import Iterable
from typing import Any

import operator_process as op
import pytest
from kubelet_verdicts import FAILURES
from operator_fixtures import Bench, bench, serving
from test_progress_endpoint import Pod, post, stage_pods, token_of

from cluster import Behaviour
from cluster.processes import free_ports
from scenewright_stages.contract.reports import Report, StageCounts
from scenewright_stages.contract.task import TaskRetries

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow

OBJECTS = "/apis/scenewright.io/v1alpha1/namespaces/{}/{}"
PLURALS = {"pairs": "datasetjobs", "fixer": "tuningruns", "scene": "scenejobs"}
STAGES = {
    "pairs": ("capture", "spoil", "pair"),
    "fixer": ("tune", "evaluate"),
    "scene": ("capture", "train", "difix", "render"),
}
ORDERS = list(itertools.permutations(STAGES))
MAXIMUM_STATUS_BYTES = 32 * 1024
LOST_NODES = 5
RETRY = "scenewright.io/retry"
PATIENCE = 400.0
"""Seconds that a wait may take on a machine that is busy with other things."""


def document(role: str, group: int, **metadata: Any) -> dict[str, Any]:
    """One of a group's three objects, with the references of the examples."""
    block: dict[str, dict[str, Any]] = {
        "pairs": {"input": {"uri": "s3://photos/rooms/"}, "difixPairs": {}},
        "fixer": {"dataset": {"datasetJob": f"pairs-{group}"}, "fixer": {}},
        "scene": {
            "input": {"uri": "s3://photos/unseen/"},
            "reconstruct": {"difix": {"tuningRun": {"name": f"fixer-{group}"}, "rounds": 1}},
        },
    }
    kinds = {"pairs": "DatasetJob", "fixer": "TuningRun", "scene": "SceneJob"}
    places = {"fixer": f"s3://sets/pairs-{group}/tuning_runs/fixer", "pairs": f"s3://sets/pairs-{group}"}
    output = {"uri": places.get(role, f"s3://scenes/{group}")}
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": kinds[role],
        "metadata": {"name": f"{role}-{group}", **metadata},
        "spec": {"output": output, "storage": {"secretName": "lab-s3"}, **block[role]},
    }


def behaviours(
    groups: Iterable[int], version: str, stale: Iterable[str] = ("pairs", "fixer", "scene")
) -> dict[str, Any]:
    """Pods that report what workers would.

    Args:
        groups: numbers of the groups.
        version: of the photographs: another one gives other pairs, another checkpoint and another scene.
        stale: objects whose stages have something to do.
    """
    found: dict[str, Any] = {"default": Behaviour(seconds=0.3)}
    for group, role in itertools.product(groups, STAGES):
        stages = STAGES[role]
        done = {name: StageCounts(total=2, done=2) for name in stages}
        todo = {name: StageCounts(total=2, todo=2, shards=1) for name in stages} if role in stale else done
        index = Report(step="index", samples=2, stages=todo)
        chosen = {"best": f"checkpoints/model_300.safetensors@best-{version}"} if role == "fixer" else {}
        ended = Report(step="publish", samples=2, stages=done, publication=f"{role}-{version}", chosen=chosen)
        found[f"{role}-{group}.index"] = Behaviour(seconds=0.2, message=index.to_bytes().decode())
        # The last stage of one shard publishes in its own Pod.
        for step in ("publish", stages[-1]):
            found[f"{role}-{group}.{step}"] = Behaviour(seconds=0.3, message=ended.to_bytes().decode())
    return found


def create(bench: Bench, role: str, group: int) -> None:
    bench.cluster.api.create(OBJECTS.format(bench.namespace, PLURALS[role]), document(role, group))


def create_alone(bench: Bench) -> None:
    """A fixer for a data set that no object makes."""
    run = document("fixer", 0)
    run["spec"]["dataset"] = {"uri": "s3://sets/made-before"}
    bench.cluster.api.create(OBJECTS.format(bench.namespace, PLURALS["fixer"]), run)


def change(bench: Bench, role: str, group: int, patch: dict[str, Any]) -> None:
    bench.cluster.api.merge(f"{OBJECTS.format(bench.namespace, PLURALS[role])}/{role}-{group}", patch)


def statuses(bench: Bench) -> dict[str, dict[str, Any]]:
    """Status of every object by name; of one that was edited since, nothing."""
    found = {}
    for plural in PLURALS.values():
        for each in bench.cluster.api.get(OBJECTS.format(bench.namespace, plural))["items"]:
            status = each.get("status", {})
            current = status.get("observedGeneration") == each["metadata"]["generation"]
            found[each["metadata"]["name"]] = status if current else {}
    return found


def wait_complete(bench: Bench, names: Iterable[str], published: str) -> dict[str, dict[str, Any]]:
    """Waits until these objects have published what belongs to a version, and returns all statuses."""
    wanted = {name: f"{name.partition('-')[0]}-{published}" for name in names}

    def ended() -> bool:
        found = statuses(bench)
        assert not [name for name, each in found.items() if each.get("phase") == "Failed"], found
        return all(
            found[name].get("phase") == "Complete" and found[name].get("publication", {}).get("hash") == digest
            for name, digest in wanted.items()
        )

    op.eventually(ended, PATIENCE, f"{sorted(wanted)} publish {published}", 1.0)
    return statuses(bench)


def used(status: dict[str, Any]) -> str:
    """Hash of what an object was made with."""
    (found,) = status["inputs"]
    return str(found["hash"])


def reason(status: dict[str, Any], kind: str) -> str:
    return next((c["reason"] for c in status.get("conditions", ()) if c["type"] == kind and c["status"] == "True"), "")


def jobs_of(bench: Bench, name: str) -> list[dict[str, Any]]:
    return [job for job in bench.jobs() if job["metadata"]["labels"]["scenewright.io/object"] == name]


def steps_since(bench: Bench, name: str, before: set[str]) -> set[str]:
    """Steps of an object's Jobs that are not among these."""
    new = [job for job in jobs_of(bench, name) if job["metadata"]["uid"] not in before]
    return {job["metadata"]["labels"]["scenewright.io/step"] for job in new}


def uids(bench: Bench) -> set[str]:
    return {job["metadata"]["uid"] for job in bench.jobs()}


@pytest.mark.parametrize(
    "orders", [pytest.param(ORDERS[::5], id="two"), pytest.param(ORDERS, id="all-six", marks=pytest.mark.soak)]
)
def test_applied_in_any_order_they_run_in_theirs_though_the_operator_dies(
    bench: Bench, orders: list[tuple[str, ...]]
) -> None:
    groups = range(len(orders))
    operator = bench.operator().start().wait_ready(PATIENCE)
    bench.mark = bench.cluster.audit.mark()
    bench.cluster.simulate(bench.namespace, behaviours(groups, "a"))
    for place in range(3):
        for group, order in enumerate(orders):
            create(bench, order[place], group)
        # Between: some wait for objects that are not there yet.
        operator.kill()
        operator.start()
    for role, step in (("pairs", "spoil"), ("fixer", "tune"), ("scene", "difix")):
        seen = functools.partial(steps_since, bench, f"{role}-0", set())
        op.eventually(lambda step=step, seen=seen: step in seen(), PATIENCE, f"{step} has begun")
        operator.kill()
        operator.start()
    names = [f"{role}-{group}" for group in groups for role in STAGES]
    found = wait_complete(bench, names, "a")
    assert max(bench.created_jobs().values()) == 1
    for group in groups:
        check_turns(bench, group)
        assert used(found[f"fixer-{group}"]) == "pairs-a"
        assert used(found[f"scene-{group}"]) == "best-a"
    assert max(len(json.dumps(status)) for status in found.values()) <= MAXIMUM_STATUS_BYTES


def check_turns(bench: Bench, group: int) -> None:
    """No Job of an object is older than the end of what it needs; times have whole seconds."""
    spans = [span_of(jobs_of(bench, f"{role}-{group}")) for role in STAGES]
    for (_, end), (begin, _) in itertools.pairwise(spans):
        assert end <= begin, f"group {group}: {spans}"


def span_of(jobs: list[dict[str, Any]]) -> tuple[str, str]:
    begin = min(job["metadata"]["creationTimestamp"] for job in jobs)
    return begin, max(job["status"]["completionTime"] for job in jobs)


def test_a_change_of_the_data_set_starts_nothing_until_each_is_asked_to_retry(bench: Bench) -> None:
    bench.operator().start().wait_ready(PATIENCE)
    bench.cluster.simulate(bench.namespace, behaviours([0], "a"))
    for role in STAGES:
        create(bench, role, 0)
    wait_complete(bench, ["pairs-0", "fixer-0", "scene-0"], "a")

    bench.cluster.simulate(bench.namespace, behaviours([0], "b"))
    before = uids(bench)
    change(bench, "pairs", 0, {"spec": {"difixPairs": {"gates": {"blur": 0.5}}}})
    wait_complete(bench, ["pairs-0"], "b")
    op.eventually(
        lambda: reason(statuses(bench)["fixer-0"], "Warning") == "DependencyChanged", PATIENCE, "the run warns"
    )
    assert steps_since(bench, "fixer-0", before) == steps_since(bench, "scene-0", before) == set()

    for role, made_with in (("fixer", "pairs-b"), ("scene", "best-b")):
        change(bench, role, 0, {"metadata": {"annotations": {RETRY: "changed"}}})
        found = wait_complete(bench, [f"{role}-0"], "b")
        assert used(found[f"{role}-0"]) == made_with
        assert steps_since(bench, f"{role}-0", before) >= {"index", *STAGES[role]}

    # The index finds nothing to do where nothing has changed: no Pod of a stage, with a GPU or without, starts.
    bench.cluster.simulate(bench.namespace, behaviours([0], "b", stale=()))
    before = uids(bench)
    for role in ("fixer", "scene"):
        run = statuses(bench)[f"{role}-0"]["run"]
        change(bench, role, 0, {"metadata": {"annotations": {RETRY: "again"}}})
        name = f"{role}-0"
        op.eventually(lambda name=name, run=run: statuses(bench)[name].get("run", run) != run, PATIENCE, "another run")
        wait_complete(bench, [name], "b")
        assert steps_since(bench, name, before) <= {"index", "publish"}


def test_the_loss_is_seen_while_the_fixer_learns(bench: Bench) -> None:
    port = free_ports(1)[0]
    progress = {"enabled": True, "port": port, "url": f"http://127.0.0.1:{port}/v1/progress"}
    operator = bench.operator(progress=progress, statusSeconds=0.5).start().wait_ready(PATIENCE)
    bench.cluster.simulate(bench.namespace, {**behaviours([0], "a"), "tune": Behaviour(seconds=600.0)})
    create_alone(bench)
    (pod,) = op.eventually(lambda: stage_pods(bench, "tune"), PATIENCE, "the fixer is tuned")
    labels, name = pod["metadata"]["labels"], pod["metadata"]["name"]
    token = token_of(bench.cluster, Pod(bench.namespace, name, pod["metadata"]["uid"]))
    numbers = {"loss": 0.0321, "validation_psnr": 24.5}
    body = {"run": labels["scenewright.io/run"], "step": "tune", "shard": 0, "samples": {"total": 1}}
    assert post(progress["url"], token, {**body, "numbers": numbers}) == 204

    def row() -> str:
        command = [bench.cluster.kubectl, f"--kubeconfig={bench.cluster.kubeconfig}", "-n", bench.namespace]
        done = subprocess.run([*command, "get", "tuningruns"], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()[-1]

    op.eventually(lambda: "loss 0.0321, validation_psnr 24.5" in row(), PATIENCE, f"kubectl shows the loss: {row()}")
    measured = functools.partial(operator.metric, "scenewright_job_number", stage="tune", number="loss")
    op.eventually(lambda: measured() == pytest.approx(0.0321), PATIENCE, "the metrics have the loss")


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_losing_five_nodes_does_not_fail_a_tuning_run(bench: Bench) -> None:
    """More losses than an index may have failures: none of them counts as one."""
    assert TaskRetries().per_shard < LOST_NODES
    bench.operator().start().wait_ready(PATIENCE)
    bench.mark = bench.cluster.audit.mark()
    bench.cluster.simulate(bench.namespace, {**behaviours([0], "a"), "tune": Behaviour(hang=True)})
    create_alone(bench)
    seen: set[str] = set()
    for left in reversed(range(LOST_NODES)):
        pod = next_tuning_pod(bench, seen)
        if not left:
            bench.cluster.simulate(bench.namespace, behaviours([0], "a"))
        bench.cluster.lose_node(pod["spec"]["nodeName"])
        try:
            op.eventually(lambda pod=pod: is_replaced(bench, pod), PATIENCE, f"a Pod follows, {left} losses left")
        finally:
            bench.cluster.recover_node(pod["spec"]["nodeName"])
    wait_complete(bench, ["fixer-0"], "a")
    assert not [job["metadata"]["name"] for job in bench.jobs() if job["status"].get("failedIndexes")]
    pods = bench.pods("labelSelector=scenewright.io/step=tune&fieldSelector=status.phase=Succeeded")
    assert [pod["metadata"]["annotations"].get(FAILURES, "0") for pod in pods] == ["0"]
    assert max(bench.created_jobs().values()) == 1


def next_tuning_pod(bench: Bench, seen: set[str]) -> dict[str, Any]:
    """The running Pod of the stage `tune` that was not seen before; notes it as seen."""
    (pod,) = op.eventually(
        lambda: [each for each in stage_pods(bench, "tune") if each["metadata"]["uid"] not in seen],
        PATIENCE,
        "the fixer is tuned",
    )
    seen.add(pod["metadata"]["uid"])
    return dict(pod)


def is_replaced(bench: Bench, pod: dict[str, Any]) -> bool:
    """Whether another Pod of its stage was created after it."""
    others = bench.pods("labelSelector=scenewright.io/step=tune")
    return any(each["metadata"]["creationTimestamp"] > pod["metadata"]["creationTimestamp"] for each in others)
