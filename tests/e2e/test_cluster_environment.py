"""The one-node cluster does what the end-to-end tests rely on: real Pods, graphics cards, names, S3, a node to lose."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster import images, trial
from cluster.node import NODE
from cluster.whole_cluster import WholeCluster

pytestmark = pytest.mark.slow

LOOK_AROUND = """
import os, socket, sys, urllib.error, urllib.request
def status(url):
    try:
        return urllib.request.urlopen(url, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
print("looking", flush=True)
socket.create_connection(("kubernetes.default", 443), 10)
address = socket.gethostbyname("kubernetes.default.svc.cluster.local")
seen = [status(sys.argv[1]), status(sys.argv[2] + "/-/ready"), address, os.getuid()]
open("/dev/termination-log", "w").write(" ".join(map(str, seen)))
"""


@pytest.fixture(scope="module")
def namespace(whole_cluster: WholeCluster) -> Iterator[str]:
    """A namespace that enforces the restricted standard, with S3's keys, and the base image on the node."""
    images.move_to_node(images.BASE, whole_cluster.containerd)
    name = f"test-{uuid.uuid4().hex[:8]}"
    whole_cluster.target.kubectl("apply", "-f", "-", manifest=trial.namespace_manifests(whole_cluster.storage, name))
    plane = whole_cluster.control_plane
    eventually(lambda: plane.api.get(f"/api/v1/namespaces/{name}/serviceaccounts")["items"])
    yield name
    plane.api.delete(f"/api/v1/namespaces/{name}")


def eventually(read: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `read`."""
    deadline = time.monotonic() + seconds
    while not (value := read()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
    return value


def start_pod(cluster: WholeCluster, namespace: str, name: str, script: str, *arguments: str) -> str:
    """A Pod of the restricted standard with a graphics card; returns its API path."""
    container = {
        "name": "stage",
        "image": images.BASE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", script, *arguments],
        "resources": {"limits": {"nvidia.com/gpu": "1", "memory": "128Mi", "cpu": "500m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"restartPolicy": "Never", "securityContext": security, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster.control_plane.api.create(f"/api/v1/namespaces/{namespace}/pods", pod)
    return f"/api/v1/namespaces/{namespace}/pods/{name}"


def phase(cluster: WholeCluster, path: str) -> str:
    found: str = cluster.control_plane.api.get(path)["status"]["phase"]
    return found


def test_a_restricted_pod_with_a_card_sees_names_services_s3_and_prometheus(
    whole_cluster: WholeCluster, namespace: str
) -> None:
    endpoints = (whole_cluster.storage.endpoint, whole_cluster.prometheus.url)
    path = start_pod(whole_cluster, namespace, "look", LOOK_AROUND, *endpoints)
    eventually(lambda: phase(whole_cluster, path) in ("Succeeded", "Failed"))
    state = whole_cluster.control_plane.api.get(path)["status"]["containerStatuses"][0]["state"]["terminated"]
    logs = whole_cluster.target.kubectl("-n", namespace, "logs", "look")
    # S3 refuses who has no keys, which is an answer.
    assert (state["exitCode"], state.get("message")) == (0, "403 200 10.96.0.1 65532"), logs
    assert logs == "looking\n"


def test_a_pod_that_asks_for_too_many_cards_is_not_scheduled(whole_cluster: WholeCluster, namespace: str) -> None:
    api = whole_cluster.control_plane.api
    assert api.get(f"/api/v1/nodes/{NODE}")["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "greedy", "namespace": "default"},
        "spec": {"containers": [{"name": "a", "image": "a", "resources": {"limits": {"nvidia.com/gpu": "9"}}}]},
    }
    api.create("/api/v1/namespaces/default/pods", pod)
    path = "/api/v1/namespaces/default/pods/greedy"

    def message() -> str:
        conditions = api.get(path)["status"].get("conditions", [])
        return next((condition.get("message", "") for condition in conditions), "")

    assert "Insufficient nvidia.com/gpu" in eventually(message)
    api.delete(path)


def test_prometheus_scrapes_the_configured_targets(whole_cluster: WholeCluster) -> None:
    own = whole_cluster.prometheus.url.removeprefix("http://")
    whole_cluster.prometheus.scrape({own: {"service": "itself"}})
    query = f"{whole_cluster.prometheus.url}/api/v1/query?query=up"

    def up() -> list[Any]:
        results: list[Any] = json.load(urllib.request.urlopen(query, timeout=10))["data"]["result"]
        return results

    (series,) = eventually(up)
    assert (series["metric"]["service"], series["value"][1]) == ("itself", "1")


def test_a_deleted_pod_of_a_stopped_kubelet_stays_until_it_is_back(whole_cluster: WholeCluster, namespace: str) -> None:
    api = whole_cluster.control_plane.api
    path = start_pod(whole_cluster, namespace, "sleeper", "import time; time.sleep(600)")
    eventually(lambda: phase(whole_cluster, path) == "Running")
    whole_cluster.node.kubelet.stop()
    try:
        api.delete(f"{path}?gracePeriodSeconds=1")
        time.sleep(5)
        assert "deletionTimestamp" in api.get(path)["metadata"]
    finally:
        whole_cluster.node.restart_kubelet()
    listing = path.rpartition("/")[0]
    eventually(lambda: "sleeper" not in [pod["metadata"]["name"] for pod in api.get(listing)["items"]])
    assert api.get(f"/api/v1/nodes/{NODE}")["status"]["allocatable"]["nvidia.com/gpu"] == "8"
