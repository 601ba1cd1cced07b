"""Builds the Kueue Workload of an object whose stages are admitted together: the most that any of them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from scenewright.api.raw import Json
from scenewright.execution.jobs import names
from scenewright.execution.jobs.job import owner_reference
from scenewright.execution.jobs.names import job_name
from scenewright.execution.jobs.pod import pod_spec
from scenewright.execution.jobs.request import CreateJob, JobRequest, Owner
from scenewright.execution.jobs.resources import cores, needs_of, number_of
from scenewright.execution.jobs.settings import PodSettings
from scenewright.planning.plan import Plan
from scenewright_stages.contract.keys import short_hash

KUEUE = "kueue.x-k8s.io"
PRIORITY_CLASS = f"{KUEUE}/priority-class"
_STEP = "quota"
_OF_POD = ("nodeSelector", "tolerations", "affinity", "runtimeClassName", "priorityClassName", "resourceClaims")
"""Fields of a Pod that decide which flavors fit."""


@dataclass(frozen=True)
class HoldQuota:
    """Ask Kueue for the quota of all stages of a run that need a GPU: `pods` has the most Pods at once by stage."""

    run: str
    pods: tuple[tuple[str, int], ...]


def quota_queue(plan: Plan) -> str:
    """The LocalQueue that admits the whole object; empty if its stages queue one by one, or not at all."""
    scheduling = plan.spec.scheduling
    if scheduling.admission != "Object":
        return ""
    return scheduling.queue_name or scheduling.labels.get(names.QUEUE, "")


def workload_name(plan: Plan, owner: Owner) -> str:
    """The Workload's name: like that of a Job of the same work."""
    return job_name(owner.kind, owner.name, owner.uid, plan.work_hash, _STEP)


def workload_manifest(
    plan: Plan, owner: Owner, hold: HoldQuota, settings: PodSettings, version: str = "v1beta2", priority: int = 0
) -> Json:
    """The manifest of the Workload; the same arguments give the same manifest.

    Raises:
        UnknownImageError: the configuration has no image for a stage.
    """
    requests = [
        JobRequest(plan, owner, CreateJob(stage, hold.run, shards=pods), needs_of(plan, stage, settings), settings)
        for stage, pods in hold.pods
    ]
    largest = max(requests, key=lambda request: (request.create.shards * request.needs.gpus, request.create.shards))
    count = largest.create.shards
    pod = pod_spec(largest)
    (worker,) = pod["containers"]
    container = {"name": worker["name"], "image": worker["image"], "resources": _resources(requests, count)}
    placement = {name: pod[name] for name in _OF_POD if name in pod}
    template = {"spec": {"restartPolicy": "Never", **placement, "containers": [container]}}
    spec = {
        "queueName": quota_queue(plan),
        "priority": priority,
        "podSets": [{"name": "main", "count": count, "template": template}],
    }
    return {
        "apiVersion": f"{KUEUE}/{version}",
        "kind": "Workload",
        "metadata": {
            "name": workload_name(plan, owner),
            "namespace": owner.namespace,
            "labels": names.labels_of(owner.kind, owner.name, owner.uid, _STEP, hold.run, plan.work_hash),
            "annotations": {names.TEMPLATE: workload_hash(spec)},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }


def workload_hash(spec: Json) -> str:
    """Hash of what the Workload asks for, without the priority, which Kueue may change."""
    return short_hash([spec["queueName"], spec["podSets"]])


def _resources(requests: list[JobRequest], count: int) -> Json:
    """Requests of one of `count` Pods that together cover every stage."""
    totals: dict[str, float] = {}
    for request in requests:
        wanted: Mapping[str, str] = {**request.needs.limits, **request.needs.requests}
        for name, amount in wanted.items():
            totals[name] = max(totals.get(name, 0.0), number_of(amount) * request.create.shards)
    each = {name: cores(total / count) if name == "cpu" else str(ceil(total / count)) for name, total in totals.items()}
    return {"requests": each, "limits": {name: amount for name, amount in each.items() if "/" in name}}
