"""Resolves a task's pipeline: its parameters, stages and keys, and the samples that every stage works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.keys import canonical_json
from scenewright_stages.contract.params import Params, merged
from scenewright_stages.contract.pipeline import Pipeline, StageSpec, expansions, stage_levels
from scenewright_stages.contract.samples import WHOLE_ID, WHOLE_LEVEL, Family, Sample
from scenewright_stages.contract.task import INDEX_STEP, MODELS_STEP, PICK_STEP, PUBLISH_STEP, Task
from scenewright_stages.pipelines import pipeline

RESERVED_STAGE_NAMES = frozenset(
    {MODELS_STEP, INDEX_STEP, PUBLISH_STEP, PICK_STEP, "runs", "logs", "work", "state", "tmp"}
)
WHOLE = Sample(WHOLE_ID)

Population = Mapping[int, tuple[Sample, ...]]
"""Samples by level."""


@dataclass(frozen=True)
class Chain:
    """A pipeline with its effective parameters.

    Attributes:
        pipeline, block, parameters: the task's pipeline, its block as in a manifest, and the parsed parameters.
        stages: the stages, in execution order.
        keys: key of every stage, by name.
        selected: names of the stages that may run; the others must be up to date.
        levels: level of the samples of each stage, by name (see `stage_levels`).
    """

    pipeline: Pipeline
    block: Mapping[str, Any]
    parameters: Params
    stages: tuple[StageSpec, ...]
    keys: dict[str, str]
    selected: frozenset[str]
    levels: dict[str, int]
    _overridden: dict[str, Params] = field(default_factory=dict, compare=False, repr=False)

    def stage(self, name: str) -> StageSpec:
        """The stage of that name; raises ConfigurationError when the chain has none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigurationError("step", name, f"one of {', '.join(stage.name for stage in self.stages)}")

    def closure(self, name: str) -> tuple[StageSpec, ...]:
        """The stage and everything it depends on, in execution order."""
        needed = {name}
        for stage in reversed(self.stages):
            if stage.name in needed:
                needed.update(stage.upstream())
        return tuple(stage for stage in self.stages if stage.name in needed)

    def selected_stages(self) -> tuple[StageSpec, ...]:
        """The stages that may run, in order."""
        return tuple(stage for stage in self.stages if stage.name in self.selected)

    def unit_level(self, stages: Sequence[StageSpec] | None = None) -> int:
        """The deepest level of a stage whose outputs no other one reads, among these stages or all."""
        considered = self.stages if stages is None else stages
        read = {name for stage in considered for name in stage.upstream()}
        return max(0, *(self.levels[stage.name] for stage in considered if stage.name not in read))

    def parameters_of(self, sample: Sample) -> Params:
        """The parameters with the overrides of the sample's entry.

        Raises:
            ConfigurationError: the entry sets a forbidden parameter or an invalid value, or changes the chain.
        """
        if not sample.overrides:
            return self.parameters
        text = canonical_json(sample.overrides)
        if text not in self._overridden:
            self._overridden[text] = _overridden(self, sample.overrides)
        return self._overridden[text]

    def family(self, root: Sample) -> Family:
        """All samples expanded from an indexed one."""
        stages = self.pipeline.stages(self.parameters_of(root)) if root.overrides else self.stages
        return Family.of(root, expansions(stages))

    def population(self, roots: Iterable[Sample]) -> Population:
        """The families of indexed samples by level, and the sample that represents the whole job."""
        levels: dict[int, list[Sample]] = {level: [] for level in range(1 + max(self.levels.values(), default=0))}
        for root in roots:
            for level, samples in enumerate(self.family(root).levels):
                levels[level].extend(samples)
        return {WHOLE_LEVEL: (WHOLE,), **{level: tuple(samples) for level, samples in levels.items()}}


def resolve_chain(task: Task) -> Chain:
    """The chain of a task.

    Raises:
        ConfigurationError: unknown pipeline, invalid parameter, unknown selected stage, a stage without a key, or
            contradictory reads and expansions.
    """
    found = pipeline(task.pipeline)
    try:
        parameters = found.parse(task.parameters)
    except ValidationError as problem:
        raise _parameter_error(f"spec.{task.pipeline}", problem) from None
    stages = found.stages(parameters)
    names = [stage.name for stage in stages]
    for name in task.select_stages:
        if name not in names:
            raise ConfigurationError("spec.execution.stages", name, f"one of {', '.join(names)}")
    for name in names:
        if name not in task.keys or name in RESERVED_STAGE_NAMES:
            raise ConfigurationError("task.keys", name, "every stage needs a key and must not have a reserved name")
    return Chain(
        found,
        task.parameters,
        parameters,
        stages,
        dict(task.keys),
        frozenset(task.select_stages),
        stage_levels(stages),
    )


def _overridden(chain: Chain, overrides: Mapping[str, Any]) -> Params:
    try:
        parameters = chain.pipeline.parse(merged(chain.block, overrides))
    except ValidationError as problem:
        raise _parameter_error("entry.parameters", problem) from None
    if _shape(chain.pipeline.stages(parameters)) != _shape(chain.stages):
        raise ConfigurationError(
            "entry.parameters",
            dict(overrides),
            "an entry cannot change which stages run or write, nor which models they load: set this for the whole job",
        )
    return parameters


def _shape(stages: Iterable[StageSpec]) -> list[Any]:
    """The part of a chain that must be the same for all samples of a job."""
    return [(stage.name, stage.version, stage.outputs, stage.models.backends, stage.pod.resources) for stage in stages]


def _parameter_error(block: str, problem: ValidationError) -> ConfigurationError:
    first = problem.errors()[0]
    path = ".".join([block, *(str(part) for part in first["loc"])])
    return ConfigurationError(path, first.get("input"), first["msg"])
