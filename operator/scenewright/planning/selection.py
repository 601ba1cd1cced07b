"""Which stages of the chain may run."""

from __future__ import annotations

from collections.abc import Sequence

from scenewright.api.execution import Stages
from scenewright.planning.problems import Problem, SpecError, suggestion
from scenewright_stages.contract.pipeline import StageSpec


def selected_stages(chain: Sequence[StageSpec], stages: Stages) -> tuple[str, ...]:
    """Names of the stages that may run, in the order of the chain.

    Raises:
        SpecError: a name that the chain lacks.
    """
    names = [stage.name for stage in chain]
    problems = [
        Problem(field, name, f"no such stage with these parameters; {suggestion(name, names)}")
        for field, name in _given(stages)
        if name not in names
    ]
    if problems:
        raise SpecError(problems)
    if stages.start_from is not None:
        return tuple(names[names.index(stages.start_from) :])
    return tuple(name for name in names if not stages.only or name in stages.only)


def _given(stages: Stages) -> list[tuple[str, str]]:
    field = "spec.execution.stages"
    start = [(f"{field}.startFrom", stages.start_from)] if stages.start_from is not None else []
    return start + [(f"{field}.only[{position}]", name) for position, name in enumerate(stages.only)]
