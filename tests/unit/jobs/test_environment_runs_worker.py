"""A Job's own command and environment, run as local processes: the same bytes as `scenewright run` makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import toy_pipeline
import yaml
from job_building import Create, Owned, container_of, literal_environment, pod_of, referenced_environment

from scenewright.api.kinds import API_VERSION
from scenewright.execution.jobs import PodSettings, job_manifest, paths
from scenewright.planning import kinds
from scenewright.planning.plan import make_plan
from scenewright_stages.contract.reports import Report

SUPPORT = Path(toy_pipeline.__file__).parent
PIPELINES = {"SCENEWRIGHT_PIPELINES": "toy=toy_pipeline:PIPELINE", "PYTHONPATH": str(SUPPORT)}
SETTINGS = PodSettings(images={"scene": "none"}, environment=PIPELINES)
CACHES = (kinds.pipelines_of, kinds.manifest_model, kinds.spec_model)


@pytest.fixture(autouse=True)
def toy_pipeline_is_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SCENEWRIGHT_PIPELINES", PIPELINES["SCENEWRIGHT_PIPELINES"])
    for cached in CACHES:
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in CACHES:
        cached.cache_clear()


def manifest(folder: Path, output: str, samples: int = 5, **toy: Any) -> dict[str, Any]:
    """A job of the toy pipeline in shards of two samples."""
    if not (folder / "in").exists():
        toy_pipeline.write_inputs(folder / "in", samples)
    return {
        "apiVersion": API_VERSION,
        "kind": "SceneJob",
        "metadata": {"name": "toys", "namespace": "lab"},
        "spec": {
            "input": {"uri": (folder / "in").as_uri()},
            "output": {"uri": (folder / output).as_uri()},
            "toy": toy,
            "execution": {"samplesPerShard": 2},
        },
    }


@dataclass
class Kubelet:
    """Runs the containers of Jobs as processes whose whole environment is the container's.

    Attributes:
        folder: stands for the Pod's volumes.
    """

    folder: Path
    document: dict[str, Any]
    owner: Owned = field(default_factory=lambda: Owned(name="toys"))
    pods: int = 0

    def start(self, step: str, index: int = 0, **create: Any) -> subprocess.Popen[bytes]:
        """Starts the Pod of an index."""
        job = job_manifest(make_plan(self.document), self.owner, Create(step, **create), SETTINGS)
        self.pods += 1
        volumes = self.folder / f"pod-{self.pods}"
        scratch, self.termination = volumes / "scratch", volumes / "termination-log"
        (scratch / "tmp").mkdir(parents=True)
        self.termination.write_bytes(b"")
        environment = {
            **_on_this_machine(literal_environment(job), scratch),
            **dict.fromkeys(referenced_environment(job), f"pod-{self.pods}"),
            "JOB_COMPLETION_INDEX": str(index),
            "SCENEWRIGHT_TERMINATION_LOG": str(self.termination),
            # A checkout below /tmp is not the Pod's /tmp.
            "PYTHONPATH": str(SUPPORT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        assert pod_of(job)["restartPolicy"] == "Never"
        command = container_of(job)["command"]
        return subprocess.Popen(command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, step: str, index: int = 0, **create: Any) -> Report:
        """Runs the Pod of an index to its end; its termination message."""
        process = self.start(step, index, **create)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        return Report.from_bytes(self.termination.read_bytes())

    def run_all(self) -> Report:
        """What the operator does: index, every stage that has something to do, publish."""
        index = self.run("index")
        for stage in make_plan(self.document).selected:
            counts = index.stages[stage]
            for shard in range(counts.shards if counts.todo else 0):
                self.run(stage, shard, shards=counts.shards)
        return self.run("publish")


def _on_this_machine(environment: dict[str, str], scratch: Path) -> dict[str, str]:
    """Paths of the container's volumes as those that stand for them here."""
    places = {paths.SCRATCH: str(scratch), paths.TEMPORARY: str(scratch / "tmp")}
    found = dict(environment)
    for name, value in environment.items():
        for inside, here in places.items():
            if value == inside or value.startswith(f"{inside}/"):
                found[name] = here + value.removeprefix(inside)
    return found


def run_locally(folder: Path, document: dict[str, Any]) -> None:
    """`scenewright run` with the threads of the Pods."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    environment = {**os.environ, **PIPELINES, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", "from scenewright.cli.main import main; main()", "run", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def published_files(output: Path) -> dict[str, bytes]:
    """Every file that ``published.json`` names but the report, which has times in it."""
    names = json.loads((output / ".scenewright" / "published.json").read_text())["files"]
    return {name: (output / name).read_bytes() for name in names if not name.endswith("report.html")}


@pytest.mark.slow
def test_pods_and_the_local_run_make_the_same_bytes(tmp_path: Path) -> None:
    kubelet = Kubelet(tmp_path, manifest(tmp_path, "cluster"))
    report = kubelet.run_all()
    assert report.stages["sum"].done == 5 and kubelet.pods == 1 + 3 + 3 + 1
    run_locally(tmp_path, manifest(tmp_path, "laptop"))
    cluster, laptop = published_files(tmp_path / "cluster"), published_files(tmp_path / "laptop")
    assert len(cluster) > 10 and cluster == laptop


@pytest.mark.slow
def test_a_second_object_on_the_same_output_runs_no_stage(tmp_path: Path) -> None:
    document = manifest(tmp_path, "cluster")
    Kubelet(tmp_path / "first", document).run_all()
    again = {**document, "metadata": {"name": "again", "namespace": "lab"}}
    second = Kubelet(tmp_path / "second", again, Owned(name="again", uid="another-uid"))
    second.run_all()
    assert second.pods == 2, "index and publish"


@pytest.mark.slow
def test_a_terminated_pod_is_no_success_and_its_successor_goes_on(tmp_path: Path) -> None:
    document = manifest(tmp_path, "cluster", seconds=0.7)
    kubelet = Kubelet(tmp_path, document)
    shards = kubelet.run("index").stages["double"].shards
    process = kubelet.start("double", 0, shards=shards)
    records = tmp_path / "cluster" / ".scenewright" / "double"
    deadline = time.monotonic() + 60.0
    while not records.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert kubelet.run("double", 0, shards=shards).stages["double"].done == 2


@pytest.mark.slow
def test_a_process_leaves_its_scratch_volume_clean(tmp_path: Path) -> None:
    kubelet = Kubelet(tmp_path, manifest(tmp_path, "cluster"))
    kubelet.run("index")
    kubelet.run("double", 0, shards=3)
    works = [pod / "scratch" / "work" for pod in sorted(tmp_path.glob("pod-*"))]
    assert len(works) == 2 and all(work.is_dir() and not list(work.iterdir()) for work in works)
