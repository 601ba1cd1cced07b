"""Every cross-field rule means the same to pydantic and to CEL."""

from __future__ import annotations

from functools import cache
from typing import Any

import celpy
import pytest
from pydantic import ValidationError

from scenewright.api import lint
from scenewright.api.crds import crd
from scenewright.api.kinds import API_VERSION, SPECS, Manifest
from scenewright.planning.problems import SpecError
from scenewright.planning.validation import validated

PLACES = {"input": {"uri": "s3://photos/in"}, "output": {"uri": "s3://scenes/out"}}
SCENE = {**PLACES, "vistadream": {}}

RELIGHT: list[tuple[dict[str, Any], bool]] = [
    ({"segmentation": {"backend": "mask"}}, True),
    ({"segmentation": {"backends": ["sam3", "sam2"]}}, True),
    ({"segmentation": {"backends": ["sam3", "sam2"], "backend": "mask"}}, False),
    ({"segmentation": {"box": [0.1, 0.1, 0.9, 1.0]}}, True),
    ({"segmentation": {"box": [0.9, 0.1, 0.1, 1.0]}}, False),
    ({"segmentation": {"box": [0.1, 0.9]}}, False),
    ({"albedo": {"backends": ["retinex", "lab"]}}, True),
    ({"albedo": {"backends": ["retinex", "lab"], "backend": "lab"}}, False),
    ({"albedo": {"blendRange": [0.3, 0.2]}}, False),
    ({"degradation": {"weights": {"softShading": 0.0}}}, False),
    ({"degradation": {"weights": {"softShading": 0.0, "specular": 1.0}}}, True),
    ({"degradation": {"ambientRange": [0.6, 0.6]}}, True),
    ({"degradation": {"ambientRange": [0.6, 0.5]}}, False),
    ({"degradation": {"azimuthRange": [90.0, -90.0]}}, False),
    ({"degradation": {"elevationRange": [80.0, 10.0]}}, False),
    ({"degradation": {"temperatureRange": [9000.0, 3000.0]}}, False),
    ({"degradation": {"hardnessRange": [1.0, 0.5]}}, False),
    ({"degradation": {"specularRange": [0.4, 0.3]}}, False),
    ({"degradation": {"shininessRange": [64.0, 16.0]}}, False),
    ({"degradation": {"shadow": {"subtleOpacityRange": [0.5, 0.1]}}}, False),
    ({"degradation": {"shadow": {"hardOpacityRange": [0.5, 0.1]}}}, False),
    ({"degradation": {"shadow": {"softnessRange": [0.2, 0.1]}}}, False),
    ({"keep": ["outputs"]}, True),
    ({"keep": ["stage_1"]}, False),
    ({"preset": "mvp"}, True),
    ({"preset": "mvp", "normals": {"backend": "marigold-normals"}}, False),
    ({"preset": "mvp", "albedo": {"backends": ["lab"]}}, False),
]
"""Blocks of the relighting pipeline, and whether they are accepted."""


def overridden(resources: dict[str, Any]) -> dict[str, Any]:
    """The part of a spec that gives a stage other resources."""
    return {"execution": {"stageOverrides": {"coarse": {"resources": resources}}}}


