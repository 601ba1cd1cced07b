"""Simulated Pods that kwok forgets are told from those that take their time, and it is reminded of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import operator_process as op
import pytest

from cluster import Behaviour, ControlPlane, simulation

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def at(seconds_ago: float) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat()


def simulated_pod(status: dict[str, Any], waiting: str = "", **metadata: str) -> dict[str, Any]:
    behaviour = json.dumps({"waiting": waiting} if waiting else {})
    annotations = {simulation.BEHAVIOUR_ANNOTATION: behaviour}
    return {"metadata": {"annotations": annotations, **metadata}, "spec": {"nodeName": "simulated-0"}, "status": status}


def pending(seconds_ago: float, **status: Any) -> dict[str, Any]:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(seconds_ago)}
    return {"phase": "Pending", "conditions": [scheduled], **status}


def running(seconds_ago: float, milliseconds: int, ends: str = "True") -> dict[str, Any]:
    end = {"type": "SimulatedEnd", "status": ends, "message": f"{milliseconds}ms"}
    return {"phase": "Running", "startTime": at(seconds_ago), "conditions": [end]}


STARTED_WAITING = {"containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}


@pytest.mark.parametrize(
    ("pod", "is_forgotten"),
    [
        (simulated_pod(pending(16)), True),
        (simulated_pod(pending(14)), False),
        (simulated_pod(pending(90, **STARTED_WAITING), waiting="ImagePullBackOff"), False),
        (simulated_pod(pending(90), waiting="ImagePullBackOff"), True),
        (simulated_pod(pending(90, **STARTED_WAITING)), True),
        (simulated_pod(running(16, 500)), True),
        (simulated_pod(running(16, 5000)), False),
        (simulated_pod(running(90, 500, ends="False")), False),
        (simulated_pod(running(90, 500, ends="False"), deletionTimestamp=at(16)), True),
        (simulated_pod({"phase": "Succeeded"}), False),
    ],
)
def test_a_pod_is_forgotten_when_its_next_step_is_long_due(pod: dict[str, Any], is_forgotten: bool) -> None:
    assert simulation.is_overdue(pod, NOW) == is_forgotten


def test_no_reminder_goes_to_a_pod_that_is_not_forgotten(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.simulate(namespace, {"default": Behaviour(hang=True)})
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "stage", "image": "none"}]}
    metadata = {"name": "hangs", "labels": {"scenewright.io/step": "coarse"}}
    control_plane.api.create(path, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def read() -> dict[str, Any]:
        found: dict[str, Any] = control_plane.api.get(f"{path}/hangs")
        return found

    op.eventually(lambda: read()["status"]["phase"] == "Running", 30.0, "the Pod runs")
    before = read()
    assert simulation.remind_of_overdue(control_plane.api, namespace) == []
    assert read() == before
