"""The relighting example on a real cluster with the chart installed: eight photographs in four shards, in S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from cluster import trial
from cluster.whole_cluster import WholeCluster
from scenewright_stages.contract import layout

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "datasetjob-relight.yaml"
STAGES = ("segment", "albedo", "degrade", "recombine", "caption")
NAMESPACE, NAME = "portraits", "faces"
COUNT, SHARDS = 8, 4
DEADLINE = "1500s"
SMALL = {"requests": {"cpu": "500m", "memory": "1Gi"}}
"""Two Pods fit beside the operator on two processors."""
VOLATILE = {"report.html"}
"""Holds times and where it was made."""


@dataclass(frozen=True)
class Trial:
    """A cluster with the operator, and a namespace with the job."""

    cluster: WholeCluster
    folder: Path

    def kubectl(self, *arguments: str, manifest: str = "") -> str:
        return self.cluster.target.kubectl("--namespace", NAMESPACE, *arguments, manifest=manifest)

    def run(self, job: dict[str, Any], generation: int) -> dict[str, Any]:
        """Applies the job and waits until it is Complete; its status."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=json.dumps(job))
        seen = f"--for=jsonpath={{.status.observedGeneration}}={generation}"
        try:
            self.kubectl("wait", seen, f"datasetjob/{NAME}", f"--timeout={DEADLINE}")
            self.kubectl("wait", "--for=condition=Complete", f"datasetjob/{NAME}", f"--timeout={DEADLINE}")
        except RuntimeError as error:
            pytest.fail(f"{error}\n{self.kubectl('describe', 'datasetjob,pods')[-6000:]}")
        return self.status()

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", "datasetjob", NAME, "--output", "json"))["status"])

    def pods(self, run: str) -> list[dict[str, Any]]:
        selector = f"scenewright.io/object={NAME},scenewright.io/run={run}"
        return list(json.loads(self.kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"])

    def steps(self, run: str) -> Counter[str]:
        """How many Pods each step of a run had."""
        return Counter(pod["metadata"]["labels"]["scenewright.io/step"] for pod in self.pods(run))

    def stored(self) -> dict[str, bytes]:
        """Every object of the output by its path below the prefix."""
        client = self.cluster.storage.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=trial.SCENES, Prefix=f"{NAME}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {
            key.removeprefix(f"{NAME}/"): client.get_object(Bucket=trial.SCENES, Key=key)["Body"].read() for key in keys
        }


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
    job["spec"]["relight"]["degradation"]["ambientRange"] = list(ambient)
    job["spec"]["execution"] |= {
        "samplesPerShard": COUNT // SHARDS,
        "stageOverrides": {stage: {"resources": SMALL} for stage in STAGES},
    }
    return job


def upload_photographs(cluster: WholeCluster) -> None:
    """Eight variants of the shipped photograph: mirrored, moved and exposed otherwise."""
    client = cluster.storage.client()
    present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in sorted({trial.PHOTOS, trial.SCENES} - present):
        client.create_bucket(Bucket=bucket)
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
def finished(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """The job has been applied and is Complete."""
    upload_photographs(cluster_with_operator)
    found = Trial(cluster_with_operator, tmp_path_factory.mktemp("portraits"))
    manifests = trial.namespace_manifests(cluster_with_operator.storage, NAMESPACE)
    cluster_with_operator.target.kubectl("apply", "--server-side", "-f", "-", manifest=manifests)
    found.run(portraits_job(), 1)
    yield found
    cluster_with_operator.target.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_every_stage_ran_in_shards_and_every_pod_ended_well(finished: Trial) -> None:
    status = finished.status()
    assert status["phase"] == "Complete"
    assert status["progress"] == f"{COUNT * len(STAGES)}/{COUNT * len(STAGES)}"
    assert {stage["name"]: stage["shards"]["total"] for stage in status["stages"]} == dict.fromkeys(STAGES, SHARDS)
    assert finished.steps(status["run"]) == {"index": 1, **dict.fromkeys(STAGES, SHARDS), "publish": 1}
    assert {pod["status"]["phase"] for pod in finished.pods(status["run"])} == {"Succeeded"}


def test_the_data_set_has_the_bytes_of_a_local_run(finished: Trial) -> None:
    local, manifest = finished.folder / "local", finished.folder / "job.json"
    manifest.write_text(json.dumps(portraits_job()))
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(manifest), "--output", str(local)]
    environment = {**os.environ, **finished.cluster.storage.environment()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = finished.stored()
    names = set(json.loads((local / layout.PUBLISHED).read_text())["files"])
    assert set(json.loads(there[layout.PUBLISHED])["files"]) == names
    assert {f"outputs/face{number}_output.png" for number in range(COUNT)} <= names
    different = [path for path in sorted(names - VOLATILE) if there[path] != (local / path).read_bytes()]
    assert not different


def test_another_light_runs_the_stages_that_depend_on_it(finished: Trial) -> None:
    """The last one of this module: it changes the object."""
    before, files = finished.status()["run"], finished.stored()
    status = finished.run(portraits_job((0.3, 0.35)), 2)
    assert status["run"] != before
    again = dict.fromkeys(("degrade", "recombine", "caption"), SHARDS)
    assert finished.steps(status["run"]) == {"index": 1, **again, "publish": 1}
    after = finished.stored()
    assert after["outputs/face0_albedo.png"] == files["outputs/face0_albedo.png"]
    assert after["outputs/face0_output.png"] != files["outputs/face0_output.png"]
    metadata = [json.loads(line) for line in after["metadata.jsonl"].decode().splitlines()]
    assert len(metadata) == COUNT and all(0.3 <= entry["ambient"] <= 0.35 for entry in metadata)
