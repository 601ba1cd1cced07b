"""The Pod of a step: one container that meets the restricted Pod Security Standard."""

from __future__ import annotations

from typing import Any

from scenewright.api.scheduling import ResourceClaim, Scheduling
from scenewright.execution.jobs.deadlines import pod_deadline
from scenewright.execution.jobs.environment import environment_of
from scenewright.execution.jobs.request import JobRequest
from scenewright.execution.jobs.settings import PodSettings
from scenewright.execution.jobs.volumes import mounts_of, volumes_of
from scenewright.execution.process import WORKER_MODULE

CONTAINER = "worker"
CPU_FAMILY = "cpu"
"""Name under which the configuration may give an image of its own to models, index and publish."""


class UnknownImageError(ValueError):
    """The operator's configuration has no image for a stage family."""


def pod_spec(request: JobRequest) -> dict[str, Any]:
    """The Pod's ``spec``.

    Raises:
        UnknownImageError: the configuration names no image for the step.
    """
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": request.settings.grace_seconds,
        **_deadline(request),
        "securityContext": _pod_security(request.settings),
        **_identity(request),
        **_placement(request),
        "containers": [_container(request)],
        "volumes": volumes_of(request),
    }


def image_of(request: JobRequest) -> str:
    """The image of the step: the override's, the stage family's, or the one of steps without a GPU.

    Raises:
        UnknownImageError: there is none.
    """
    images, plan, step = request.settings.images, request.plan, request.create.step
    if not request.is_stage:
        return images.get(CPU_FAMILY) or _family_image(plan.chain[0].image, request.settings)
    return request.own_image or _family_image(plan.stage(step).image, request.settings)


def _family_image(family: str, settings: PodSettings) -> str:
    if family not in settings.images:
        known = ", ".join(sorted(settings.images)) or "none"
        raise UnknownImageError(f"images.{family}: not in the operator's configuration, which has {known}")
    return settings.images[family]


def _container(request: JobRequest) -> dict[str, Any]:
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
        # A process that dies without a report at least leaves the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts_of(request),
    }


def _pod_security(settings: PodSettings) -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": settings.user,
        "runAsGroup": settings.user,
        "fsGroup": settings.user,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _identity(request: JobRequest) -> dict[str, Any]:
    """Whose rights the Pod has at the object storage and at the registry."""
    found: dict[str, Any] = {}
    account = request.plan.spec.storage.service_account_name
    if account:
        found["serviceAccountName"] = account
    of_object = [secret.name for secret in request.plan.spec.scheduling.image_pull_secrets]
    secrets = dict.fromkeys([*request.settings.image_pull_secrets, *of_object])
    if secrets:
        found["imagePullSecrets"] = [{"name": name} for name in secrets]
    return found


def _deadline(request: JobRequest) -> dict[str, int]:
    seconds = pod_deadline(request)
    return {} if seconds is None else {"activeDeadlineSeconds": seconds}


def _placement(request: JobRequest) -> dict[str, Any]:
    """Where the Pod may run. The runtime class and resource claims are those of GPUs."""
    scheduling, settings = request.plan.spec.scheduling, request.settings
    on_gpu = request.needs.gpus > 0
    found = {
        "priorityClassName": scheduling.priority_class_name,
        "nodeSelector": {**settings.node_selector, **scheduling.node_selector},
        "tolerations": [*settings.tolerations, *_tolerations(scheduling)],
        "affinity": dict(scheduling.affinity),
        "runtimeClassName": scheduling.runtime_class_name if on_gpu else "",
        "resourceClaims": [_claim(claim) for claim in scheduling.resource_claims] if on_gpu else [],
    }
    return {name: value for name, value in found.items() if value}


def _tolerations(scheduling: Scheduling) -> list[dict[str, Any]]:
    dumped = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in scheduling.tolerations]
    return [{name: value for name, value in each.items() if value != ""} for each in dumped]


def _claim(claim: ResourceClaim) -> dict[str, Any]:
    dumped = claim.model_dump(mode="json", by_alias=True)
    return {name: value for name, value in dumped.items() if value}
