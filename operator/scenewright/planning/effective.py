"""What is in effect once the overrides of single stages are applied to the pipeline's parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from scenewright.api.execution import StageOverride
from scenewright.planning.problems import Problem, SpecError, suggestion
from scenewright.planning.validation import problems_of
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Pipeline, StageSpec


def effective_parameters(
    pipeline: Pipeline, params: Params, overrides: Mapping[str, StageOverride]
) -> tuple[Params, tuple[StageSpec, ...]]:
    """The parameters with the backends of ``stageOverrides`` in place, and the chain that follows from them.

    Raises:
        SpecError: an override names a stage that the chain lacks, a stage without a backend, or a backend that
            its parameter does not allow.
    """
    chain = pipeline.stages(params)
    block: dict[str, Any] = params.model_dump(by_alias=True, exclude_unset=True)
    problems: list[Problem] = []
    for name, override in overrides.items():
        problems += _apply(block, chain, name, override)
    if problems:
        raise SpecError(problems)
    if not any(override.backend for override in overrides.values()):
        return params, chain
    try:
        effective = pipeline.parse(block)
    except ValidationError as error:
        raise SpecError(_as_overrides(problems_of(error, pipeline.params), chain, overrides)) from None
    return effective, pipeline.stages(effective)


def _apply(block: dict[str, Any], chain: tuple[StageSpec, ...], name: str, override: StageOverride) -> list[Problem]:
    """Sets the backend of one stage in the raw block; the problems that prevent it."""
    field = f"spec.execution.stageOverrides.{name}"
    stage = next((stage for stage in chain if stage.name == name), None)
    if stage is None:
        return [Problem(field, name, f"no such stage; {suggestion(name, [stage.name for stage in chain])}")]
    if not override.backend:
        return []
    if not stage.backend_parameters:
        return [Problem(f"{field}.backend", override.backend, "this stage has no backend; remove the field")]
    for path in stage.backend_parameters.values():
        _set(block, [to_camel(part) for part in path.split(".")], override.backend)
    return []


def _set(block: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        block[part] = copy.copy(block.get(part, {}))
        block = block[part]
    block[path[-1]] = value


def _as_overrides(
    problems: list[Problem], chain: tuple[StageSpec, ...], overrides: Mapping[str, StageOverride]
) -> list[Problem]:
    """Problems of backend parameters as problems of the overrides that set them."""
    origin = {
        ".".join(to_camel(part) for part in path.split(".")): f"spec.execution.stageOverrides.{stage.name}.backend"
        for stage in chain
        if stage.name in overrides and overrides[stage.name].backend
        for path in stage.backend_parameters.values()
    }
    return [Problem(origin.get(each.field, each.field), each.value, each.remedy) for each in problems]
