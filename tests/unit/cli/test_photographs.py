"""A photograph in place of a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scenewright.cli import manifests
from scenewright.cli.main import app
from scenewright.cli.manifests import Changes, input_choices, input_document, load_plans
from scenewright.planning.problems import SpecError


def photograph(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"only its name is read here")
    return path


@pytest.mark.parametrize(
    ("pipeline", "kind", "block"), [("", "SceneJob", "vistadream"), ("relight", "DatasetJob", "relight")]
)
def test_a_photograph_is_a_job_with_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipeline: str, kind: str, block: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (plan,) = load_plans([photograph(tmp_path, "My Häus 1.JPG")], Changes(pipeline=pipeline))
    assert (plan.kind, plan.name, plan.pipeline.name) == (kind, "my-h-us-1", block)
    assert plan.input_uri.endswith("My%20H%C3%A4us%201.JPG") or plan.input_uri.endswith("My Häus 1.JPG")
    assert plan.spec.output.uri.endswith("/results/my-h-us-1")


@pytest.mark.parametrize(("cpus", "gpus", "size"), [(1, 0, 320), (2, 0, 320), (4, 0, 384), (64, 0, 512), (8, 1, 512)])
def test_a_photograph_fills_hidden_parts_at_a_size_for_the_machine_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, gpus: int, size: int
) -> None:
    monkeypatch.setattr(manifests, "available_cpus", lambda: cpus)
    monkeypatch.setattr(manifests, "available_gpus", lambda environment: ["0"] * gpus)
    path = photograph(tmp_path, "a.png")
    (plan,) = load_plans([path], Changes())
    assert "coarse" in [stage.name for stage in plan.chain]
    said = input_choices(path, Changes())
    assert f"--set maxResolution={size}" in said
    assert "--set mode=coarse" in said
    assert "--set coarse.minInpaintRatio=0.01" in said, "small moves uncover little, and what they uncover is filled"
    assert ("a GPU" in said) == bool(gpus)
    assert "maxResolution" not in input_choices(path, Changes(assignments=["maxResolution=64"]))
    assert input_choices(path, Changes(pipeline="relight")) == "", "other pipelines keep their defaults"


def test_settings_and_the_output_are_changed_as_those_of_a_manifest(tmp_path: Path) -> None:
    changes = Changes(assignments=["mode=coarse"], output_uri=str(tmp_path / "elsewhere"))
    (plan,) = load_plans([photograph(tmp_path, "a.png")], changes)
    assert "coarse" in [stage.name for stage in plan.chain]
    assert plan.spec.output.uri.endswith("/elsewhere")


def test_a_pipeline_that_takes_no_photograph_is_refused_and_so_is_one_for_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="vistadream"):
        input_document(photograph(tmp_path, "a.png"), "vistadreem")
    manifest = tmp_path / "job.yaml"
    manifest.write_text(json.dumps(input_document(photograph(tmp_path, "a.png"))))
    with pytest.raises(SpecError, match="names its own"):
        load_plans([manifest], Changes(pipeline="vistadream"))


@pytest.mark.process
def test_a_photograph_that_is_not_there_is_refused_as_the_input(tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, ["run", str(tmp_path / "nothing.jpg"), "--output", str(tmp_path / "out")])
    assert ended.exit_code == 10
    assert "spec.input.uri" in ended.output
    assert "nothing is there" in ended.output


@pytest.mark.parametrize(
    ("name", "pipeline"), [("IMG_0001.HEIC", "vistadream"), ("iphone.avif", "vistadream"), ("walk.MOV", "reconstruct")]
)
def test_files_of_a_phone_are_jobs(tmp_path: Path, name: str, pipeline: str) -> None:
    (plan,) = load_plans([photograph(tmp_path, name)], Changes())
    assert plan.pipeline.name == pipeline


def test_a_folder_with_a_pipeline_is_a_job_and_its_files_say_whether_poses_are_estimated(tmp_path: Path) -> None:
    folder = tmp_path / "trip"
    folder.mkdir()
    photograph(folder, "a.jpg")
    (plan,) = load_plans([folder], Changes(pipeline="reconstruct"))
    assert plan.name == "trip"
    assert "poses" in [stage.name for stage in plan.chain]
    (folder / "sparse").mkdir()
    (folder / "sparse" / "images.bin").write_bytes(b"")
    (plan,) = load_plans([folder], Changes(pipeline="reconstruct"))
    assert "poses" not in [stage.name for stage in plan.chain]
    with pytest.raises(SpecError, match="--pipeline NAME"):
        load_plans([folder], Changes())
    with pytest.raises(SpecError, match=r"takes no \.mov file; these do: reconstruct"):
        load_plans([photograph(tmp_path, "a.mov")], Changes(pipeline="vistadream"))


def test_a_video_without_a_manifest_trains_no_longer_than_two_cores_take_minutes_for(tmp_path: Path) -> None:
    block = input_document(photograph(tmp_path, "walk.mp4"))["spec"]["reconstruct"]
    assert block == {"poses": {"source": "estimate"}, "training": {"steps": 1500, "maximum": 40_000}}
    (tmp_path / "trip").mkdir()
    photograph(tmp_path / "trip", "a.jpg")
    assert "training" not in input_document(tmp_path / "trip", "reconstruct")["spec"]["reconstruct"]


def test_a_raw_photograph_is_refused_with_the_formats_that_are_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"not read: convert it to one of \.png \.jpg"):
        load_plans([photograph(tmp_path, "IMG_1.CR2")], Changes())
