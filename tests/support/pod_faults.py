"""What happens to Pods of a trial on a real node: deletion, eviction, a killed process, an operator that is gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from trials import Trial
from worker_watch import worker_processes

from cluster import chart


def working_pods(trial: Trial, name: str, stages: Collection[str], seconds: float = 0.0) -> list[str]:
    """Pods of a job's stages that have worked for so long and are not being ended."""
    latest = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    found = []
    for pod in trial.pods(name):
        metadata = pod["metadata"]
        container: dict[str, Any] = next(iter(pod["status"].get("containerStatuses", [])), {})
        started = container.get("state", {}).get("running", {}).get("startedAt", "")
        is_stage = metadata["labels"]["scenewright.io/step"] in stages
        if is_stage and "deletionTimestamp" not in metadata and started and started < latest:
            found.append(str(metadata["name"]))
    return found


def delete_pod(trial: Trial, pod: str) -> bool:
    """As a person would; whether it was there."""
    return bool(trial.kubectl("delete", "pod", pod, "--wait=false", "--ignore-not-found"))


def evict_pod(trial: Trial, pod: str) -> bool:
    """Through the eviction API, as who drains a node does; whether it was there."""
    path = f"/api/v1/namespaces/{trial.namespace}/pods/{pod}/eviction"
    metadata = {"name": pod, "namespace": trial.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    try:
        trial.kubectl("create", "--raw", path, "-f", "-", manifest=json.dumps(body))
    except RuntimeError as error:
        if "not found" not in str(error):
            raise
        return False
    return True


def kill_worker(trial: Trial, pod: str) -> bool:
    """SIGKILL, as the kernel does when memory is short; whether the Pod had a process."""
    uid = trial.kubectl("get", "pod", pod, "--ignore-not-found", "--output", "jsonpath={.metadata.uid}")
    killed = False
    for number, variables in worker_processes():
        if uid and variables.get("SCENEWRIGHT_POD") == uid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                killed = True
    return killed


def kill_the_operator(trial: Trial, _pod: str = "") -> bool:
    """Without any grace; whether there was one."""
    gone = trial.target.kubectl(
        *("--namespace", chart.NAMESPACE, "delete", "pods", "--grace-period=0", "--force"),
        *("--selector", "app.kubernetes.io/name=scenewright"),
    )
    return "deleted" in gone
