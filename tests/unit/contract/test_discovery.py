"""Pipelines are found by themselves: those of this package by their folders, those of others by entry points."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugins import plugins

import scenewright_stages
from scenewright.api.crds import crd
from scenewright.api.kinds import spec_model
from scenewright.api.names import API_VERSION
from scenewright.planning.plan import make_plan
from scenewright.planning.problems import SpecError
from scenewright_stages import pipelines as discovery
from scenewright_stages.contract.keys import stage_keys

TOY = "toy_pipeline:PIPELINE"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Pipelines of a test are gone after it."""
    with plugins():
        yield


def document(**blocks: object) -> dict[str, object]:
    spec = {"input": {"uri": "s3://photos/in"}, "output": {"uri": "s3://scenes/out"}, **blocks}
    return {"apiVersion": API_VERSION, "kind": "SceneJob", "metadata": {"name": "a"}, "spec": spec}


def test_every_folder_with_a_pipeline_is_found() -> None:
    root = Path(scenewright_stages.__file__).parent
    folders = {path.parent.name for path in root.glob("*/pipeline.py")} - {"contract"}
    found = {pipeline.params.__module__.split(".")[1] for pipeline in discovery.pipelines(built_in=True).values()}
    assert found == folders >= {"relight", "vistadream"}


def test_a_plug_in_is_a_pipeline_like_the_others() -> None:
    with plugins(toy=TOY):
        assert "toy" in discovery.pipelines("SceneJob") and "toy" not in discovery.pipelines("DatasetJob")
        assert discovery.pipeline("toy").name == "toy"
        plan = make_plan(document(toy={"factor": 3}))
        assert (plan.pipeline.name, list(plan.keys)) == ("toy", ["double", "sum"])
        with pytest.raises(SpecError, match=r"spec\.toy\.factor"):
            make_plan(document(toy={"factor": 0}))
        with pytest.raises(SpecError, match="exactly one pipeline block"):
            make_plan(document(toy={}, vistadream={}))
    with pytest.raises(SpecError, match="no such field"):
        make_plan(document(toy={}))


def test_released_definitions_hold_the_built_in_pipelines_alone_and_those_of_a_site_all() -> None:
    before = crd("SceneJob", built_in=True)
    with plugins(toy=TOY):
        assert crd("SceneJob", built_in=True) == before
        schema = crd("SceneJob")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        assert schema["properties"]["toy"]["properties"]["factor"]["default"] == 2
        assert any("has(self.toy)" in rule["rule"] for rule in schema["x-kubernetes-validations"])
        assert "toy" in spec_model("SceneJob").model_fields


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("no_such_module:PIPELINE", "ModuleNotFoundError"),
        ("toy_pipeline:NOTHING", "AttributeError"),
        ("toy_pipeline:stages", "it is not a Pipeline of the name 'other'"),
        (TOY, "it is not a Pipeline of the name 'other'"),
    ],
)
def test_a_broken_plug_in_is_left_out_and_reported_and_affects_no_other(
    target: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    built_in = set(discovery.pipelines(built_in=True))
    with plugins(toy=TOY, other=target):
        found = discovery.installed()
        assert list(found.broken) == [f"other = {target}"]
        assert why in found.broken[f"other = {target}"]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert f"other = {target} is left out: " in caplog.text and why in caplog.text
        assert set(found.all()) == {*built_in, "toy"}
        with pytest.raises(discovery.UnknownPipeline, match=r"toy\b"):
            discovery.pipeline("other")


def test_a_plug_in_whose_code_fails_as_it_is_loaded_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "failing_plugin.py").write_text("raise RuntimeError('not on this machine')\n")
    sys.path.insert(0, str(tmp_path))
    with plugins(failing="failing_plugin:PIPELINE"):
        assert discovery.installed().broken == {
            "failing = failing_plugin:PIPELINE": "RuntimeError: not on this machine"
        }


def test_a_plug_in_takes_no_name_of_another_pipeline(tmp_path: Path) -> None:
    lines = (
        "from dataclasses import replace",
        "from toy_pipeline import PIPELINE",
        "PIPELINE = replace(PIPELINE, name='relight')",
    )
    (tmp_path / "imitation.py").write_text("\n".join(lines))
    sys.path.insert(0, str(tmp_path))
    with plugins(relight="imitation:PIPELINE"):
        assert discovery.pipeline("relight").kind == "DatasetJob"
        assert "another pipeline has this name" in discovery.installed().broken["relight = imitation:PIPELINE"]
    with plugins(toy=TOY, more="toy_pipeline:MORE"), plugins(toy="toy_broken:PIPELINE"):
        first = discovery.pipeline("toy")
        assert first.stages(first.parse({}))[0].implementation == "no_such_module:Stage"
        assert "another pipeline has this name" in discovery.installed().broken[f"toy = {TOY}"]


def test_frozen_defaults_beside_a_plug_in_are_part_of_it(tmp_path: Path) -> None:
    package = tmp_path / "frozen_toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "pipeline.py").write_text("from toy_pipeline import PIPELINE\n")
    table = {"toy": {"double": {"version": 1, "defaults": {"factor": 7}}}, "another": {"double": {"version": 1}}}
    (package / "defaults.json").write_text(json.dumps(table))
    sys.path.insert(0, str(tmp_path))
    with plugins(toy=TOY):
        plain = discovery.pipeline("toy")
    with plugins(toy="frozen_toy.pipeline:PIPELINE"):
        frozen = discovery.pipeline("toy")
    assert (plain.defaults, frozen.defaults) == ({}, table["toy"])
    seven = plain.parse({"factor": 7})
    assert stage_keys(frozen, seven, {}, 42)["double"] == stage_keys(plain, plain.parse({}), {}, 42)["double"]
