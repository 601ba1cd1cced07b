"""Applies ``stageOverrides`` to the pipeline's parameters, and selects the stages that may run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from scenewright.api.execution import StageOverride, Stages
from scenewright.api.raw import Json
from scenewright.planning.documents import with_value
from scenewright.planning.problems import Problem, SpecError, suggestion
from scenewright.planning.validation import problems_of
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Pipeline, StageSpec


def effective_parameters(
    pipeline: Pipeline, params: Params, overrides: Mapping[str, StageOverride]
) -> tuple[Params, tuple[StageSpec, ...]]:
    """The parameters with the backends of ``stageOverrides``, and the chain that results from them.

    Raises:
        SpecError: an override names an unknown stage, a stage without backends, or a backend that the parameter
            does not allow.
    """
    chain = pipeline.stages(params)
    block: Json = params.model_dump(by_alias=True, exclude_unset=True)
    problems: list[Problem] = []
    for name, override in overrides.items():
        block, found = _apply(block, chain, name, override)
        problems += found
    if problems:
        raise SpecError(problems)
    if not any(override.backend for override in overrides.values()):
        return params, chain
    try:
        effective = pipeline.parse(block)
    except ValidationError as error:
        # Problems of backend parameters are those of the overrides that set them.
        origin = {
            ".".join(to_camel(part) for part in path.split(".")): f"spec.execution.stageOverrides.{stage.name}.backend"
            for stage in chain
            if stage.name in overrides and overrides[stage.name].backend
            for path in stage.models.backend_parameters.values()
        }
        found = problems_of(error, pipeline.params)
        raise SpecError(replace(each, field=origin.get(each.field, each.field)) for each in found) from None
    return effective, pipeline.stages(effective)


def _apply(block: Json, chain: tuple[StageSpec, ...], name: str, override: StageOverride) -> tuple[Json, list[Problem]]:
    """The raw block with the backend of one stage set, and any problems."""
    field = f"spec.execution.stageOverrides.{name}"
    stage = next((stage for stage in chain if stage.name == name), None)
    if stage is None:
        names = [stage.name for stage in chain]
        return block, [Problem(field, name, f"no such stage; {suggestion(name, names)}")]
    if not override.backend:
        return block, []
    if not stage.models.backend_parameters:
        return block, [Problem(f"{field}.backend", override.backend, "this stage has no backend; remove the field")]
    for path in stage.models.backend_parameters.values():
        block = with_value(block, [to_camel(part) for part in path.split(".")], override.backend)
    return block, []


def selected_stages(chain: Sequence[StageSpec], stages: Stages) -> tuple[str, ...]:
    """Names of the stages that may run, in the order of the chain.

    Raises:
        SpecError: an unknown stage.
    """
    field, names = "spec.execution.stages", [stage.name for stage in chain]
    given = {f"{field}.only[{position}]": name for position, name in enumerate(stages.only)}
    if stages.start_from is not None:
        given[f"{field}.startFrom"] = stages.start_from
    problems = [
        Problem(path, name, f"no such stage with these parameters; {suggestion(name, names)}")
        for path, name in given.items()
        if name not in names
    ]
    if problems:
        raise SpecError(problems)
    if stages.start_from is not None:
        return tuple(names[names.index(stages.start_from) :])
    return tuple(name for name in names if not stages.only or name in stages.only)
