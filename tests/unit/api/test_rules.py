"""Every cross-field rule means the same to pydantic and to CEL."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import celpy
import crd_lint as lint
import pytest
from pydantic import ValidationError
from rule_examples import PLACES, Block, Breach, Path, blocks, breaches, dotted, placed, right_spec

from scenewright.api.crds import crd
from scenewright.api.kinds import KINDS, manifest_model
from scenewright.api.names import API_VERSION
from scenewright.planning.problems import SpecError
from scenewright.planning.validation import validated
from scenewright_stages.contract.pipeline import Kind
from scenewright_stages.pipelines import pipelines

SCENE = right_spec("SceneJob", "vistadream")
FACES = right_spec("DatasetJob", "relight")


def overridden(resources: dict[str, Any]) -> dict[str, Any]:
    """The part of a spec that gives a stage other resources."""
    return {"execution": {"stageOverrides": {"coarse": {"resources": resources}}}}


ACCEPTED: list[tuple[Kind, dict[str, Any]]] = [
    ("SceneJob", {**SCENE, "output": {"uri": "s3://photos/in2"}}),
    ("SceneJob", {**SCENE, "storage": {"secretName": "a"}}),
    ("SceneJob", {**SCENE, "execution": {"stages": {"startFrom": "a"}}}),
    ("SceneJob", {**SCENE, "execution": {"stages": {"only": ["a"]}}}),
    ("SceneJob", {**SCENE, "execution": {"stages": {"startFrom": "a", "only": []}}}),
    ("SceneJob", {**SCENE, "execution": {"retries": {"perSample": 2, "perShard": 3}}}),
    ("SceneJob", {**SCENE, "execution": {"onSampleError": "Fail"}}),
    ("SceneJob", {**SCENE, "execution": {"maxFailedSamples": "20%"}}),
    ("SceneJob", {**SCENE, "scheduling": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "a"}]}}),
    ("SceneJob", {**SCENE, "vistadream": {"coarse": {"minInpaintRatio": 0.25}}}),
    ("SceneJob", {**SCENE, "vistadream": {"trajectory": {"motionPreset": "small"}}}),
    ("SceneJob", {**SCENE, "vistadream": {"trajectory": {"forwardRatio": 0.1}}}),
    *(
        ("DatasetJob", {**FACES, "relight": block})
        for block in (
            {"segmentation": {"backend": "mask"}},
            {"segmentation": {"backends": ["sam3", "sam2"]}},
            {"segmentation": {"box": [0.1, 0.1, 0.9, 1.0]}},
            {"albedo": {"backends": ["retinex", "lab"]}},
            {"degradation": {"weights": {"softShading": 0.0, "specular": 1.0}}},
            {"degradation": {"ambientRange": [0.6, 0.6]}},
            {"keep": ["outputs"]},
            {"preset": "mvp"},
        )
    ),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/a..b/...", "select": {"indices": "3,0-9,12-12"}}}),
    ("SceneJob", {**SCENE, "scheduling": {"nodeSelector": {"pool": "a", "example.com/gpu.kind": "h200"}}}),
    ("SceneJob", {**SCENE, **overridden({"limits": {"nvidia.com/gpu": 2, "memory": "1.5Gi"}})}),
    ("SceneJob", {**SCENE, **overridden({"limits": {"nvidia.com/gpu": "2"}, "requests": {"cpu": "500m"}})}),
    ("TuningRun", right_spec("TuningRun", dataset={"datasetJob": "pairs"})),
]
REFUSED: list[tuple[Kind, dict[str, Any]]] = [
    ("SceneJob", {**SCENE, "output": {"uri": "s3://photos/in"}}),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/in/"}, "output": {"uri": "s3://photos/in/x"}}),
    ("DatasetJob", {**FACES, "relight": {"segmentation": {"backends": ["sam3", "sam2"], "backend": "mask"}}}),
    ("SceneJob", {**SCENE, "input": {"uri": "s3://photos/a..b/.."}}),
    ("SceneJob", {**SCENE, "output": {"uri": "s3://scenes/../photos"}}),
    ("SceneJob", {**SCENE, "scheduling": {"nodeSelector": {"a/b/c": "a"}}}),
    ("SceneJob", {**SCENE, "scheduling": {"labels": {"-team": "a"}}}),
    ("SceneJob", {**SCENE, "scheduling": {"labels": {"x" * 64: "a"}}}),
    ("SceneJob", {**SCENE, **overridden({"requests": {"nvidia.com/gpu": "500m"}})}),
    ("TuningRun", right_spec("TuningRun", dataset={"uri": "s3://a-bucket/../c"})),
]
"""Beside the examples of the rules themselves."""


@pytest.mark.parametrize("breach", breaches(), ids=str)
def test_what_a_rule_refuses_is_refused_by_pydantic_and_by_cel(breach: Breach) -> None:
    error = refusal(breach.block.kind, breach.spec)
    assert error is not None
    assert [(problem.field, problem.remedy) for problem in error.problems] == [(breach.field, breach.rule.message)]
    assert broken_rules(breach.block.kind, breach.spec) == [(dotted(breach.block.path), breach.rule.cel)]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"{block.kind}.{dotted(block.path)}")
def test_every_rule_has_an_example(block: Block) -> None:
    assert [rule.field for rule in block.model.rules if not rule.refuses] == []


def test_no_rule_is_left_out() -> None:
    declared = {rule["rule"] for kind in KINDS for _, rule in lint.rules(spec_schema(kind))}
    assert declared == {breach.rule.cel for breach in breaches()}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [*ACCEPTED, *((kind, right_spec(kind, name)) for kind in KINDS for name in pipelines(kind, built_in=True))],
)
def test_what_keeps_to_the_rules_is_accepted_by_both(kind: Kind, spec: dict[str, Any]) -> None:
    assert refusal(kind, spec) is None
    assert broken_rules(kind, spec) == []


@pytest.mark.parametrize(("kind", "spec"), REFUSED)
def test_further_breaches_are_refused_by_both(kind: Kind, spec: dict[str, Any]) -> None:
    assert refusal(kind, spec) is not None
    assert broken_rules(kind, spec) != []


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_beyond_the_bounds_of_the_schema_are_refused_by_pydantic(kind: Kind) -> None:
    bounded = list(_beyond(spec_schema(kind), ()))
    assert len(bounded) > 10
    for path, value in bounded:
        pipeline = str(path[0]) if path[0] in pipelines(kind, built_in=True) else ""
        error = refusal(kind, placed(right_spec(kind, pipeline), path, value))
        assert error is not None and dotted(("spec", *path)) in {problem.field for problem in error.problems}


def _beyond(schema: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    """Every bounded number with a value just beyond each of its bounds."""
    for bound, exclusive, step in (("minimum", "exclusiveMinimum", -1), ("maximum", "exclusiveMaximum", 1)):
        if bound in schema and schema.get("type") in ("integer", "number"):
            yield path, schema[bound] + (0 if schema.get(exclusive) else step)
    for name, child in schema.get("properties", {}).items():
        yield from _beyond(child, (*path, name))


def test_a_broken_rule_names_field_value_and_remedy() -> None:
    error = refusal("SceneJob", {**SCENE, "execution": {"retries": {"perSample": 3, "perShard": 2}}})
    assert error is not None
    (problem,) = error.problems
    assert problem.field == "spec.execution.retries.perShard"
    assert problem.value == 2
    assert "above perSample" in problem.remedy


def test_several_broken_rules_are_reported_at_once() -> None:
    same = {"input": PLACES["input"], "output": PLACES["input"]}
    error = refusal("SceneJob", {**same, "execution": {"stages": {"startFrom": "a", "only": ["b"]}}})
    assert error is not None
    assert [problem.field for problem in error.problems] == ["spec.execution.stages.only"]
    error = refusal("SceneJob", same)
    assert error is not None
    assert [problem.field for problem in error.problems] == ["spec.output.uri", "spec.reconstruct"]


def refusal(kind: Kind, spec: dict[str, Any]) -> SpecError | None:
    document = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    try:
        validated(document, manifest_model(kind))
    except SpecError as error:
        return error
    except ValidationError as error:
        raise AssertionError("problems must be told as SpecError") from error
    return None


@cache
def spec_schema(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = crd(kind, built_in=True)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
        "spec"
    ]
    return found


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """The value with the schema's defaults filled in, as an API server does it before it evaluates rules."""
    if isinstance(value, dict):
        children, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
        filled = {**{name: child["default"] for name, child in children.items() if "default" in child}, **value}
        return {name: with_defaults(children.get(name, others), each) for name, each in filled.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), each) for each in value]
    return float(value) if schema.get("type") == "number" else value


def broken_rules(kind: Kind, spec: dict[str, Any]) -> list[tuple[str, str]]:
    """Path of the block and text of every rule that an API server finds broken."""
    schema = spec_schema(kind)
    return list(_broken(schema, with_defaults(schema, spec), ()))


def _broken(schema: dict[str, Any], value: Any, path: Path) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", []):
        if not evaluate(rule["rule"], value):
            yield dotted(path), rule["rule"]
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for name, each in items:
        child = schema.get("properties", {}).get(name) or schema.get("items") or schema.get("additionalProperties")
        if isinstance(child, dict):
            yield from _broken(child, each, (*path, name))


@cache
def program_of(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule), functions={"split": split})


def split(text: celpy.celtypes.StringType, separator: celpy.celtypes.StringType) -> celpy.celtypes.ListType:
    """A function of Kubernetes' own that celpy lacks."""
    return celpy.celtypes.ListType([celpy.celtypes.StringType(part) for part in text.split(separator)])


def evaluate(rule: str, value: Any) -> bool:
    return bool(program_of(rule).evaluate({"self": celpy.json_to_cel(value)}))
