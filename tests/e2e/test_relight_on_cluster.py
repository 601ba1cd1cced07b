"""The relighting example on a real cluster with the chart installed: eight photographs in four shards, in S3."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from summaries import comparable
from trials import Trial, environment_of_pods

from cluster import trial
from cluster.storage import StorageServer
from cluster.whole_cluster import WholeCluster
from scenewright_stages.contract import layout

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "datasetjob-relight.yaml"
STAGES = ("segment", "albedo", "degrade", "recombine", "caption")
NAMESPACE, NAME = "portraits", "faces"
COUNT, SHARDS = 8, 4
SMALL = {"requests": {"cpu": "500m", "memory": "1Gi"}}
"""Two Pods fit beside the operator on two processors."""
VOLATILE = {"report.html"}
"""Holds times and where it was made."""


def portraits_job(ambient: tuple[float, float] = (0.15, 0.4)) -> dict[str, Any]:
    """The project's example on a prefix of photographs, one light each."""
    job: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    job["metadata"] = {"name": NAME, "namespace": NAMESPACE}
    job["spec"] |= {
        "input": {"uri": f"s3://{trial.PHOTOS}/{NAME}"},
        "output": {"uri": f"s3://{trial.SCENES}/{NAME}"},
        "storage": {"secretName": trial.SECRET},
    }
    job["spec"]["relight"]["variants"] = 1
    # The example's third kind of light, advancedShading, has a range of its own.
    weights = {"softShading": 0.6, "specular": 0.4}
    job["spec"]["relight"]["degradation"] |= {"ambientRange": list(ambient), "weights": weights}
    job["spec"]["execution"] |= {
        "samplesPerShard": COUNT // SHARDS,
        "stageOverrides": {stage: {"resources": SMALL} for stage in STAGES},
    }
    return job


def upload_photographs(storage: StorageServer) -> None:
    """Eight variants of the shipped photograph: mirrored, moved and exposed otherwise."""
    client = storage.client()
    photograph = cv2.imread(str(EXAMPLE.parent / "inputs" / "astronaut.png"))
    assert photograph is not None
    height, width = photograph.shape[:2]
    for number in range(COUNT):
        shown = photograph[:, ::-1] if number % 2 else photograph
        moved = np.array([[1.0, 0.0, 3.0 * number], [0.0, 1.0, 2.0 * number]])
        shown = cv2.warpAffine(np.ascontiguousarray(shown), moved, (width, height), borderMode=cv2.BORDER_REPLICATE)
        content = cv2.imencode(".png", cv2.convertScaleAbs(shown, alpha=0.9 + 0.02 * number))[1].tobytes()
        client.put_object(Bucket=trial.PHOTOS, Key=f"{NAME}/face{number}.png", Body=content)


@pytest.fixture(scope="module")
def finished(cluster_with_operator: WholeCluster) -> Iterator[Trial]:
    """The job has been applied and is Complete."""
    target, storage = cluster_with_operator.target, cluster_with_operator.storage
    trial.begin(target, storage, NAMESPACE)
    upload_photographs(storage)
    found = Trial(target, storage, NAMESPACE, "datasetjob")
    found.apply(portraits_job())
    found.wait(NAME)
    yield found
    target.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_every_stage_ran_in_shards_and_every_pod_ended_well(finished: Trial) -> None:
    status = finished.status(NAME)
    assert status["phase"] == "Complete"
    assert status["progress"] == f"{COUNT * len(STAGES)}/{COUNT * len(STAGES)}"
    assert {stage["name"]: stage["shards"]["total"] for stage in status["stages"]} == dict.fromkeys(STAGES, SHARDS)
    assert finished.steps(NAME, status["run"]) == {"index": 1, **dict.fromkeys(STAGES, SHARDS), "publish": 1}
    assert {pod["status"]["phase"] for pod in finished.pods(NAME, status["run"])} == {"Succeeded"}


def test_the_data_set_has_the_bytes_of_a_local_run(finished: Trial, tmp_path: Path) -> None:
    local, manifest = tmp_path / "local", tmp_path / "job.json"
    manifest.write_text(json.dumps(portraits_job()))
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(manifest), "--output", str(local)]
    environment = environment_of_pods(finished.storage, threads=1)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = finished.stored(NAME)
    names = set(json.loads((local / layout.PUBLISHED).read_text())["files"])
    assert set(json.loads(there[layout.PUBLISHED])["files"]) == names
    assert {f"outputs/face{number}_output.png" for number in range(COUNT)} <= names
    here = {path: (local / path).read_bytes() for path in sorted(names - VOLATILE)}
    assert not [path for path in here if comparable(path, there[path]) != comparable(path, here[path])]


def test_another_light_runs_the_stages_that_depend_on_it(finished: Trial) -> None:
    """The last one of this module: it changes the object."""
    before, files = finished.status(NAME)["run"], finished.stored(NAME)
    finished.apply(portraits_job((0.3, 0.35)))
    status = finished.wait(NAME, generation=2)
    assert status["run"] != before
    again = dict.fromkeys(("degrade", "recombine", "caption"), SHARDS)
    assert finished.steps(NAME, status["run"]) == {"index": 1, **again, "publish": 1}
    after = finished.stored(NAME)
    assert after["outputs/face0_albedo.png"] == files["outputs/face0_albedo.png"]
    assert after["outputs/face0_output.png"] != files["outputs/face0_output.png"]
    metadata = [json.loads(line) for line in after["metadata.jsonl"].decode().splitlines()]
    assert len(metadata) == COUNT and all(0.3 <= entry["ambient"] <= 0.35 for entry in metadata)