CASES: list[tuple[str, dict[str, Any], bool]] = [
    ("SceneJob", SCENE, True),
    ("SceneJob", PLACES, False),
    ("SceneJob", {**SCENE, "output": {"uri": "s3://photos/in"}}, False),
    ("SceneJob", {**SCENE, "output": {"uri": "s3://photos/in/deeper"}}, False),
    ("SceneJob", {**SCENE, "output": {"uri": "s3://photos/in2"}}, True),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/in/"}, "output": {"uri": "s3://photos/in/x"}}, False),
    ("SceneJob", {**SCENE, "storage": {"secretName": "a"}}, True),
    ("SceneJob", {**SCENE, "storage": {"secretName": "a", "serviceAccountName": "b"}}, False),
    ("SceneJob", {**SCENE, "execution": {"stages": {"startFrom": "a"}}}, True),
    ("SceneJob", {**SCENE, "execution": {"stages": {"only": ["a"]}}}, True),
    ("SceneJob", {**SCENE, "execution": {"stages": {"startFrom": "a", "only": ["b"]}}}, False),
    ("SceneJob", {**SCENE, "execution": {"stages": {"startFrom": "a", "only": []}}}, True),
    ("SceneJob", {**SCENE, "execution": {"retries": {"perSample": 2, "perShard": 3}}}, True),
    ("SceneJob", {**SCENE, "execution": {"retries": {"perSample": 3, "perShard": 3}}}, False),
    ("SceneJob", {**SCENE, "execution": {"onSampleError": "Fail"}}, True),
    ("SceneJob", {**SCENE, "execution": {"maxFailedSamples": "20%"}}, True),
    ("SceneJob", {**SCENE, "execution": {"onSampleError": "Fail", "maxFailedSamples": 3}}, False),
    ("SceneJob", {**SCENE, "scheduling": {"resourceClaims": [{"name": "gpu"}]}}, False),
    ("SceneJob", {**SCENE, "scheduling": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "a"}]}}, True),
    ("SceneJob", {**SCENE, "vistadream": {"coarse": {"minInpaintRatio": 0.25}}}, True),
    ("SceneJob", {**SCENE, "vistadream": {"coarse": {"minInpaintRatio": 0.26}}}, False),
    ("SceneJob", {**SCENE, "vistadream": {"trajectory": {"motionPreset": "small"}}}, True),
    ("SceneJob", {**SCENE, "vistadream": {"trajectory": {"motionPreset": "small", "forwardRatio": 0.1}}}, False),
    ("SceneJob", {**SCENE, "vistadream": {"trajectory": {"forwardRatio": 0.1}}}, True),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/a/../b"}}, False),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/a..b/.."}}, False),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/a..b/...", "select": {"indices": "3,0-9,12-12"}}}, True),
    ("SceneJob", {**SCENE, "output": {"uri": "s3://scenes/../photos"}}, False),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/in", "select": {"indices": "0-9,12-3"}}}, False),
    ("SceneJob", {**SCENE, "scheduling": {"nodeSelector": {"pool": "a", "example.com/gpu.kind": "h200"}}}, True),
    ("SceneJob", {**SCENE, "scheduling": {"nodeSelector": {"a pool": "a"}}}, False),
    ("SceneJob", {**SCENE, "scheduling": {"nodeSelector": {"a/b/c": "a"}}}, False),
    ("SceneJob", {**SCENE, "scheduling": {"labels": {"-team": "a"}}}, False),
    ("SceneJob", {**SCENE, "scheduling": {"labels": {"x" * 64: "a"}}}, False),
    ("SceneJob", {**SCENE, **overridden({"limits": {"nvidia.com/gpu": 2, "memory": "1.5Gi"}})}, True),
    ("SceneJob", {**SCENE, **overridden({"limits": {"nvidia.com/gpu": "2"}, "requests": {"cpu": "500m"}})}, True),
    ("SceneJob", {**SCENE, **overridden({"limits": {"nvidia.com/gpu": "0.5"}})}, False),
    ("SceneJob", {**SCENE, **overridden({"limits": {"nvidia.com/gpu": "1k"}})}, False),
    ("SceneJob", {**SCENE, **overridden({"requests": {"nvidia.com/gpu": "500m"}})}, False),
    ("DatasetJob", PLACES, False),
    ("DatasetJob", {**PLACES, "relight": {}}, True),
    *((("DatasetJob", {**PLACES, "relight": block}, valid)) for block, valid in RELIGHT),
    ("TuningRun", {"output": {"uri": "s3://a-bucket/b"}, "dataset": {"datasetJob": "pairs"}}, True),
    ("TuningRun", {"output": {"uri": "s3://a-bucket/b"}, "dataset": {}}, False),
    ("TuningRun", {"output": {"uri": "s3://a-bucket/b"}, "dataset": {"uri": "s3://a-bucket/../c"}}, False),
    (
        "TuningRun",
        {"output": {"uri": "s3://a-bucket/b"}, "dataset": {"datasetJob": "pairs", "uri": "s3://a-bucket/c"}},
        False,
    ),
]


