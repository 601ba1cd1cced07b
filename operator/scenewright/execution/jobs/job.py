"""Builds the Job of one step of a run: an Indexed Job with one completion per shard."""

from __future__ import annotations

from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json
from scenewright.execution.jobs import names
from scenewright.execution.jobs.additions import with_additions
from scenewright.execution.jobs.names import job_name
from scenewright.execution.jobs.pod import CONTAINER, pod_spec
from scenewright.execution.jobs.request import CreateJob, JobRequest, Owner
from scenewright.execution.jobs.resources import gibibytes, needs_of
from scenewright.execution.jobs.settings import PodSettings
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import restarts_of
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.keys import short_hash


def job_manifest(plan: Plan, owner: Owner, create: CreateJob, settings: PodSettings) -> Json:
    """The manifest of the Job; the same arguments give the same manifest.

    Raises:
        UnknownImageError: the configuration has no image for the step.
        TaskTooLargeError: the task does not fit into the Pod's environment.
    """
    request = JobRequest(plan, owner, create, needs_of(plan, create.step, settings), settings)
    own = names.labels_of(owner.kind, owner.name, owner.uid, create.step, create.run, plan.work_hash)
    added = plan.spec.scheduling.labels.items()
    queue = queue_of(request)
    kept = {key: value for key, value in added if not key.startswith(names.RESERVED)}
    if not queue:
        kept.pop(names.QUEUE, None)
    found = {**kept, **own}
    bare = {"metadata": _pod_metadata(request, found), "spec": pod_spec(request)}
    execution = plan.spec.execution
    template = with_additions(bare, execution.template, settings)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(owner.kind, owner.name, owner.uid, plan.work_hash, create.step),
            "namespace": owner.namespace,
            "labels": {**found, **({names.QUEUE: queue} if queue else {})},
            "annotations": {names.TEMPLATE: short_hash([template, queue])},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": create.shards,
            "parallelism": min(create.shards, execution.max_parallelism),
            "backoffLimitPerIndex": restarts_of(plan, create.step),
            **({"maxFailedIndexes": 0} if execution.on_sample_error == "Fail" else {}),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _FAILURE_RULES},
            "ttlSecondsAfterFinished": settings.job_ttl_seconds,
            **({"suspend": True} if queue else {}),
            "template": template,
        },
    }


def queue_of(request: JobRequest) -> str:
    """The queue that admits the Job, which is then created suspended; empty if Kubernetes starts it at once."""
    scheduling = request.plan.spec.scheduling
    if scheduling.admission == "Object" and request.needs.gpus:
        # The object's Workload stands for it.
        return ""
    named = scheduling.queue_name if request.needs.gpus else scheduling.cpu_queue_name
    return named or scheduling.labels.get(names.QUEUE, "")


def _pod_metadata(request: JobRequest, labels: dict[str, str]) -> Json:
    egress, memory = request.stage.pod.egress if request.stage else "", request.needs.gpu_memory_gib
    found = {"labels": {**labels, names.EGRESS: names.label_value(egress)} if egress else labels}
    return {**found, "annotations": {names.GPU_MEMORY: gibibytes(memory)}} if memory else found


def _on_exit(action: str, code: ExitCode) -> Json:
    return {"action": action, "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [int(code)]}}


_FAILURE_RULES = [
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    _on_exit("FailJob", ExitCode.CONFIGURATION),
    _on_exit("FailJob", ExitCode.SAMPLE_FAILED),
    _on_exit("FailIndex", ExitCode.SHARD_LOST),
]
"""Pod failure policy; the first match wins, and any other failure counts against the index's backoff limit."""


def owner_reference(owner: Owner) -> Json:
    """The reference by which Kubernetes deletes what an object owns."""
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
