"""Stands in for Kueue: does to Jobs with a queue label what it does, when a test asks for it or by itself.

After Kueue 0.14: a Workload for each Job that names a queue; admission writes node selectors, tolerations and labels
into the template of the suspended Job, may lower its parallelism, and releases it; eviction suspends the Job, takes its
start time away (the API server changes a template only then) and puts the template back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import operator_process as op
from repeating import Repeating

from cluster import ControlPlane
from cluster.api import ApiError

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
VERSION = "v1beta2"
WORKLOADS = f"/apis/kueue.x-k8s.io/{VERSION}/namespaces/{{}}/workloads"
QUEUES = f"/apis/kueue.x-k8s.io/{VERSION}/namespaces/{{}}/localqueues"
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}.kueue.x-k8s.io"
_KINDS = {"workloads": "Workload", "localqueues": "LocalQueue", "resourceflavors": "ResourceFlavor"}
_ROLE = "scenewright-kueue"
_TOLERATION = {"key": "test.scenewright.io/flavor", "operator": "Exists", "effect": "NoSchedule"}

Raw = dict[str, Any]


@contextmanager
def installed(cluster: ControlPlane) -> Iterator[None]:
    """Kueue's kinds, and the operator's right to read them, as the chart gives it with ``kueue.enabled``."""
    for plural, kind in _KINDS.items():
        cluster.api.apply(_CRDS.format(plural), _definition(plural, kind))
    for path, manifest in _rights():
        cluster.api.apply(path, manifest)
    try:
        op.eventually(lambda: _is_served(cluster), 30, "Kueue's kinds are served")
        yield
    finally:
        for path, _ in _rights():
            cluster.api.delete(path)
        for plural in _KINDS:
            cluster.api.delete(_CRDS.format(plural))


def _definition(plural: str, kind: str) -> Raw:
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    metadata = {
        "name": f"{plural}.kueue.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/kueue"},
    }
    scope = "Cluster" if plural == "resourceflavors" else "Namespaced"
    spec = {"group": "kueue.x-k8s.io", "names": names, "scope": scope, "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


def _rights() -> Iterator[tuple[str, Raw]]:
    rules = [{"apiGroups": ["kueue.x-k8s.io"], "resources": list(_KINDS), "verbs": ["get", "list"]}]
    rules.append({"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["watch", "create", "delete"]})
    return op.granted(_ROLE, rules)


def _is_served(cluster: ControlPlane) -> bool:
    try:
        lists = [cluster.api.get(path.format("default"))["kind"] for path in (WORKLOADS, QUEUES)]
        return lists == ["WorkloadList", "LocalQueueList"]
    except ApiError:
        return False


@dataclass
class QueueController:
    """The Jobs of one namespace that name a queue.

    Attributes:
        node_selector: of the flavor that it admits to.
    """

    cluster: ControlPlane
    namespace: str
    node_selector: dict[str, str] = field(default_factory=dict)
    _before: dict[str, Raw] = field(default_factory=dict)

    def serve(self, queue: str) -> None:
        """Makes a queue of the namespace."""
        manifest = {"apiVersion": f"kueue.x-k8s.io/{VERSION}", "kind": "LocalQueue", "metadata": {"name": queue}}
        self.cluster.api.apply(f"{QUEUES.format(self.namespace)}/{queue}", manifest)

    def jobs(self) -> list[Raw]:
        """Those that name a queue and have not ended, the oldest first."""
        items: list[Raw] = self.cluster.api.get(f"{op.JOBS.format(self.namespace)}?labelSelector={QUEUE_LABEL}")[
            "items"
        ]
        live = [job for job in items if not _has_ended(job) and "deletionTimestamp" not in job["metadata"]]
        return sorted(live, key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]))

    def read(self, job: Raw) -> Raw:
        """The Job as it is now."""
        found: Raw = self.cluster.api.get(self._path(job))
        return found

    def queue(self, job: Raw, message: str) -> None:
        """Makes the Job's Workload, or says in it why the Job waits."""
        metadata = job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
        condition = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": message}
        workload = {
            "apiVersion": f"kueue.x-k8s.io/{VERSION}",
            "kind": "Workload",
            "metadata": {
                "name": f"job-{metadata['name']}",
                "namespace": self.namespace,
                "labels": {"kueue.x-k8s.io/job-uid": metadata["uid"]},
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
            },
            "spec": {"queueName": metadata["labels"][QUEUE_LABEL]},
            "status": {"conditions": [condition]},
        }
        self.cluster.api.apply(f"{WORKLOADS.format(self.namespace)}/{workload['metadata']['name']}", workload)  # type: ignore[index]

    def admit(self, job: Raw, parallelism: int | None = None) -> None:
        """Writes the flavor into the template, and releases the Job in the same request."""
        template, spec = job["spec"]["template"], job["spec"]["template"]["spec"]
        self._before[job["metadata"]["uid"]] = job["spec"]
        labels = {**template["metadata"]["labels"], "kueue.x-k8s.io/podset": "main"}
        selector = {**spec.get("nodeSelector", {}), **self.node_selector}
        pod = {"nodeSelector": selector, "tolerations": [*spec.get("tolerations", []), _TOLERATION]}
        change = {"suspend": False, "template": {"metadata": {"labels": labels}, "spec": pod}}
        if parallelism is not None:
            change["parallelism"] = parallelism
        self.cluster.api.merge(self._path(job), {"spec": change})

    def evict(self, job: Raw) -> None:
        """Suspends the Job, waits until its Pods are gone, and restores the template."""
        path, before = self._path(job), self._before.pop(job["metadata"]["uid"])
        self.cluster.api.merge(path, {"spec": {"suspend": True}})
        self.cluster.api.merge(f"{path}/status", {"status": {"startTime": None}})
        template, spec = before["template"], before["template"]["spec"]
        # A merge patch keeps the keys that it does not name.
        selector = {**dict.fromkeys(self.node_selector), **spec.get("nodeSelector", {})}
        pod = {"nodeSelector": selector, "tolerations": spec.get("tolerations")}
        labels = {**template["metadata"]["labels"], "kueue.x-k8s.io/podset": None}
        change = {"parallelism": before["parallelism"], "template": {"metadata": {"labels": labels}, "spec": pod}}
        self.cluster.api.merge(path, {"spec": change})
        op.eventually(lambda: not self._is_active(job), 60, "the Pods of the evicted Job are gone")

    def _is_active(self, job: Raw) -> bool:
        status = self.read(job).get("status", {})
        return bool(status.get("active") or status.get("terminating"))

    def _path(self, job: Raw) -> str:
        return f"{op.JOBS.format(self.namespace)}/{job['metadata']['name']}"


