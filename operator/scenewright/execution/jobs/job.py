"""The Job of one step of a run: Indexed, one completion for each shard."""

from __future__ import annotations

from typing import Any

from scenewright.api.kinds import API_VERSION
from scenewright.execution.jobs import labels
from scenewright.execution.jobs.names import job_name, output_place
from scenewright.execution.jobs.pod import CONTAINER, pod_spec
from scenewright.execution.jobs.quantities import gibibytes
from scenewright.execution.jobs.request import Creation, JobRequest, Owner
from scenewright.execution.jobs.resources import needs_of
from scenewright.execution.jobs.settings import PodSettings
from scenewright.planning import protocol
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import restarts_of
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.keys import short_hash

__all__ = ["Creation", "Owner", "job_manifest"]


def job_manifest(plan: Plan, owner: Owner, create: Creation, settings: PodSettings) -> dict[str, Any]:
    """The Job as the API server takes it; the same arguments give the same Job.

    Args:
        plan: of the object's work.
        owner: the object; only its kind, name, namespace and uid are used.
        create: step, run, shards and flags.
        settings: what the operator's configuration says about Pods.

    Raises:
        UnknownImageError: the configuration has no image for the step.
        ValueError: the task does not fit into its environment variable.
    """
    request = JobRequest(plan, owner, create, needs_of(plan, create.step, settings), settings)
    own = labels.labels_of(owner.kind, owner.name, owner.uid, create.step, create.run, plan.work_hash)
    found = labels.with_own(own, plan.spec.scheduling.labels)
    queue = queue_of(request)
    template = {
        "metadata": {"labels": {**found, **_egress(request)}, **_annotations(request)},
        "spec": pod_spec(request),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(owner.kind, owner.name, owner.uid, plan.work_hash, create.step),
            "namespace": owner.namespace,
            "labels": {**found, **({labels.QUEUE: queue} if queue else {})},
            "annotations": {labels.TEMPLATE: short_hash([template, queue]), **_notes(request)},
            "ownerReferences": [_owner_reference(owner)],
        },
        "spec": {
            **_job_spec(request),
            **({"suspend": True} if queue else {}),
            "template": template,
        },
    }


def queue_of(request: JobRequest) -> str:
    """The queue that admits the Job, which is then created suspended; empty where Kubernetes starts it at once."""
    named = protocol.queue_of(request.plan, needs_gpu=request.needs.gpus > 0)
    return named or request.plan.spec.scheduling.labels.get(labels.QUEUE, "")


def _notes(request: JobRequest) -> dict[str, str]:
    """What the operator later needs to know: GPUs of one Pod, and where the Pods write."""
    spec = request.plan.spec
    place = output_place(request.owner.namespace, spec.storage.secret_name, spec.output.uri)
    found = {labels.GPUS: str(request.needs.gpus)}
    if not request.create.plan_only:
        found[labels.OUTPUT] = place
        if hosts := request.plan.pipeline.hosts:
            found[labels.HOSTS] = ",".join(hosts)
    return found


def _egress(request: JobRequest) -> dict[str, str]:
    name = request.stage.egress if request.stage else ""
    return {labels.EGRESS: labels.label_value(name)} if name else {}


def _annotations(request: JobRequest) -> dict[str, Any]:
    memory = request.needs.gpu_memory_gib
    return {"annotations": {labels.GPU_MEMORY: gibibytes(memory)}} if memory else {}


def _job_spec(request: JobRequest) -> dict[str, Any]:
    execution, shards = request.plan.spec.execution, request.create.shards
    return {
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": min(shards, execution.max_parallelism),
        "backoffLimitPerIndex": restarts_of(request.plan, request.create.step),
        **({"maxFailedIndexes": 0} if execution.on_sample_error == "Fail" else {}),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules()},
        "ttlSecondsAfterFinished": request.settings.job_ttl_seconds,
    }


def _failure_rules() -> list[dict[str, Any]]:
    """What the end of a Pod means, in order; every other end counts as a failure of its index."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        _on_exit("FailJob", ExitCode.CONFIGURATION),
        _on_exit("FailJob", ExitCode.SAMPLE_FAILED),
        _on_exit("FailIndex", ExitCode.SHARD_LOST),
    ]


def _on_exit(action: str, code: ExitCode) -> dict[str, Any]:
    return {"action": action, "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [int(code)]}}


def _owner_reference(owner: Owner) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
