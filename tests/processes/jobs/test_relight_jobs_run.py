"""A data set in several shards by its Jobs' own commands and environments: the bytes of `scenewright run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from job_building import Owned
from local_kubelet import Kubelet, published_files, run_locally
from portraits import FAULTS, write_portraits

from scenewright.api.names import API_VERSION
from scenewright.execution.jobs import PodSettings

STAGES = ("segment", "albedo", "degrade", "recombine")
SHARDS = 2


def document(folder: Path, output: str, **relight: Any) -> dict[str, Any]:
    """A DatasetJob on portraits with masks, in shards of two."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DatasetJob",
        "metadata": {"name": "portraits", "namespace": "lab"},
        "spec": {
            "input": {"uri": (folder / "in").as_uri()},
            "output": {"uri": (folder / output).as_uri()},
            "relight": {"segmentation": {"backend": "mask"}, **relight},
            "execution": {"samplesPerShard": 2},
        },
    }


def kubelet_of(folder: Path, job: dict[str, Any]) -> Kubelet:
    return Kubelet(folder, job, Owned(kind="DatasetJob", name="portraits"), PodSettings(images={"cpu": "none"}))


@pytest.mark.slow
def test_the_pods_of_several_shards_make_the_data_set_of_the_local_run(tmp_path: Path) -> None:
    write_portraits(tmp_path / "in", 4, side=64)
    FAULTS["no-subject"](tmp_path / "in" / "p00003.png")
    kubelet = kubelet_of(tmp_path, document(tmp_path, "cluster"))
    report = kubelet.run_all()
    assert kubelet.pods == 1 + SHARDS * len(STAGES) + 1
    assert {name: report.stages[name].done for name in STAGES} == dict.fromkeys(STAGES, 3)
    assert (report.samples, report.rejected, report.failures) == (4, 0, [])
    assert report.warnings == ["1 of 4 samples rejected in segment: no-subject"]
    run_locally(tmp_path, document(tmp_path, "laptop"))
    cluster, laptop = published_files(tmp_path / "cluster"), published_files(tmp_path / "laptop")
    assert cluster == laptop
    assert {"metadata.jsonl", "croissant.json", "stage_1/p00000_alpha.png", "outputs/p00002_output.png"} <= set(cluster)
    assert len(json.loads((tmp_path / "cluster" / "summary.json").read_text())["stages"]) == len(STAGES)


@pytest.mark.slow
def test_another_light_starts_the_pods_of_stages_3_and_3_5_alone(tmp_path: Path) -> None:
    write_portraits(tmp_path / "in", 2, side=64)
    kubelet_of(tmp_path / "first", document(tmp_path, "cluster")).run_all()
    changed = document(tmp_path, "cluster", degradation={"ambientRange": [0.3, 0.4]})
    second = kubelet_of(tmp_path / "second", changed)
    report = second.run_all()
    assert second.pods == 4, "index, degrade, recombine, publish"
    assert report.stages["recombine"].done == 2
