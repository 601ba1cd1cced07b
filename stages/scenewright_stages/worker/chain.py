"""The task's pipeline, resolved: parameters, stages, keys, and which stages may run."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.expansion import stage_levels
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Pipeline, StageSpec
from scenewright_stages.contract.task import INDEX_STEP, MODELS_STEP, PUBLISH_STEP, Task
from scenewright_stages.pipelines import pipeline

RESERVED_STAGE_NAMES = frozenset({MODELS_STEP, INDEX_STEP, PUBLISH_STEP, "runs", "logs", "work", "tmp"})


@dataclass(frozen=True)
class Chain:
    """A pipeline with its effective parameters.

    Attributes:
        pipeline, parameters: what the task names.
        stages: the chain, in the order in which it runs.
        keys: key of every stage, by name.
        selected: names of the stages that may run; the others must be up to date.
        levels: how many expansions of samples there are up to each stage, by name.
    """

    pipeline: Pipeline
    parameters: Params
    stages: tuple[StageSpec, ...]
    keys: dict[str, str]
    selected: frozenset[str]
    levels: dict[str, int]

    def stage(self, name: str) -> StageSpec:
        """The stage of that name; raises ConfigurationError when the chain has none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigurationError("step", name, f"one of {', '.join(stage.name for stage in self.stages)}")

    def closure(self, name: str) -> tuple[StageSpec, ...]:
        """The stage and all that it depends on, in the order in which they run."""
        needed = {name}
        for stage in reversed(self.stages):
            if stage.name in needed:
                needed.update(stage.upstream())
        return tuple(stage for stage in self.stages if stage.name in needed)

    def selected_stages(self) -> tuple[StageSpec, ...]:
        """The stages that may run, in order."""
        return tuple(stage for stage in self.stages if stage.name in self.selected)


def resolve_chain(task: Task) -> Chain:
    """The chain of a task.

    Raises:
        ConfigurationError: unknown pipeline, bad parameter, unknown selected stage, a stage without key, or
            expansions that contradict each other.
    """
    found = pipeline(task.pipeline)
    try:
        parameters = found.parse(task.parameters)
    except ValidationError as problem:
        raise _parameter_error(task.pipeline, problem) from None
    stages = found.stages(parameters)
    names = [stage.name for stage in stages]
    for name in task.select_stages:
        if name not in names:
            raise ConfigurationError("spec.execution.stages", name, f"one of {', '.join(names)}")
    for name in names:
        if name not in task.keys or name in RESERVED_STAGE_NAMES:
            raise ConfigurationError("task.keys", name, "every stage needs a key and must not have a reserved name")
    return Chain(found, parameters, stages, dict(task.keys), frozenset(task.select_stages), stage_levels(stages))


def _parameter_error(block: str, problem: ValidationError) -> ConfigurationError:
    first = problem.errors()[0]
    path = ".".join(["spec", block, *(str(part) for part in first["loc"])])
    return ConfigurationError(path, first.get("input"), first["msg"])
