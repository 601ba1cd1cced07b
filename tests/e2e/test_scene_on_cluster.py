"""The project's first example, applied to a real cluster with the chart installed: the bytes of the laptop, in S3."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from scene_jobs import without_recordings
from summaries import comparable
from trials import Trial, environment_of_pods

from cluster import chart, trial
from cluster.whole_cluster import WholeCluster
from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

pytestmark = pytest.mark.slow

VOLATILE = ("report.html", ".rrd")
"""They hold times, where they were made, and random ids."""


@pytest.fixture(scope="module")
def manifest(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the example on the cluster, which has all that it needs."""
    folder = tmp_path_factory.mktemp("trial")
    return trial.prepare(cluster_with_operator.target, cluster_with_operator.storage, folder)


@pytest.fixture(scope="module")
def finished(cluster_with_operator: WholeCluster, manifest: Path) -> Trial:
    """The example has been applied and is Complete."""
    found = Trial(cluster_with_operator.target, cluster_with_operator.storage, trial.NAMESPACE, "scenejob")
    found.apply(job_of(manifest))
    found.wait("china")
    return found


def job_of(manifest: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(manifest.read_text()))


def published(files: dict[str, bytes]) -> dict[str, Any]:
    return dict(json.loads(files[layout.PUBLISHED])["files"])


def made(files: dict[str, bytes]) -> set[tuple[str, float]]:
    """Stage and time of every record of something that was made."""
    lines = [line for path in files if path.endswith(".jsonl") for line in files[path].decode().split("\n") if line]
    records = [Record.from_line(line) for line in lines if '"state"' in line]
    return {(record.stage, record.at) for record in records if record.state == "done"}


def test_every_published_file_has_the_bytes_of_a_local_run(finished: Trial, manifest: Path, tmp_path: Path) -> None:
    local = tmp_path / "local"
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(manifest), "--output", str(local)]
    environment = environment_of_pods(finished.storage, threads=2)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = finished.stored("china")
    here = published({layout.PUBLISHED: (local / layout.PUBLISHED).read_bytes()})
    assert set(published(there)) == set(here)
    compared = sorted(path for path in here if not path.endswith(VOLATILE))
    assert len(compared) > 10
    made_here = {path: (local / path).read_bytes() for path in compared}
    for files in (there, made_here):
        files["manifest.jsonl"] = without_recordings(files["manifest.jsonl"])
    assert not [path for path in compared if comparable(path, there[path]) != comparable(path, made_here[path])]


def test_pods_meet_the_restricted_standard_and_the_status_tells_the_outcome(finished: Trial) -> None:
    status = finished.status("china")
    assert status["phase"] == "Complete"
    assert status["progress"] == "5/5", "one photograph, five stages"
    namespace = json.loads(finished.kubectl("get", "namespace", trial.NAMESPACE, "--output", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {pod["status"]["phase"] for pod in finished.pods("china")} == {"Succeeded"}


def test_the_pushes_of_real_pods_were_taken(finished: Trial) -> None:
    address = chart.metrics_address(finished.target)
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    accepted = [line for line in text.splitlines() if line.startswith("scenewright_progress_pushes_total")]
    assert any('result="accepted"' in line and float(line.split()[-1]) > 0 for line in accepted), accepted


def test_the_same_work_under_another_name_indexes_publishes_and_asks_for_no_gpu(
    finished: Trial, manifest: Path
) -> None:
    again = job_of(manifest)
    again["metadata"]["name"] = "again"
    finished.apply(again)
    finished.wait("again")
    pods = finished.pods("again")
    # A single photograph is indexed by the first stage's Pod.
    assert len(pods) == 2
    assert set(finished.steps("again")) <= {"index", "outpaint", "publish"}
    limits = [pod["spec"]["containers"][0]["resources"].get("limits", {}) for pod in pods]
    assert not [each for each in limits if any("gpu" in name for name in each)]
    finished.kubectl("delete", "scenejob", "again", "--wait=true")


def test_an_edit_of_one_coarse_parameter_runs_what_depends_on_it_and_leaves_nothing_stale(
    finished: Trial, manifest: Path
) -> None:
    before, first = finished.status("china")["run"], made(finished.stored("china"))
    edited = job_of(manifest)
    edited["spec"]["vistadream"]["coarse"] |= {"frames": 1, "iterationsPerFrame": 50}
    edited["spec"]["vistadream"]["render"] = {"rerun": False}
    finished.apply(edited)
    status = finished.wait("china", generation=2)
    assert status["run"] != before
    # The first stage's Pod indexes a single photograph, and the last stage's publishes.
    assert set(finished.steps("china", status["run"])) == {"outpaint", "coarse", "render"}
    files = finished.stored("china")
    again = {stage for stage, _ in made(files) - first}
    assert again == {"coarse", "render"}
    results = {path for path in files if not path.startswith(f"{layout.ROOT}/")}
    assert results <= set(published(files))
    assert "china/scene.rrd" not in files
