"""Simulated nodes and Pods (kwok): their manifests, and how a test sets the behaviour of Pods."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from .api import Api, ApiError

MANIFESTS = Path(__file__).parent / "manifests"
STAGES = MANIFESTS / "kwok-stages.yaml"
POLICY = MANIFESTS / "simulated-pods.yaml"
MANAGED_LABEL = "test.scenewright.io/simulated"
BEHAVIOUR_ANNOTATION = "test.scenewright.io/behaviour"
REMINDER_ANNOTATION = "test.scenewright.io/reminder"
CONFIG_MAP = "simulated-pods"
PROBE = "probe"
_PATIENCE = timedelta(seconds=15)


@dataclass(frozen=True)
class Behaviour:
    """What a simulated Pod does.

    Attributes:
        seconds: how long it runs; for a pair, a number in this range that depends only on `seed`, object, step, index
            and attempt.
        exit_code: of its containers.
        fail_first: only this many attempts at an index end with `exit_code`, later ones with 0; None for all.
        message: termination message, or waiting message.
        waiting: it never starts, for this reason (``ImagePullBackOff``).
        hang: it runs until it is deleted.
    """

    seconds: float | tuple[float, float] = 1.0
    exit_code: int = 0
    fail_first: int | None = None
    message: str = ""
    waiting: str = ""
    hang: bool = False
    seed: int = 0

    def to_json(self) -> str:
        """Text of the Pod annotation ``test.scenewright.io/behaviour``."""
        low, high = self.seconds if isinstance(self.seconds, tuple) else (self.seconds, self.seconds)
        document: dict[str, Any] = {"milliseconds": [round(low * 1000), round(high * 1000)], "seed": self.seed}
        optional = {"exitCode": self.exit_code, "message": self.message, "waiting": self.waiting, "hang": self.hang}
        document |= {name: value for name, value in optional.items() if value}
        if self.fail_first is not None:
            document["failFirst"] = self.fail_first
        return json.dumps(document)


def behaviour_config_map(namespace: str, behaviours: Mapping[str, Behaviour]) -> dict[str, Any]:
    """The ConfigMap that sets the behaviours in a namespace.

    The first existing key wins: ``<object>.<step>.<index>``, ``<object>.<step>``, ``<step>.<index>``, ``<step>``,
    ``default``.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": namespace},
        "data": {key: behaviour.to_json() for key, behaviour in behaviours.items()},
    }


def node_manifest(name: str, gpus: int) -> dict[str, Any]:
    """A node with ample resources that kwok manages while it has the label."""
    resources = {"cpu": "10000", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "100000"}
    resources["nvidia.com/gpu"] = str(gpus)
    labels = {MANAGED_LABEL: "true", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"capacity": resources, "allocatable": resources},
    }


def order_behaviours(api: Api, namespace: str, behaviours: Mapping[str, Behaviour]) -> str:
    """Applies the ConfigMap; returns a mark by which :func:`is_effective` recognises it."""
    manifest = behaviour_config_map(namespace, behaviours)
    mark = json.dumps({"mark": uuid.uuid4().hex})
    manifest["data"][PROBE] = mark
    api.apply(f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}", manifest)
    return mark


def is_effective(api: Api, namespace: str, mark: str) -> bool:
    """Whether new Pods get the behaviours; the API server takes a moment to load a policy and its parameters."""
    created = api.create(f"/api/v1/namespaces/{namespace}/pods", _probe_pod(), dry_run=True)
    return bool(created["metadata"].get("annotations", {}).get(BEHAVIOUR_ANNOTATION) == mark)


def remind(api: Api) -> bool:
    """Touches every node and unfinished Pod, so that kwok looks at them again.

    kwok drops its next step if a request fails, except with a refused connection or an overload. Without this, nodes
    would stay unready and Pods pending forever after an outage.

    Returns:
        False if not all requests succeeded.
    """
    try:
        pods = api.get("/api/v1/pods")["items"]
        nodes = api.get("/api/v1/nodes")["items"]
        paths = [f"/api/v1/nodes/{node['metadata']['name']}" for node in nodes]
        paths += [_path_of(pod) for pod in pods if _is_unfinished(pod)]
        for path in paths:
            _touch(api, path)
    except (ApiError, OSError):
        return False
    return True


def remind_of_overdue(api: Api, namespace: str) -> list[str]:
    """Touches only the Pods of a namespace that kwok has forgotten; returns their names.

    On a loaded machine kwok forgets one Pod in several thousand even without an outage; a kubelet never does.
    """
    now = datetime.now(UTC)
    nodes = {node["metadata"]["name"] for node in api.get(f"/api/v1/nodes?labelSelector={MANAGED_LABEL}")["items"]}
    pods = api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    forgotten = [pod for pod in pods if pod["spec"].get("nodeName") in nodes and is_overdue(pod, now)]
    for pod in forgotten:
        _touch(api, _path_of(pod))
    return [pod["metadata"]["name"] for pod in forgotten]


def is_overdue(pod: Mapping[str, Any], now: datetime) -> bool:
    """Whether the start, end or removal of a Pod on a node is long overdue."""
    due = _next_step_at(pod)
    return due is not None and now - due > _PATIENCE


def _next_step_at(pod: Mapping[str, Any]) -> datetime | None:
    metadata, status = pod["metadata"], pod["status"]
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    if "deletionTimestamp" in metadata:
        return _moment(metadata["deletionTimestamp"])
    scheduled, end = conditions.get("PodScheduled"), conditions.get("SimulatedEnd", {})
    if scheduled and status["phase"] == "Pending" and not (_waits(pod) and "containerStatuses" in status):
        return _moment(scheduled["lastTransitionTime"])
    if status["phase"] == "Running" and end.get("status") == "True":
        return _moment(status["startTime"]) + timedelta(milliseconds=int(end["message"].removesuffix("ms")))
    return None


def _waits(pod: Mapping[str, Any]) -> bool:
    annotations = pod["metadata"].get("annotations", {})
    return bool(json.loads(annotations.get(BEHAVIOUR_ANNOTATION, "{}")).get("waiting"))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _is_unfinished(pod: Mapping[str, Any]) -> bool:
    is_deleted = "deletionTimestamp" in pod["metadata"]
    is_bound = "nodeName" in pod["spec"]
    return is_bound and (is_deleted or pod["status"]["phase"] in ("Pending", "Running"))


def _path_of(pod: Mapping[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _touch(api: Api, path: str) -> None:
    try:
        api.merge(path, {"metadata": {"annotations": {REMINDER_ANNOTATION: uuid.uuid4().hex}}})
    except ApiError as error:
        if error.code != 404:
            raise


def _probe_pod() -> dict[str, Any]:
    # Must be admitted in a namespace with the restricted Pod Security Standard and a quota.
    security = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": PROBE,
        "image": PROBE,
        "securityContext": {**security, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "0", "memory": "0"}, "limits": {"cpu": "0", "memory": "0"}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": PROBE, "labels": {"scenewright.io/step": PROBE}},
        "spec": {"containers": [container]},
    }
