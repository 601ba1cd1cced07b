"""Builds the Pod of a step: one container that meets the restricted Pod Security Standard."""

from __future__ import annotations

from math import ceil

from scenewright.api.raw import Json
from scenewright.api.scheduling import ResourceClaim, Toleration
from scenewright.execution.jobs.environment import environment_of
from scenewright.execution.jobs.request import JobRequest
from scenewright.execution.jobs.volumes import mounts_of, volumes_of
from scenewright.execution.process import WORKER_MODULE
from scenewright.planning import backends
from scenewright_stages.contract.pipeline import CPU_IMAGE, StageSpec

SHARD_SECONDS = 900.0
"""Duration of a shard that the worker aims at if the object sets no shard size."""
LOADING_SECONDS = 3600
MAXIMUM_SHARDS = 10_000
MAXIMUM_SECONDS = 2**31 - 1


def pod_deadline(request: JobRequest) -> int | None:
    """``activeDeadlineSeconds``: longer than all samples of the shard need if each attempt takes its full timeout.

    None for a stage that keeps state: a sample's time limit starts again with each saved state, which only the worker
    knows.
    """
    cpu_step_deadline = request.settings.step_deadline_seconds
    if request.stage is None:
        return cpu_step_deadline
    if request.stage.keeps_state:
        return None
    execution = request.plan.spec.execution
    attempts = request.plan.retries.per_sample + 1
    seconds = LOADING_SECONDS + _samples_per_shard(request, request.stage) * execution.sample_timeout_seconds * attempts
    folded = request.create.fold_index + request.create.fold_publish
    return min(MAXIMUM_SECONDS, seconds + folded * cpu_step_deadline)


def _samples_per_shard(request: JobRequest, stage: StageSpec) -> int:
    size = request.plan.spec.execution.samples_per_shard or ceil(
        SHARD_SECONDS / max(stage.pod.seconds_per_sample, 1e-3)
    )
    # At the maximum number of shards they are larger than requested, by a factor that only the index knows.
    return size * 100 if request.create.shards >= MAXIMUM_SHARDS else size


CONTAINER = "worker"


class UnknownImageError(ValueError):
    """The operator's configuration has no image of that name."""


def pod_spec(request: JobRequest) -> Json:
    """The Pod's ``spec``.

    Raises:
        UnknownImageError: the configuration names no image for the step.
    """
    deadline, user = pod_deadline(request), request.settings.user
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": request.settings.grace_seconds,
        **({} if deadline is None else {"activeDeadlineSeconds": deadline}),
        "securityContext": {
            "runAsNonRoot": True,
            **(dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), user) if user else {}),
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **_identity(request),
        **_placement(request),
        "containers": [_container(request)],
        "volumes": volumes_of(request),
    }


def image_of(request: JobRequest) -> str:
    """The image of the step: the object's override, else the configured image that the stage and its backends need.

    Raises:
        UnknownImageError: the configuration does not have it.
    """
    if request.own_image:
        return request.own_image
    images, stage = request.settings.images, request.stage
    name = backends.image_of(stage, on_gpu=request.needs.gpus > 0) if stage is not None else CPU_IMAGE
    if name not in images:
        known = ", ".join(sorted(images)) or "none"
        raise UnknownImageError(f"images.{name}: not in the operator's configuration, which has {known}")
    return images[name]


def _container(request: JobRequest) -> Json:
    return {
        "name": CONTAINER,
        "image": image_of(request),
        "imagePullPolicy": request.settings.image_pull_policy,
        "command": ["python", "-m", WORKER_MODULE],
        "env": environment_of(request),
        "resources": request.needs.container_resources(),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": "/dev/termination-log",
        # If a process dies without a report, the message has at least the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts_of(request),
    }


def _identity(request: JobRequest) -> Json:
    """Service account for the object storage, and pull secrets for the registry."""
    found: Json = {}
    account = request.plan.spec.storage.service_account_name
    if account:
        found["serviceAccountName"] = account
    of_object = [secret.name for secret in request.plan.spec.scheduling.image_pull_secrets]
    secrets = dict.fromkeys([*request.settings.image_pull_secrets, *of_object])
    if secrets:
        found["imagePullSecrets"] = [{"name": name} for name in secrets]
    return found


def _placement(request: JobRequest) -> Json:
    """Where the Pod may run. Runtime class and resource claims apply only with a GPU."""
    scheduling, settings = request.plan.spec.scheduling, request.settings
    on_gpu = request.needs.gpus > 0
    found = {
        "priorityClassName": scheduling.priority_class_name,
        "nodeSelector": {**settings.node_selector, **scheduling.node_selector},
        "tolerations": [*settings.tolerations, *map(_as_given, scheduling.tolerations)],
        "affinity": dict(scheduling.affinity),
        "runtimeClassName": scheduling.runtime_class_name if on_gpu else "",
        "resourceClaims": list(map(_as_given, scheduling.resource_claims)) if on_gpu else [],
    }
    return {name: value for name, value in found.items() if value}


def _as_given(block: Toleration | ResourceClaim) -> Json:
    """A block of the spec in Kubernetes' form, without empty fields."""
    dumped = block.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: value for name, value in dumped.items() if value != ""}