class Serving(Repeating):
    """Serves a namespace's queue in a thread: admits as many Jobs as the quota allows, and takes some away again."""

    PASSING = frozenset({404, 409, 422})

    def __init__(self, controller: QueueController, quota: int, seed: int) -> None:
        super().__init__()
        self.evictions = self.most_admitted = 0
        self._controller = controller
        self._quota = quota
        self._random = random.Random(seed)

    def turn(self) -> None:
        """Takes a Job away, or admits those for which there is room."""
        jobs = self._controller.jobs()
        admitted = [job for job in jobs if not job["spec"]["suspend"]]
        self.most_admitted = max(self.most_admitted, len(admitted))
        if admitted and self._random.random() < 0.15:
            self._controller.evict(self._random.choice(admitted))
            self.evictions += 1
            return
        waiting = [job for job in jobs if job["spec"]["suspend"]]
        for job in waiting[: max(0, self._quota - len(admitted))]:
            self._controller.admit(job)


class WholeObjects(Repeating):
    """Admits Workloads of whole objects in a thread, the oldest first, as long as their GPUs fit into the quota."""

    PASSING = frozenset({404, 409, 422})

    def __init__(self, cluster: ControlPlane, namespace: str, quota: int) -> None:
        super().__init__()
        self.admitted: list[str] = []
        self.most = 0
        self._cluster = cluster
        self._path = WORKLOADS.format(namespace)
        self._quota = quota

    def turn(self) -> None:
        """Admits what fits."""
        found = self._cluster.api.get(self._path)["items"]
        used = sum(_gpus(each) for each in found if _holds(each, "Admitted") or _holds(each, "Evicted"))
        self.most = max(self.most, used)
        for each in sorted(found, key=lambda raw: int(raw["metadata"]["resourceVersion"])):
            if _holds(each, "Admitted") or _holds(each, "Evicted") or used + _gpus(each) > self._quota:
                continue
            used += _gpus(each)
            self.admitted.append(each["metadata"]["ownerReferences"][0]["name"])
            assignment = {"podSetAssignments": [{"name": "main", "flavors": {"nvidia.com/gpu": "h200"}}]}
            self._set(each, {"admission": assignment, "conditions": [_condition("Admitted")]})

    def evict(self, name: str) -> None:
        """Wants the quota of an object back, as a preemption does."""
        for each in self._cluster.api.get(self._path)["items"]:
            if each["metadata"]["ownerReferences"][0]["name"] == name:
                conditions = [_condition("Admitted"), _condition("Evicted", "Preempted to accommodate another")]
                self._set(each, {"conditions": conditions})

    def _set(self, workload: Raw, status: Raw) -> None:
        self._cluster.api.merge(f"{self._path}/{workload['metadata']['name']}", {"status": status})


def flavor(name: str, labels: dict[str, str]) -> tuple[str, Raw]:
    """Path and manifest of a ResourceFlavor."""
    manifest = {"apiVersion": f"kueue.x-k8s.io/{VERSION}", "kind": "ResourceFlavor", "metadata": {"name": name}}
    return f"/apis/kueue.x-k8s.io/{VERSION}/resourceflavors/{name}", {**manifest, "spec": {"nodeLabels": labels}}


def _condition(kind: str, message: str = "") -> Raw:
    return {"type": kind, "status": "True", "reason": kind, "message": message}


def _holds(workload: Raw, kind: str) -> bool:
    conditions = workload.get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _gpus(workload: Raw) -> int:
    (podset,) = workload["spec"]["podSets"]
    (container,) = podset["template"]["spec"]["containers"]
    return int(podset["count"]) * int(container["resources"]["requests"]["nvidia.com/gpu"])


def _has_ended(job: Raw) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)
