"""Bad manifests are refused with field, value and what is allowed; all problems at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scenewright.api import kinds
from scenewright.api.names import API_VERSION
from scenewright.planning.documents import parse_documents
from scenewright.planning.plan import make_plan
from scenewright.planning.problems import ABSENT, Problem, SpecError


def document(**changes: Any) -> dict[str, Any]:
    spec = {"input": {"uri": "s3://photos/in"}, "output": {"uri": "s3://scenes/out"}, "vistadream": {}, **changes}
    return {"apiVersion": API_VERSION, "kind": "SceneJob", "metadata": {"name": "a"}, "spec": spec}


def problems(raw: dict[str, Any]) -> dict[str, Problem]:
    with pytest.raises(SpecError) as caught:
        make_plan(raw)
    return {problem.field: problem for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("changes", "field", "value", "remedy"),
    [
        ({"vistadream": {"coarse": {"frames": 0}}}, "spec.vistadream.coarse.frames", 0, "must be >= 1"),
        ({"vistadream": {"coarse": {"frames": "5"}}}, "spec.vistadream.coarse.frames", "5", "must be an integer"),
        ({"vistadream": {"coarse": {"margin": 31}}}, "spec.vistadream.coarse.margin", 31, "must be a multiple of 2"),
        ({"vistadream": {"fieldOfViewDegrees": 150}}, "spec.vistadream.fieldOfViewDegrees", 150, "must be < 150"),
        ({"vistadream": {"mode": "course"}}, "spec.vistadream.mode", "course", "did you mean 'coarse'?"),
        ({"vistadream": {"depth": {"backend": "moge2"}}}, "spec.vistadream.depth.backend", "moge2", "'moge'"),
        ({"vistadream": {"frames": 3}}, "spec.vistadream.frames", ABSENT, "no such field"),
        ({"vistadrem": {}}, "spec.vistadrem", ABSENT, "did you mean 'vistadream'?"),
        ({"relight": {}}, "spec.relight", ABSENT, "relight is a block of spec in a DatasetJob"),
        ({"vistadream": None}, "spec.reconstruct", ABSENT, "exactly one pipeline block"),
        ({"input": {}}, "spec.input.uri", ABSENT, "is required"),
        ({"input": {"uri": "photos"}}, "spec.input.uri", "photos", "s3://bucket/prefix"),
        ({"output": {"uri": "S3://X/y"}}, "spec.output.uri", "S3://X/y", "s3://bucket/prefix"),
        ({"input": {"uri": "s3://photos/../in"}}, "spec.input.uri", "s3://photos/../in", "must not contain"),
        ({"output": {"uri": "file:///a/.."}}, "spec.output.uri", "file:///a/..", "must not contain the segment"),
        (
            {"input": {"uri": "s3://photos/in", "select": {"indices": "9-3"}}},
            "spec.input.select.indices",
            "9-3",
            "begin with its smaller number",
        ),
        (
            {"execution": {"stageOverrides": {"depth": {"image": "Lab/Scene:1"}}}},
            "spec.execution.stageOverrides.depth.image",
            "Lab/Scene:1",
            "in small letters",
        ),
        (
            {"execution": {"stageOverrides": {"depth": {"resources": {"limits": {"nvidia.com/gpu": "0.5"}}}}}},
            "spec.execution.stageOverrides.depth.resources.limits",
            {"nvidia.com/gpu": "0.5"},
            "whole numbers",
        ),
        ({"scheduling": {"labels": {"a b": "c"}}}, "spec.scheduling.labels", {"a b": "c"}, "a label key"),
        ({"scheduling": {"nodeSelector": {"/a": "c"}}}, "spec.scheduling.nodeSelector", {"/a": "c"}, "a label key"),
        ({"scheduling": {"tolerations": [{"key": "a b"}]}}, "spec.scheduling.tolerations[0].key", "a b", "a label key"),
        ({"execution": {"maxFailedSamples": "lots"}}, "spec.execution.maxFailedSamples", "lots", "20%"),
        ({"execution": {"seed": True}}, "spec.execution.seed", True, "must be an integer"),
        ({"execution": {"stages": {"only": ["cors"]}}}, "spec.execution.stages.only[0]", "cors", "allowed: outpaint"),
        (
            {"execution": {"stages": {"startFrom": "coarse"}}},
            "spec.execution.stages.startFrom",
            "coarse",
            "no such stage",
        ),
        (
            {"execution": {"stageOverrides": {"depht": {"image": "x"}}}},
            "spec.execution.stageOverrides.depht",
            "depht",
            "did you mean 'depth'?",
        ),
        (
            {"execution": {"stageOverrides": {"depth": {"backend": "dpt"}}}},
            "spec.execution.stageOverrides.depth.backend",
            "dpt",
            "allowed: classic",
        ),
        (
            {"execution": {"stageOverrides": {"render": {"backend": "classic"}}}},
            "spec.execution.stageOverrides.render.backend",
            "classic",
            "has no backend",
        ),
        (
            {"scheduling": {"tolerations": [{"operator": "In"}]}},
            "spec.scheduling.tolerations[0].operator",
            "In",
            "allowed: Exists, Equal",
        ),
        (
            {"vistadream": {"coarse": {"minInpaintRatio": 0.3, "maxInpaintRatio": 0.2}}},
            "spec.vistadream.coarse.minInpaintRatio",
            0.3,
            "must not exceed maxInpaintRatio",
        ),
    ],
)
def test_each_mistake_names_field_value_and_remedy(
    changes: dict[str, Any], field: str, value: Any, remedy: str
) -> None:
    found = problems(document(**changes))
    assert list(found) == [field]
    assert found[field].value == value or found[field].value is value
    assert remedy in found[field].remedy


def test_all_problems_are_reported_at_once() -> None:
    found = problems(document(vistadream={"coarse": {"frames": 0, "margn": 2}, "mode": 3}, input={"uri": 7}))
    assert set(found) == {
        "spec.vistadream.coarse.frames",
        "spec.vistadream.coarse.margn",
        "spec.vistadream.mode",
        "spec.input.uri",
    }


@pytest.mark.parametrize(
    ("block", "licence"),
    [
        ({"mode": "outpaint", "outpaint": {"backend": "flux-fill"}}, "flux-1-dev-non-commercial"),
        ({"depth": {"backend": "depth-pro"}}, "apple-amlr"),
    ],
)
def test_licences_must_be_accepted_by_name(block: dict[str, Any], licence: str) -> None:
    problem = problems(document(vistadream=block))["spec.models.acceptLicenses"]
    assert problem.value == []
    assert licence in problem.remedy
    assert make_plan(document(vistadream=block, models={"acceptLicenses": [licence]})).selected


def test_the_licence_is_that_of_the_variant() -> None:
    block = {"depth": {"backend": "depth-anything", "variant": "large"}}
    assert "cc-by-nc-4.0" in problems(document(vistadream=block))["spec.models.acceptLicenses"].remedy
    assert make_plan(document(vistadream={"depth": {"backend": "depth-anything", "variant": "small"}})).selected


def relighting(backends: list[str], accepted: list[str]) -> dict[str, Any]:
    """A DatasetJob whose person is found by a chain of backends."""
    spec = {
        "input": {"uri": "s3://photos/in"},
        "output": {"uri": "s3://pairs/out"},
        "models": {"acceptLicenses": accepted},
        "relight": {"segmentation": {"backends": backends}},
    }
    return {"apiVersion": API_VERSION, "kind": "DatasetJob", "metadata": {"name": "a"}, "spec": spec}


@pytest.mark.parametrize(
    ("backends", "accepted"),
    [(["sam3", "sam2"], []), (["sam3", "classic"], []), (["sam3"], ["sam-license"]), (["sam2", "sam3", "mask"], [])],
)
def test_a_chain_goes_past_a_licence_that_was_not_accepted(backends: list[str], accepted: list[str]) -> None:
    plan = make_plan(relighting(backends, accepted))
    assert [name for _, name in plan.stage("segment").models.choices()] == backends, "the key names them all"


@pytest.mark.parametrize("backends", [["sam3"], ["sam2", "sam3"]])
def test_a_refused_licence_without_a_later_backend_is_a_problem(backends: list[str]) -> None:
    assert "sam-license" in problems(relighting(backends, []))["spec.models.acceptLicenses"].remedy


def test_a_licence_that_no_selected_stage_needs_is_not_asked_for() -> None:
    block = {"mode": "outpaint", "outpaint": {"backend": "flux-fill"}}
    assert make_plan(document(vistadream=block, execution={"stages": {"only": ["render"]}})).selected == ("render",)
    assert make_plan(document(vistadream={"outpaint": {"backend": "flux-fill"}})).selected


def test_a_backend_override_is_under_the_licence_gate_too() -> None:
    overrides = {"execution": {"stageOverrides": {"depth": {"backend": "depth-pro"}}}}
    assert "apple-amlr" in problems(document(**overrides))["spec.models.acceptLicenses"].remedy


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a" * 64])
def test_names_must_fit_into_labels_and_job_names(name: str) -> None:
    assert list(problems({**document(), "metadata": {"name": name}})) == ["metadata.name"]


def test_kinds_without_a_pipeline_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {**document(), "kind": "TuningRun"}
    del raw["spec"]["vistadream"], raw["spec"]["input"]
    raw["spec"]["dataset"] = {"datasetJob": "pairs"}
    assert "exactly one pipeline block" in problems(raw)["spec.fixer"].remedy
    monkeypatch.setattr(kinds, "pipelines", lambda *_, **__: {})
    try:
        _forget_models()
        assert "no pipeline" in problems(raw)["kind"].remedy
    finally:
        _forget_models()


def _forget_models() -> None:
    for cached in (kinds.spec_model, kinds.manifest_model):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no document"),
        ("- 1", "must be an object"),
        ("kind: Pod", "must be one of SceneJob"),
        ("a: [1", "not valid YAML"),
        ("kind: SceneJob\nspec:\n  a: 1\n  a: 2\n", "is given twice"),
    ],
)
def test_texts_that_are_no_manifest_are_refused(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_documents(text)


def test_other_kinds_in_a_file_are_left_alone() -> None:
    text = "kind: Secret\n---\nkind: SceneJob\n---\nkind: DatasetJob\n"
    assert [each["kind"] for each in parse_documents(text)] == ["SceneJob", "DatasetJob"]


@pytest.mark.parametrize(
    "image",
    [
        "",
        "scene",
        "scene:1.2",
        "lab/scene",
        "localhost:5000/lab/scene:a_b",
        "registry.example.com/lab-a/scene__x/y.z:1",
        "[2001:db8::1]:5000/scene:1",
        f"registry.example/scene@sha256:{'a' * 64}",
        f"registry.example/scene:1@sha256:{'a' * 64}",
    ],
)
def test_images_that_registries_take_are_accepted(image: str) -> None:
    make_plan(document(execution={"stageOverrides": {"depth": {"image": image}}}))


@pytest.mark.parametrize(
    "image",
    ["Scene:1", "scene:", "a b", "lab//scene", "-scene", "scene:1:2", "scene@sha256:abc", "https://a/b", "/scene"],
)
def test_images_that_no_registry_takes_are_refused(image: str) -> None:
    found = problems(document(execution={"stageOverrides": {"depth": {"image": image}}}))
    assert set(found) == {"spec.execution.stageOverrides.depth.image"}


TERM = {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["h200"]}]}
REQUIRED, PREFERRED = f"required{(_DURING := 'DuringSchedulingIgnoredDuringExecution')}", f"preferred{_DURING}"
GOOD_AFFINITY = {
    "nodeAffinity": {
        REQUIRED: {"nodeSelectorTerms": [TERM]},
        PREFERRED: [{"weight": 5, "preference": TERM}],
    },
    "podAntiAffinity": {
        REQUIRED: [{"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone", "namespaces": ["x"]}],
        PREFERRED: [{"weight": 1, "podAffinityTerm": {"topologyKey": "host", "matchLabelKeys": ["a"]}}],
    },
}


def misspelt(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every field of an affinity that Kubernetes gives a name."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in entries:
        if isinstance(name, str) and "matchLabels" not in path:
            yield (*path, name)
        yield from misspelt(child, (*path, name))


def with_typo(node: Any, path: tuple[Any, ...]) -> Any:
    first, *rest = path
    if isinstance(node, list):
        return [with_typo(child, tuple(rest)) if position == first else child for position, child in enumerate(node)]
    if rest:
        return {**node, first: with_typo(node[first], tuple(rest))}
    return {(f"{name}s" if name == first else name): child for name, child in node.items()}


def test_a_right_affinity_is_taken() -> None:
    make_plan(document(scheduling={"affinity": GOOD_AFFINITY}))


@pytest.mark.parametrize("path", list(misspelt(GOOD_AFFINITY)), ids=lambda path: ".".join(map(str, path)))
def test_a_misspelt_affinity_is_refused_with_what_was_meant(path: tuple[Any, ...]) -> None:
    found = problems(document(scheduling={"affinity": with_typo(GOOD_AFFINITY, path)}))
    remedy = found["spec.scheduling.affinity"].remedy
    assert f"{path[-1]}s" in remedy and f"did you mean {path[-1]!r}?" in remedy


@pytest.mark.parametrize(
    ("affinity", "remedy"),
    [
        ({"nodeAffinity": {REQUIRED: []}}, "must be an object"),
        ({"podAffinity": {REQUIRED: {}}}, "must be a list"),
        ({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [{"operator": "in"}]}]}}}, "In, NotIn"),
    ],
)
def test_an_affinity_of_another_form_is_refused(affinity: dict[str, Any], remedy: str) -> None:
    assert remedy in problems(document(scheduling={"affinity": affinity}))["spec.scheduling.affinity"].remedy


@pytest.mark.parametrize("uri", ["s3://photos/in", "s3://photos/in/deep", "s3://photos//in/x", "s3://photos/./in"])
def test_an_output_in_the_input_is_refused_however_it_is_written(uri: str) -> None:
    for source in ("s3://photos/in", "s3://photos//in/", "s3://photos/./in"):
        found = problems(document(input={"uri": source}, output={"uri": uri}))
        assert "nor lie inside it" in found["spec.output.uri"].remedy


SCHEDULING: dict[str, dict[str, Any]] = {
    "tolerations[0].value": {"tolerations": [{"key": "gpu", "operator": "Exists", "value": "yes"}]},
    "tolerations[0].operator": {"tolerations": [{"effect": "NoSchedule"}]},
    "tolerations[0].effect": {"tolerations": [{"key": "spot", "tolerationSeconds": 5}]},
    "gpuResource": {"gpuResource": "nvidia.com/ gpu"},
    "resourceClaims": {"resourceClaims": [{"name": "gpu", "resourceClaimName": name} for name in ("a", "b")]},
    "resourceClaims[0].name": {"resourceClaims": [{"name": "my gpu", "resourceClaimName": "a"}]},
    "imagePullSecrets[0].name": {"imagePullSecrets": [{"name": "a b"}]},
}


@pytest.mark.parametrize("field", SCHEDULING)
def test_what_kubernetes_would_refuse_in_the_pod_is_refused_in_the_spec(field: str) -> None:
    assert set(problems(document(scheduling=SCHEDULING[field]))) == {f"spec.scheduling.{field}"}


@pytest.mark.parametrize("kind", ["requests", "limits"])
@pytest.mark.parametrize(
    "amounts",
    [{"nvidia.com/ gpu": 1}, {"two words": 1}, {"gpu": 1}, {"memory": 0}, {"memory": "0Gi"}, {"memory": "0.0"}],
)
def test_resources_that_no_pod_can_have_are_refused(kind: str, amounts: dict[str, Any]) -> None:
    overrides = {"stageOverrides": {"coarse": {"resources": {kind: amounts}}}}
    (field,) = problems(document(execution=overrides))
    assert field == f"spec.execution.stageOverrides.coarse.resources.{kind}"
