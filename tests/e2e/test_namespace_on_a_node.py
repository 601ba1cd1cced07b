"""A namespace that is deleted in mid-run goes, though its Pods fail in the end: on a node with a real kubelet."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pod_faults import working_pods
from portraits import write_portraits
from trials import Trial

from cluster import trial
from cluster.whole_cluster import WholeCluster

pytestmark = pytest.mark.slow

NAMESPACE = "leaving"
STAGES = ("segment", "albedo", "degrade", "recombine")
COUNT = 24
SLOW = {"requests": {"cpu": "400m"}, "limits": {"cpu": "500m"}}
"""So that the first stage still works when the namespace is deleted."""
TOO_LARGE = {"requests": {"cpu": "64"}, "limits": {"cpu": "64"}}
"""No node takes such a Pod."""


def job(name: str, resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "DatasetJob",
        "metadata": {"name": name},
        "spec": {
            "input": {"uri": f"s3://{trial.PHOTOS}/{NAMESPACE}"},
            "output": {"uri": f"s3://{trial.SCENES}/{NAMESPACE}-{name}"},
            "storage": {"secretName": trial.SECRET},
            "relight": {"segmentation": {"backend": "mask"}},
            "execution": {
                "samplesPerShard": COUNT // 2,
                "stageOverrides": {stage: {"resources": resources} for stage in STAGES},
            },
        },
    }


@pytest.fixture(scope="module")
def leaving(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A namespace with storage and photographs."""
    whole = cluster_with_operator
    trial.begin(whole.target, whole.storage, NAMESPACE)
    folder = tmp_path_factory.mktemp("leaving")
    write_portraits(folder, COUNT, side=1024)
    client = whole.storage.client()
    for path in folder.iterdir():
        client.upload_file(str(path), trial.PHOTOS, f"{NAMESPACE}/{path.name}")
    return Trial(whole.target, whole.storage, NAMESPACE, "datasetjob")


def waiting_pods(leaving: Trial, name: str) -> list[str]:
    pods = leaving.pods(name)
    return [pod["metadata"]["name"] for pod in pods if "nodeName" not in pod["spec"]]


def test_a_namespace_goes_with_the_jobs_that_work_and_wait_in_it(leaving: Trial) -> None:
    leaving.apply(job("working", SLOW))
    leaving.apply(job("waiting", TOO_LARGE))
    deadline = time.monotonic() + 180.0
    while not (working_pods(leaving, "working", STAGES, seconds=3.0) and waiting_pods(leaving, "waiting")):
        assert time.monotonic() < deadline, leaving.described()
        time.sleep(0.5)
    leaving.target.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


def test_in_the_namespace_recreated_an_object_runs_to_its_end(
    leaving: Trial, cluster_with_operator: WholeCluster
) -> None:
    trial.begin(cluster_with_operator.target, cluster_with_operator.storage, NAMESPACE)
    # The lock of its output has minutes left for the object that was there before.
    leaving.apply(job("working", SLOW))
    status = leaving.wait("working")
    assert status["progress"] == f"{4 * COUNT}/{4 * COUNT}"
    assert status.get("restarts", 0) >= 1
    leaving.target.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")
