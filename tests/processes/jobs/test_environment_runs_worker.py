"""A Job's own command and environment, run as local processes: the same bytes as `scenewright run` makes."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_pipeline
from job_building import Owned
from local_kubelet import Kubelet, published_files, run_locally
from plugins import plugins

from scenewright.api.names import API_VERSION
from scenewright.execution.jobs import PodSettings

TOY = {"toy": "toy_pipeline:PIPELINE"}
SETTINGS = PodSettings(images={"cpu": "none"})


@pytest.fixture(autouse=True)
def toy_pipeline_is_known() -> Iterator[None]:
    with plugins(**TOY):
        yield


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


def kubelet_of(folder: Path, document: dict[str, Any], owner: Owned | None = None) -> Kubelet:
    """What runs the Pods of a job of the toy pipeline."""
    return Kubelet(folder, document, owner or Owned(name="toys"), SETTINGS, TOY)


@pytest.mark.slow
def test_pods_and_the_local_run_make_the_same_bytes(tmp_path: Path) -> None:
    kubelet = kubelet_of(tmp_path, manifest(tmp_path, "cluster"))
    report = kubelet.run_all()
    assert report.stages["sum"].done == 5 and kubelet.pods == 1 + 3 + 3 + 1
    run_locally(tmp_path, manifest(tmp_path, "laptop"), **TOY)
    cluster, laptop = published_files(tmp_path / "cluster"), published_files(tmp_path / "laptop")
    assert len(cluster) > 10 and cluster == laptop


@pytest.mark.slow
def test_a_second_object_on_the_same_output_runs_no_stage(tmp_path: Path) -> None:
    document = manifest(tmp_path, "cluster")
    kubelet_of(tmp_path / "first", document).run_all()
    again = {**document, "metadata": {"name": "again", "namespace": "lab"}}
    second = kubelet_of(tmp_path / "second", again, Owned(name="again", uid="another-uid"))
    second.run_all()
    assert second.pods == 2, "index and publish"


@pytest.mark.slow
def test_a_terminated_pod_is_no_success_and_its_successor_continues(tmp_path: Path) -> None:
    document = manifest(tmp_path, "cluster", seconds=0.7)
    kubelet = kubelet_of(tmp_path, document)
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
    kubelet = kubelet_of(tmp_path, manifest(tmp_path, "cluster"))
    kubelet.run("index")
    kubelet.run("double", 0, shards=3)
    works = [pod / "scratch" / "work" for pod in sorted(tmp_path.glob("pod-*"))]
    assert len(works) == 2 and all(work.is_dir() and not list(work.iterdir()) for work in works)
