"""``--set``: paths from the root, from spec or from the pipeline block; typed by YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scenewright.api.kinds import spec_model
from scenewright.planning.documents import absolute_uri, with_absolute_uris
from scenewright.planning.overrides import apply_overrides
from scenewright.planning.problems import SpecError

RAW: dict[str, Any] = {"spec": {"vistadream": {"coarse": {"frames": 10}}}}


def applied(*assignments: str) -> dict[str, Any]:
    result: dict[str, Any] = apply_overrides(RAW, assignments, spec_model("SceneJob"), ["vistadream"])["spec"]
    return result


@pytest.mark.parametrize("path", ["spec.vistadream.coarse.frames", "vistadream.coarse.frames", "coarse.frames"])
def test_paths_may_be_shortened(path: str) -> None:
    assert applied(f"{path}=5")["vistadream"]["coarse"]["frames"] == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("abc", "abc"),
        ("", None),
        ("[a, b]", ["a", "b"]),
        ('"5"', "5"),
        ("a=b", "a=b"),
    ],
)
def test_values_are_typed_by_yaml(text: str, value: Any) -> None:
    assert applied(f"coarse.frames={text}")["vistadream"]["coarse"]["frames"] == value


def test_missing_blocks_are_made_and_the_document_stays_as_it_was() -> None:
    spec = applied("execution.seed=7", "outpaint.backend=flux-fill", "execution.stageOverrides.depth.backend=moge")
    assert spec["execution"] == {"seed": 7, "stageOverrides": {"depth": {"backend": "moge"}}}
    assert spec["vistadream"]["outpaint"] == {"backend": "flux-fill"}
    assert RAW == {"spec": {"vistadream": {"coarse": {"frames": 10}}}}


def test_snake_case_is_understood() -> None:
    assert applied("max_resolution=320")["vistadream"]["maxResolution"] == 320


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("coarse.frame=5", "did you mean 'frames'"),
        ("corse.frames=5", "did you mean 'coarse'"),
        ("spec.vistadream.coarse.frames.more=5", "no such field"),
        ("execution.sed=1", "did you mean 'seed'"),
        ("coarse.frames", "must be path=value"),
        ("=5", "must be path=value"),
        ("coarse.frames=[", "not valid YAML"),
    ],
)
def test_what_does_not_exist_is_refused_with_near_matches(assignment: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        applied(assignment)


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("./in/a.jpg", "file:///jobs/in/a.jpg"),
        ("../a b?.jpg", "file:///a%20b%3F.jpg"),
        ("/data/x/", "file:///data/x/"),
        ("s3://bucket/x", "s3://bucket/x"),
        ("file:///x", "file:///x"),
    ],
)
def test_relative_paths_count_from_the_given_folder(uri: str, absolute: str) -> None:
    assert absolute_uri(uri, Path("/jobs")) == absolute
    raw = {"spec": {"input": {"uri": uri}, "output": 3}}
    assert with_absolute_uris(raw, Path("/jobs"))["spec"] == {"input": {"uri": absolute}, "output": 3}
    block = {"scenes": {"photos": uri, "iterations": 2}, "prompts": 3}
    raw = {"kind": "DatasetJob", "spec": {"referenceObject": block}}
    found = with_absolute_uris(raw, Path("/jobs"))["spec"]["referenceObject"]
    assert found == {"scenes": {"photos": absolute, "iterations": 2}, "prompts": 3}