@pytest.mark.parametrize(("kind", "spec", "valid"), CASES)
def test_pydantic_and_cel_agree(kind: str, spec: dict[str, Any], valid: bool) -> None:
    assert (refusal(kind, spec) is None) == valid
    assert cel_holds(spec_schema(kind), spec) == valid


def test_every_rule_is_broken_by_a_case() -> None:
    declared = {(kind, path, rule["rule"]) for kind in SPECS for path, rule in lint.rules(spec_schema(kind))}
    broken = {(kind, *each) for kind, spec, valid in CASES if not valid for each in broken_rules(kind, spec)}
    shared = {(path, rule) for kind, path, rule in broken if kind == "SceneJob"}
    lacking = {(kind, path, rule) for kind, path, rule in declared - broken if (path, rule) not in shared}
    assert not lacking


def test_a_broken_rule_names_field_value_and_remedy() -> None:
    error = refusal("SceneJob", {**SCENE, "execution": {"retries": {"perSample": 3, "perShard": 2}}})
    assert error is not None
    (problem,) = error.problems
    assert problem.field == "spec.execution.retries.perShard"
    assert problem.value == 2
    assert "above perSample" in problem.remedy


def test_several_broken_rules_are_told_at_once() -> None:
    error = refusal(
        "SceneJob", {**PLACES, "output": PLACES["input"], "execution": {"stages": {"startFrom": "a", "only": ["b"]}}}
    )
    assert error is not None
    assert [problem.field for problem in error.problems] == ["spec.execution.stages.only"]
    error = refusal("SceneJob", {**PLACES, "output": PLACES["input"]})
    assert error is not None
    assert [problem.field for problem in error.problems] == ["spec.output.uri", "spec.vistadream"]


def refusal(kind: str, spec: dict[str, Any]) -> SpecError | None:
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    try:
        validated(document, Manifest[SPECS[kind]])  # type: ignore[misc]
    except SpecError as error:
        return error
    except ValidationError as error:
        raise AssertionError("problems must be told as SpecError") from error
    return None


def spec_schema(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """The value with the schema's defaults filled in, as an API server does it before it evaluates rules."""
    if isinstance(value, dict):
        children = schema.get("properties", {})
        filled = {**{name: child["default"] for name, child in children.items() if "default" in child}, **value}
        values = values_of(schema)
        return {name: with_defaults(children.get(name, values), each) for name, each in filled.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), each) for each in value]
    return float(value) if schema.get("type") == "number" else value


def values_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a map's values, empty when it is no map."""
    found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def broken_rules(kind: str, spec: dict[str, Any]) -> list[tuple[str, str]]:
    schema = spec_schema(kind)
    return list(_broken(schema, with_defaults(schema, spec), ""))


def cel_holds(schema: dict[str, Any], spec: dict[str, Any]) -> bool:
    return not list(_broken(schema, with_defaults(schema, spec), ""))


def _broken(schema: dict[str, Any], value: Any, path: str) -> Any:
    for rule in schema.get("x-kubernetes-validations", []):
        if not evaluate(rule["rule"], value):
            yield path, rule["rule"]
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name in value:
                yield from _broken(child, value[name], f"{path}.{name}")
        for each in value.values() if values_of(schema) else ():
            yield from _broken(values_of(schema), each, f"{path}{{}}")
    if isinstance(value, list):
        for each in value:
            yield from _broken(schema.get("items", {}), each, f"{path}[]")


@cache
def program_of(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule), functions={"split": split})


def split(text: celpy.celtypes.StringType, separator: celpy.celtypes.StringType) -> celpy.celtypes.ListType:
    """A function of Kubernetes' own that celpy lacks."""
    return celpy.celtypes.ListType([celpy.celtypes.StringType(part) for part in text.split(separator)])


def evaluate(rule: str, value: Any) -> bool:
    return bool(program_of(rule).evaluate({"self": celpy.json_to_cel(value)}))
