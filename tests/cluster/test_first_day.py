"""What a lab asks of a real control plane on its first day: templates, budgets, sweeps, whole objects, many tenants."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import PROGRESS, SEED, SHARDS, Bench, bench, seconds_for, serving
from queue_controller import WholeObjects, flavor, installed

from cluster import ControlPlane
from cluster.api import ApiError

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow

HOSTILE = int(os.environ.get("SCENEWRIGHT_HOSTILE", "24"))
"""Things that the hostile tenant makes; ``make soak`` sets 200."""
HONEST = int(os.environ.get("SCENEWRIGHT_HONEST", "4"))
"""Objects of the two honest namespaces; ``make soak`` sets 20."""
NEXT = "/apis/scenewright.io/v1beta1/namespaces/{}/scenejobs"
TEMPLATE: dict[str, Any] = {
    "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
    "caBundle": {"configMap": "lab-ca"},
    "spec": {
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [{"name": "worker", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
    },
}


def status_of(bench: Bench, name: str) -> dict[str, Any]:
    status: dict[str, Any] = op.objects(bench.cluster, bench.namespace)[name].get("status", {})
    return status


def conditions(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}


def test_a_template_a_budget_and_the_next_version_of_the_api(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.mark = bench.cluster.audit.mark()
    bench.cluster.simulate(bench.namespace, op.behaviours(4.0, shards=SHARDS))
    # Three stages with two Pods of four seconds each: the second one passes the limit.
    execution = {"samplesPerShard": 4, "template": TEMPLATE, "budget": {"gpuHours": 10 / 3600}}
    manifest = {**op.chain_object("thrifty", execution=execution), "apiVersion": "scenewright.io/v1beta1"}
    made = bench.cluster.api.create(NEXT.format(bench.namespace), manifest)
    old = bench.cluster.api.get(f"{op.OBJECTS.format(bench.namespace)}/thrifty")
    assert (made["apiVersion"], old["apiVersion"]) == ("scenewright.io/v1beta1", "scenewright.io/v1alpha1")
    assert made["spec"] == old["spec"] and made["metadata"]["uid"] == old["metadata"]["uid"]

    op.eventually(lambda: status_of(bench, "thrifty").get("reason") == "BudgetReached", 90, "the budget is reached")
    resting = status_of(bench, "thrifty")
    assert resting["phase"] == "Waiting" and resting["forecast"]["gpuHours"] > 0
    used = sum(stage.get("gpuSeconds", 0) for stage in resting["stages"])
    assert 10 <= used <= 10 + 4 * SHARDS, "one sample of each Pod at most"
    op.eventually(lambda: not bench.jobs(), 60, "nothing runs while it rests")
    change = {"spec": {"execution": {"budget": {"gpuHours": 5}}}}
    bench.cluster.api.merge(f"{NEXT.format(bench.namespace)}/thrifty", change)
    bench.check_all_complete(bench.wait_ended(120), ["thrifty"])
    ended = status_of(bench, "thrifty")
    assert ended["effective"]["workHash"] == resting["effective"]["workHash"]
    for job in bench.jobs():
        template = job["spec"]["template"]
        assert template["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        assert {"data", "ca-bundle"} <= {each["name"] for each in template["spec"]["volumes"]}


def test_a_sweep_makes_children_that_go_with_it(bench: Bench) -> None:
    bench.operator().start().wait_ready()
    bench.cluster.simulate(bench.namespace, op.behaviours(0.5, shards=1))
    matrix = {"parameters": {"paint": [1, 2], "execution.seed": ["7"]}}
    op.create(bench.cluster, bench.namespace, [op.chain_object("sweep", matrix=matrix)])
    phases = bench.wait_ended(150)
    assert phases == dict.fromkeys(("sweep", "sweep-0", "sweep-1"), "Complete"), bench.explain()
    objects = op.objects(bench.cluster, bench.namespace)
    assert objects["sweep-1"]["spec"]["gpuChain"]["paint"] == 2
    assert objects["sweep-1"]["metadata"]["ownerReferences"][0]["uid"] == objects["sweep"]["metadata"]["uid"]
    rows = objects["sweep"]["status"]["sweep"]["children"]
    assert [(row["name"], row["phase"], row["progress"]) for row in rows] == [
        ("sweep-0", "Complete", PROGRESS),
        ("sweep-1", "Complete", PROGRESS),
    ]
    assert "matrix" not in objects["sweep-0"]["spec"] and not objects["sweep"]["status"].get("run")
    bench.cluster.api.delete(f"{op.OBJECTS.format(bench.namespace)}/sweep")
    op.eventually(lambda: not op.objects(bench.cluster, bench.namespace), 90, "the children go with the sweep")


def test_what_git_applies_again_changes_nothing(serving: ControlPlane, namespace: str) -> None:
    """As Argo CD's server-side diff sees it: defaults, also inside lists and templates, are no drift."""
    execution = {"template": TEMPLATE, "budget": {"gpuHours": 2}, "stageOverrides": {"paint": {"image": "lab/paint:1"}}}
    scheduling = {"tolerations": [{"key": "gpu", "operator": "Exists"}], "admission": "Stage"}
    matrix = {"parameters": {"paint": [1, "2"]}, "best": {"metric": "loss"}}
    manifest = op.chain_object("git", execution=execution, scheduling=scheduling, matrix=matrix)
    path = f"{op.OBJECTS.format(namespace)}/git"
    first = serving.api.apply(path, manifest)
    for version in ("v1alpha1", "v1beta1"):
        again = serving.api.apply(
            path.replace("v1alpha1", version), {**manifest, "apiVersion": f"scenewright.io/{version}"}
        )
        assert again["metadata"]["generation"] == first["metadata"]["generation"] == 1
        assert again["spec"] == first["spec"]


