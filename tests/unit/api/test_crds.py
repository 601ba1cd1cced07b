"""The generated CRDs: what an API server would refuse is not in them, and what pydantic refuses is refused by CEL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crd_lint as lint
import pytest
import yaml
from pydantic import ConfigDict, Field, create_model

from scenewright.api.crds import crd, crd_files
from scenewright.api.kinds import KINDS
from scenewright.api.schema import INT_OR_STRING, VALIDATIONS, structural_schema
from scenewright_stages.contract.params import Params, ordered
from scenewright_stages.contract.pipeline import Kind

CRDS = Path(__file__).parents[3] / "crds"


def parts(kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = crd(kind, built_in=True)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["spec", "status"])
def test_no_node_breaks_a_rule_of_structural_schemas(kind: Kind, part: str) -> None:
    assert lint.problems(parts(kind)[part]) == []


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"type": "object", "additionalProperties": False, "description": "x"}, "additionalProperties: false"),
        ({"description": "x", "const": 1, "type": "integer"}, "const"),
        ({"description": "x", "$ref": "#/$defs/A"}, "$ref"),
        ({"description": "x", "type": "number", "exclusiveMinimum": 0}, "exclusiveMinimum must be a boolean"),
        ({"description": "x", "anyOf": [{"type": "integer"}, {"type": "null"}]}, "anyOf"),
        ({"type": "string"}, "no description"),
        ({"description": "x", "type": "string", "pattern": "(?=a)"}, "RE2"),
        (
            {
                "description": "x",
                "type": "object",
                "properties": {"list": {"description": "x", "type": "array", "items": {"type": "boolean"}}},
                "x-kubernetes-validations": [{"rule": "self.list.all(x, x)"}],
            },
            "unbounded",
        ),
    ],
)
def test_lint_finds_what_api_servers_refuse(broken: dict[str, Any], complaint: str) -> None:
    assert any(complaint in problem for problem in lint.problems(broken))


@pytest.mark.parametrize("kind", KINDS)
def test_conditions_are_a_map_by_their_type(kind: str) -> None:
    """So that two writers of conditions do not take each other's away."""
    conditions = parts(kind)["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert "type" in conditions["items"]["required"]


def test_files_are_those_that_are_checked_in() -> None:
    for name, text in crd_files().items():
        assert (CRDS / name).read_text(encoding="utf-8") == text, f"run `scenewright crds`: {name} is stale"


@pytest.mark.parametrize("name", sorted(crd_files()))
def test_files_stay_below_the_size_limit_and_parse(name: str) -> None:
    text = crd_files()[name]
    assert len(text.encode()) < lint.MAXIMUM_CRD_BYTES
    assert yaml.safe_load(text)["metadata"]["name"] == name.removesuffix(".yaml")


def test_pipeline_blocks_have_no_default_and_nested_blocks_do() -> None:
    spec = parts("SceneJob")["spec"]["properties"]
    assert "default" not in spec["vistadream"]
    assert spec["vistadream"]["properties"]["coarse"]["default"]["frames"] == 10
    assert spec["execution"]["default"]["retries"] == {"passes": 2}
    assert spec["vistadream"]["properties"]["coarse"]["properties"]["frames"]["default"] == 10


def test_status_is_a_subresource_with_the_promised_columns() -> None:
    version = crd("SceneJob", built_in=True)["spec"]["versions"][0]
    assert version["subresources"] == {"status": {}}
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert columns == ["Pipeline", "Phase", "Reason", "Stage", "Progress", "Failed", "Rate", "Message", "Age"]
    status = parts("SceneJob")["status"]["properties"]
    for column in version["additionalPrinterColumns"]:
        head, _, field = column["jsonPath"].removeprefix(".").partition(".")
        assert head == "metadata" or field in status


def test_forms_that_structural_schemas_lack_are_translated() -> None:
    class Inner(Params):
        """An inner block."""

        size: float = Field(default=1.0, gt=0.0, description="Above zero.")

    class Outer(Params):
        """An outer block."""

        model_config = ConfigDict(extra="forbid")
        optional: int | None = Field(default=None, description="May be absent.")
        either: int | str = Field(default=1, description="Number or percentage.")
        pair: tuple[int, int] = Field(default=(1, 2), description="Two numbers.")
        inner: Inner = Inner()

    schema = structural_schema(Outer)["properties"]
    assert schema["optional"] == {"type": "integer", "description": "May be absent."}
    assert schema["either"][INT_OR_STRING] is True
    assert (schema["pair"]["minItems"], schema["pair"]["maxItems"]) == (2, 2)
    assert schema["inner"]["default"] == {"size": 1.0}
    assert schema["inner"]["properties"]["size"]["minimum"] == 0.0
    assert schema["inner"]["properties"]["size"]["exclusiveMinimum"] is True


def test_blocks_whose_classes_have_the_same_name_keep_their_own_rules() -> None:
    """As two pipelines may bring that know nothing of each other."""

    def block(field: str) -> type[Params]:
        described = (tuple[float, float], Field(default=(1.0, 2.0), description="A range."))
        base = create_model("Base", __base__=Params, __doc__="A block.", **{field: described})
        return type("Light", (base,), {"rules": ordered(**{field: (2.0, 1.0)}), "__doc__": "A block."})

    near, far = block("near"), block("far")
    blocks = {name: (each, Field(default=each(), description="A light.")) for name, each in (("a", near), ("b", far))}
    outer = create_model("Outer", __base__=Params, __doc__="Both.", **blocks)
    rules = {name: each[VALIDATIONS] for name, each in structural_schema(outer)["properties"].items()}
    assert [rule["fieldPath"] for rule in rules["a"]] == [".near"]
    assert [rule["fieldPath"] for rule in rules["b"]] == [".far"]


def test_a_default_that_leaves_a_default_out_is_found() -> None:
    """The API server checks a default by the block's rules before it fills it in, and refuses the whole definition."""
    inner = {"type": "object", "description": "A block.", "properties": {"size": {"type": "integer", "default": 1}}}
    schema = {"type": "object", "description": "All.", "properties": {"inner": {**inner, "default": {}}}}
    assert any("the default of inner lacks size" in problem for problem in lint.problems(schema))


def test_a_field_whose_block_has_another_default_than_the_blocks_fields_is_refused() -> None:
    """The API server would fill in the fields' defaults, and a run on a laptop the other."""

    class Drawing(Params):
        """A block."""

        guidance: float = Field(default=3.0, description="How closely.")

    class Scaffold(Params):
        """The outer block."""

        drawing: Drawing = Drawing(guidance=4.0)

    with pytest.raises(TypeError, match=r"guidance: a block's default 4\.0"):
        structural_schema(Scaffold)


def test_what_cannot_be_translated_is_reported_instead_of_lost() -> None:
    class Mixed(Params):
        """A block."""

        pair: tuple[int, str] = Field(default=(1, "a"), description="Different members.")

    with pytest.raises(TypeError, match="tuple"):
        structural_schema(Mixed)
