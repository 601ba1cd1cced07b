"""The project's first example, applied to a real cluster with the chart installed: the bytes of the laptop, in S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import chart, trial
from cluster.whole_cluster import WholeCluster
from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

pytestmark = pytest.mark.slow

DEADLINE = "1500s"
THREADS = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
"""As the Pods get them: 1500m of a processor are two threads."""
VOLATILE = {"report.html"}
"""Holds times and where it was made."""


@dataclass(frozen=True)
class Trial:
    """A cluster with the operator, a namespace for the job, and its manifest."""

    cluster: WholeCluster
    folder: Path
    manifest: Path

    @property
    def job(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.manifest.read_text()))

    def kubectl(self, *arguments: str, manifest: str = "") -> str:
        return self.cluster.target.kubectl("--namespace", trial.NAMESPACE, *arguments, manifest=manifest)

    def apply(self, job: dict[str, Any]) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=json.dumps(job))

    def wait(self, name: str, condition: str = "Complete") -> None:
        self.kubectl("wait", f"--for=condition={condition}", f"scenejob/{name}", f"--timeout={DEADLINE}")

    def pods(self, name: str) -> list[dict[str, Any]]:
        selector = f"scenewright.io/object={name}"
        return list(json.loads(self.kubectl("get", "pods", "--selector", selector, "--output", "json"))["items"])

    def steps(self, name: str, run: str = "") -> set[str]:
        labels = [pod["metadata"]["labels"] for pod in self.pods(name)]
        return {each["scenewright.io/step"] for each in labels if not run or each["scenewright.io/run"] == run}

    def status(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", "scenejob", name, "--output", "json"))["status"])

    def stored(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix of the bucket of results, by its path below the prefix."""
        client = self.cluster.storage.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=trial.SCENES, Prefix=f"{prefix}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {
            key.removeprefix(f"{prefix}/"): client.get_object(Bucket=trial.SCENES, Key=key)["Body"].read()
            for key in keys
        }


@pytest.fixture(scope="module")
def finished(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """The example has been applied and is Complete."""
    folder = tmp_path_factory.mktemp("trial")
    manifest = trial.prepare(cluster_with_operator.target, cluster_with_operator.storage, folder)
    found = Trial(cluster_with_operator, folder, manifest)
    found.apply(found.job)
    try:
        found.wait("china")
    except RuntimeError as error:
        pytest.fail(f"{error}\n{found.kubectl('describe', 'scenejob,pods')[-6000:]}")
    yield found


def published(files: dict[str, bytes]) -> dict[str, Any]:
    return dict(json.loads(files[layout.PUBLISHED])["files"])


def made(files: dict[str, bytes]) -> set[tuple[str, float]]:
    """Stage and time of every record of something that was made."""
    lines = [line for path in files if path.endswith(".jsonl") for line in files[path].decode().split("\n") if line]
    records = [Record.from_line(line) for line in lines if '"state"' in line]
    return {(record.stage, record.at) for record in records if record.state == "done"}


def test_every_published_file_has_the_bytes_of_a_local_run(finished: Trial) -> None:
    local = finished.folder / "local"
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(finished.manifest), "--output", str(local)]
    environment = {**os.environ, **finished.cluster.storage.environment(), **THREADS}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = finished.stored("china")
    here = published({layout.PUBLISHED: (local / layout.PUBLISHED).read_bytes()})
    assert set(published(there)) == set(here)
    compared = sorted(set(here) - VOLATILE)
    assert len(compared) > 10
    different = [path for path in compared if there[path] != (local / path).read_bytes()]
    assert not different


def test_pods_meet_the_restricted_standard_and_the_status_tells_the_outcome(finished: Trial) -> None:
    status = finished.status("china")
    assert status["phase"] == "Complete"
    assert status["progress"] == "5/5", "one photograph, five stages"
    namespace = json.loads(finished.kubectl("get", "namespace", trial.NAMESPACE, "--output", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {pod["status"]["phase"] for pod in finished.pods("china")} == {"Succeeded"}


def test_the_pushes_of_real_pods_were_taken(finished: Trial) -> None:
    address = chart.metrics_address(finished.cluster.target)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    accepted = [line for line in text.splitlines() if line.startswith("scenewright_progress_pushes_total")]
    assert any('result="accepted"' in line and float(line.split()[-1]) > 0 for line in accepted), accepted


def test_the_same_work_under_another_name_indexes_publishes_and_asks_for_no_gpu(finished: Trial) -> None:
    again = finished.job
    again["metadata"]["name"] = "again"
    finished.apply(again)
    finished.wait("again")
    pods = finished.pods("again")
    # A single photograph is indexed by the first stage's Pod.
    assert len(pods) == 2
    assert finished.steps("again") <= {"index", "outpaint", "publish"}
    limits = [pod["spec"]["containers"][0]["resources"].get("limits", {}) for pod in pods]
    assert not [each for each in limits if any("gpu" in name for name in each)]
    finished.kubectl("delete", "scenejob", "again", "--wait=true")


def test_an_edit_of_one_coarse_parameter_runs_what_depends_on_it_and_leaves_nothing_stale(finished: Trial) -> None:
    before, first = finished.status("china")["run"], made(finished.stored("china"))
    edited = finished.job
    edited["spec"]["vistadream"]["coarse"] |= {"frames": 1, "iterationsPerFrame": 50}
    edited["spec"]["vistadream"]["render"] = {"rerun": False}
    finished.apply(edited)
    finished.kubectl("wait", "--for=jsonpath={.status.observedGeneration}=2", "scenejob/china", f"--timeout={DEADLINE}")
    finished.wait("china")
    status = finished.status("china")
    assert status["run"] != before
    # The first stage's Pod indexes a single photograph, and the last stage's publishes.
    assert finished.steps("china", status["run"]) == {"outpaint", "coarse", "render"}
    files = finished.stored("china")
    again = {stage for stage, _ in made(files) - first}
    assert again == {"coarse", "render"}
    results = {path for path in files if not path.startswith(f"{layout.ROOT}/")}
    assert results <= set(published(files))
    assert "china/scene.rrd" not in files