@pytest.fixture
def kueue(serving: ControlPlane) -> Iterator[None]:
    with installed(serving):
        path, manifest = flavor("h200", {})
        serving.api.apply(path, manifest)
        yield


def test_with_quota_for_one_whole_objects_run_one_after_the_other(bench: Bench, kueue: None) -> None:
    bench.operator(kueue=True).start().wait_ready()
    bench.mark = bench.cluster.audit.mark()
    bench.cluster.simulate(bench.namespace, op.behaviours(1.0, shards=1))
    scheduling = {"queueName": "lab", "admission": "Object"}
    names = ["first", "second"]
    with WholeObjects(bench.cluster, bench.namespace, quota=1) as queue:
        op.create(bench.cluster, bench.namespace, [op.chain_object(name, scheduling=scheduling) for name in names])
        op.eventually(lambda: len(queue.admitted) == 1, 60, "one is admitted", 0.1)
        evicted = queue.admitted[0]
        op.eventually(lambda: status_of(bench, evicted).get("stage") == "paint", 60, "it runs", 0.1)
        queue.evict(evicted)
        bench.check_all_complete(bench.wait_ended(200), names)
        assert queue.most == 1, "the quota is never exceeded"
        # The evicted one comes again after the other, and nobody is admitted once for each stage.
        assert sorted(queue.admitted) == sorted([*names, evicted])
        workloads = f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{bench.namespace}/workloads"
        op.eventually(lambda: not bench.cluster.api.get(workloads)["items"], 30, "the quota is given back")
    assert all("kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"] for job in bench.jobs())
    assert {status_of(bench, name).get("passes") for name in names} == {1}


