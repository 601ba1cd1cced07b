"""Three worlds on a real cluster with the chart installed, several Pods a motion: the bytes of a local run, in S3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_world_batch import TINY, write_panorama
from trials import Trial, environment_of_pods

from cluster import trial
from cluster.storage import StorageServer
from cluster.whole_cluster import WholeCluster
from scenewright_stages.contract import layout

pytestmark = pytest.mark.slow

NAMESPACE, NAME = "worlds", "rooms"
WORLDS, SAMPLES_PER_SHARD = 3, 12
MOTIONS = ("in", "right")
STAGES = ("scaffold", "depth", *(f"expand-{motion}" for motion in MOTIONS), "points", "train", "export")
SMALL = {"requests": {"cpu": "500m", "memory": "1Gi"}}
"""Two Pods fit beside the operator on two processors."""


def rooms_job() -> dict[str, Any]:
    """A job of three panoramas in the bucket of photographs."""
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "SceneJob",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "input": {"uri": f"s3://{trial.PHOTOS}/{NAME}"},
            "output": {"uri": f"s3://{trial.SCENES}/{NAME}"},
            "storage": {"secretName": trial.SECRET},
            "worldexplorer": TINY,
            "execution": {
                "samplesPerShard": SAMPLES_PER_SHARD,
                "stageOverrides": {stage: {"resources": SMALL} for stage in STAGES},
            },
        },
    }


def upload_panoramas(storage: StorageServer, folder: Path) -> None:
    for number in range(WORLDS):
        path = folder / f"room{number}.png"
        write_panorama(path, number)
        storage.client().put_object(Bucket=trial.PHOTOS, Key=f"{NAME}/{path.name}", Body=path.read_bytes())


@pytest.fixture(scope="module")
def finished(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """The job has been applied and is Complete."""
    target, storage = cluster_with_operator.target, cluster_with_operator.storage
    trial.begin(target, storage, NAMESPACE)
    upload_panoramas(storage, tmp_path_factory.mktemp("rooms"))
    found = Trial(target, storage, NAMESPACE, "scenejob")
    found.apply(rooms_job())
    found.wait(NAME)
    yield found
    target.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_every_motion_ran_in_two_pods(finished: Trial) -> None:
    status = finished.status(NAME)
    assert status["phase"] == "Complete"
    shards = {stage["name"]: stage["shards"]["total"] for stage in status["stages"]}
    assert {name: shards[f"expand-{name}"] for name in MOTIONS} == dict.fromkeys(MOTIONS, 2)
    assert {pod["status"]["phase"] for pod in finished.pods(NAME, status["run"])} == {"Succeeded"}


def test_the_worlds_have_the_bytes_of_a_local_run(finished: Trial, tmp_path: Path) -> None:
    local, manifest = tmp_path / "local", tmp_path / "job.json"
    manifest.write_text(json.dumps(rooms_job()))
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(manifest), "--output", str(local)]
    environment = environment_of_pods(finished.storage, threads=1)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = finished.stored(NAME)
    listed = json.loads((local / layout.PUBLISHED).read_text())["files"]
    names = set(listed)
    assert set(json.loads(there[layout.PUBLISHED])["files"]) == names
    assert {f"room{number}/splat.ply" for number in range(WORLDS)} <= names
    # Pages and the summary hold times.
    compared = sorted(path for path in names if not listed[path].get("volatile"))
    assert not [path for path in compared if there[path] != (local / path).read_bytes()]
