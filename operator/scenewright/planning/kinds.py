"""The pipelines of each kind, those that the user adds included, and the model of a manifest that may name them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from pydantic import create_model

from scenewright.api.kinds import SPECS, CommonSpec, JobSpec, Manifest, exactly_one
from scenewright.planning.problems import Problem, SpecError, suggestion
from scenewright_stages.contract.pipeline import Pipeline
from scenewright_stages.pipelines import pipeline, pipeline_names


@cache
def pipelines_of(kind: str) -> dict[str, Pipeline]:
    """Every pipeline of a kind by the name of its block."""
    found = (pipeline(name) for name in pipeline_names())
    return {each.name: each for each in found if each.kind == kind}


@cache
def manifest_model(kind: str) -> type[Manifest[Any]]:
    """Model of a whole object of a kind."""
    return cast(type[Manifest[Any]], Manifest[spec_model(kind)])  # type: ignore[misc]


@cache
def spec_model(kind: str) -> type[CommonSpec]:
    """Model of ``spec``: the API's own, with a block for each pipeline that the user adds."""
    base = SPECS[kind]
    added = {name: each for name, each in pipelines_of(kind).items() if name not in base.model_fields}
    if not added or not issubclass(base, JobSpec):
        return base
    names = (*base.pipelines, *sorted(added))
    fields: dict[str, Any] = {name: (each.params | None, None) for name, each in added.items()}
    model = create_model(base.__name__, __base__=base, **fields)
    model.pipelines = names
    model.rules = (*JobSpec.rules, exactly_one(names))
    return model


def kind_of(document: Mapping[str, Any]) -> str:
    """The document's kind.

    Raises:
        SpecError: it is none of ours.
    """
    kind = document.get("kind")
    if kind not in SPECS:
        raise SpecError([Problem("kind", kind, suggestion(str(kind), list(SPECS)))])
    return str(kind)


def pipeline_of(kind: str, spec: CommonSpec) -> Pipeline:
    """The pipeline whose block the spec holds.

    Raises:
        SpecError: the kind has no pipeline in this version.
    """
    for name, found in pipelines_of(kind).items():
        if getattr(spec, name, None) is not None:
            return found
    raise SpecError([Problem("kind", kind, "no pipeline of this kind runs in this version; use a SceneJob")])