def hostile_things(chance: random.Random, count: int, victims: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Random objects, Jobs and Pods of one tenant that claim what is not theirs; (kind, manifest)."""
    owner = {"apiVersion": "scenewright.io/v1alpha1", "kind": "SceneJob", "controller": True}
    for number in range(count):
        victim, what = chance.choice(victims), chance.choice(["object", "object", "job", "job", "pod"])
        labels = {
            "scenewright.io/managed": "true",
            "scenewright.io/kind": "SceneJob",
            "scenewright.io/object": "honest-0",
            "scenewright.io/owner-uid": victim,
            "scenewright.io/step": chance.choice(["index", "paint", "publish", "nothing"]),
            "scenewright.io/run": chance.choice(["r-1", "x"]),
            "scenewright.io/work-hash": "00",
        }
        annotations = {
            "scenewright.io/output": f"{victim} s3:/",
            "scenewright.io/hosts": chance.choice(["", "[", "a/"]),
            "scenewright.io/gpus": chance.choice(["9", "-1", "many"]),
            "scenewright.io/retry": str(chance.random()),
            "scenewright.io/sweep": victim,
        }
        metadata: dict[str, Any] = {
            "name": f"hostile-{number}",
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{**owner, "name": "honest-0", "uid": victim}] if chance.random() < 0.5 else [],
        }
        if chance.random() < 0.3:
            metadata["finalizers"] = ["foreign.example/guard"]
        pod = {"restartPolicy": "Never", "containers": [{"name": "worker", "image": "a"}]}
        if what == "object":
            uri = chance.choice(["s3://honest", "s3://honest/lab-0", f"s3://elsewhere/{number}"])
            spec = {"storage": {"serviceAccountName": "default"}, "suspend": chance.random() < 0.3}
            yield "object", {**op.chain_object("x", uri, **spec), "metadata": metadata}
        elif what == "job":
            spec = {"suspend": chance.random() < 0.7, "template": {"spec": pod}}
            yield "job", {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
        else:
            yield "pod", {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


def honest_run(bench: Bench, spaces: list[str], hostile: str = "") -> tuple[float, list[dict[str, Any]]]:
    """Seconds until all honest objects have ended, and the objects; with what a hostile namespace does meanwhile."""
    chance, cluster = random.Random(SEED), bench.cluster
    names = [f"honest-{number}" for number in range(HONEST)]
    for position, name in enumerate(names):
        space = spaces[position % len(spaces)]
        storage = {"storage": {"serviceAccountName": "default"}}
        op.create(cluster, space, [op.chain_object(name, f"s3://honest/{space}-{position}", **storage)])
    began = time.monotonic()
    uids = [each["metadata"]["uid"] for space in spaces for each in op.objects(cluster, space).values()]
    paths = {"object": op.OBJECTS, "job": op.JOBS, "pod": "/api/v1/namespaces/{}/pods"}
    made = refused = 0
    for kind, manifest in hostile_things(chance, HOSTILE if hostile else 0, uids):
        try:
            cluster.api.create(paths[kind].format(hostile), manifest)
            made += 1
        except ApiError:
            refused += 1
    if hostile:
        print(f"seed {SEED}: {made} hostile things were made, {refused} refused")
        assert made > HOSTILE / 2

    def ended() -> bool:
        found = [phase for space in spaces for phase in op.phases(cluster, space).values()]
        return len(found) == HONEST and all(phase in op.ENDED for phase in found)

    op.eventually(ended, seconds_for(HONEST) + 0.5 * HOSTILE, "every honest object has ended", 0.3)
    took = time.monotonic() - began
    objects = [each for space in spaces for each in op.objects(cluster, space).values()]
    for space in spaces:
        cluster.api.delete(op.OBJECTS.format(space))
        op.eventually(lambda space=space: not op.objects(cluster, space), 60, "they are gone")
    return took, objects


def test_a_hostile_tenant_changes_nothing_for_honest_ones_and_learns_no_name(bench: Bench) -> None:
    cluster = bench.cluster
    spaces = [cluster.create_namespace(f"honest-{uuid.uuid4().hex[:6]}") for _ in range(2)]
    hostile = bench.namespace
    for space in [*spaces, hostile]:
        cluster.simulate(space, op.behaviours(1.0, shards=1))
    bench.operator(watchNamespaces=[*spaces, hostile]).start().wait_ready()
    alone, _ = honest_run(bench, spaces)
    beside, objects = honest_run(bench, spaces, hostile)
    print(f"{HONEST} honest objects: {alone:.1f} s alone, {beside:.1f} s beside a hostile tenant")
    assert [each["status"]["phase"] for each in objects] == ["Complete"] * HONEST
    assert {each["status"]["progress"] for each in objects} == {PROGRESS}
    # Creating the hostile things takes the control plane's time, too, which a small machine does not have.
    assert beside <= 1.5 * alone + 0.25 * HOSTILE
    for each in objects:
        assert hostile not in str(each["status"]) and "hostile-" not in str(each["status"])
    for each in op.objects(cluster, hostile).values():
        text = str(each.get("status", {}).get("conditions", ""))
        assert not any(space in text for space in spaces) and "honest-0" not in text
    for path in (op.OBJECTS, op.JOBS, "/api/v1/namespaces/{}/pods"):
        for each in cluster.api.get(path.format(hostile))["items"]:
            if each["metadata"].get("finalizers"):
                name = each["metadata"]["name"]
                cluster.api.merge(f"{path.format(hostile)}/{name}", {"metadata": {"finalizers": None}})
    for space in spaces:
        cluster.api.delete(f"/api/v1/namespaces/{space}")
