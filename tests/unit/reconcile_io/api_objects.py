"""Raw objects as an API server sends them, shortened to what matters, and builders of variations."""

from __future__ import annotations

import copy
from typing import Any

JOB: dict[str, Any] = {
    "metadata": {
        "name": "s-yard-1a2b3c4d-coarse",
        "namespace": "lab",
        "uid": "job-uid",
        "resourceVersion": "120",
        "creationTimestamp": "2026-11-21T10:00:00Z",
        "labels": {
            "scenewright.io/managed": "true",
            "scenewright.io/step": "coarse",
            "scenewright.io/run": "1a2b3c4d-1",
            "scenewright.io/work-hash": "00ff00ff00ff00ff",
            "scenewright.io/owner-uid": "object-uid",
        },
        "annotations": {
            "scenewright.io/template": "ab12ab12ab12ab12",
        },
        "ownerReferences": [
            {
                "apiVersion": "scenewright.io/v1alpha1",
                "kind": "SceneJob",
                "name": "yard",
                "uid": "object-uid",
                "controller": True,
            }
        ],
    },
    "spec": {"completions": 12, "parallelism": 4, "suspend": False, "template": {}},
    "status": {
        "active": 2,
        "ready": 1,
        "terminating": 0,
        "succeeded": 8,
        "failed": 3,
        "completedIndexes": "0-5,7,9",
        "failedIndexes": "6,8",
        "startTime": "2026-11-21T10:00:01Z",
        "conditions": [{"type": "FailureTarget", "status": "True", "reason": "FailedIndexes"}],
    },
}

POD: dict[str, Any] = {
    "metadata": {
        "name": "s-yard-1a2b3c4d-coarse-3-abcde",
        "namespace": "lab",
        "uid": "pod-uid",
        "resourceVersion": "130",
        "creationTimestamp": "2026-11-21T10:00:02Z",
        "labels": {
            "batch.kubernetes.io/job-completion-index": "3",
            "batch.kubernetes.io/job-name": "s-yard-1a2b3c4d-coarse",
            "scenewright.io/managed": "true",
            "scenewright.io/owner-uid": "object-uid",
            "scenewright.io/step": "coarse",
        },
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": "s-yard-1a2b3c4d-coarse",
                "uid": "job-uid",
                "controller": True,
            }
        ],
    },
    "spec": {
        "nodeName": "gpu-1",
        "containers": [
            {"name": "worker", "resources": {"limits": {"cpu": "4", "memory": "8Gi", "nvidia.com/mig-1g.5gb": "2"}}}
        ],
    },
    "status": {
        "phase": "Running",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-21T10:00:03Z"}],
        "containerStatuses": [{"name": "worker", "state": {"running": {"startedAt": "2026-11-21T10:00:05Z"}}}],
    },
}

OBJECT: dict[str, Any] = {
    "metadata": {
        "name": "yard",
        "namespace": "lab",
        "uid": "object-uid",
        "resourceVersion": "110",
        "generation": 2,
        "creationTimestamp": "2026-11-21T09:59:59Z",
        "labels": {"argocd.argoproj.io/instance": "datasets"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "scenewright.io/retry": "3"},
    },
    "spec": {
        "input": {"uri": "s3://photos/curated/"},
        "output": {"uri": "s3://scenes/yard"},
        "storage": {"secretName": "lab-s3"},
        "vistadream": {"mode": "coarse"},
    },
    "status": {"phase": "Running", "observedGeneration": 2},
}


def job(**status: Any) -> dict[str, Any]:
    """A Job with further fields of its status."""
    raw = copy.deepcopy(JOB)
    raw["status"].update(status)
    return raw


def pod(**status: Any) -> dict[str, Any]:
    """A Pod with further fields of its status."""
    raw = copy.deepcopy(POD)
    raw["status"].update(status)
    return raw


def scene(name: str = "yard", **changes: Any) -> dict[str, Any]:
    """A SceneJob; `changes` replace parts of its metadata, spec or status by the keys they have there."""
    raw = copy.deepcopy(OBJECT)
    raw["metadata"] |= {"name": name, "uid": f"{name}-uid"}
    for part in ("metadata", "spec", "status"):
        raw[part] |= changes.get(part, {})
    return raw


def terminated(code: int, message: str = "", reason: str = "Error") -> list[dict[str, Any]]:
    """Container statuses of a Pod whose container has ended."""
    ended = {
        "exitCode": code,
        "reason": reason,
        "message": message,
        "startedAt": "2026-11-21T10:00:05Z",
        "finishedAt": "2026-11-21T10:01:05Z",
    }
    return [{"name": "worker", "state": {"terminated": ended}}]
