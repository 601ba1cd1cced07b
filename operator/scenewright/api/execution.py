"""The ``execution`` block: stages, shards, retries, limits and overrides of single stages."""

from __future__ import annotations

import math
import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scenewright.api import patterns
from scenewright.api.template import PodTemplate
from scenewright_stages.contract.params import Params, Rule
from scenewright_stages.contract.task import TaskRetries

StageName = Annotated[str, Field(max_length=32, pattern=patterns.STAGE_NAME)]
Quantity = Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=32, pattern=patterns.QUANTITY)]
Share = Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=16, pattern=patterns.PERCENTAGE)]


class Stages(Params):
    """Which stages may run; the results of all others must be up to date."""

    start_from: str | None = Field(
        default=None,
        max_length=32,
        pattern=patterns.STAGE_NAME,
        description="First stage that may run; those before it must be up to date.",
    )
    only: list[StageName] = Field(
        default_factory=list, max_length=16, description="The stages that may run; all of them when empty."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "only",
            "!has(self.startFrom) || !has(self.only) || size(self.only) == 0",
            "contradicts startFrom: give one of them",
            lambda block: block.start_from is None or not block.only,
            ({"startFrom": "a", "only": ["b"]},),
        ),
    )


class Retries(Params):
    """How often samples, shards and passes are retried."""

    per_sample: int | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Retries of a sample after an error that it did not cause. Unset: the pipeline's default, usually "
        "1.",
    )
    per_shard: int | None = Field(
        default=None,
        ge=1,
        le=20,
        description="Retries of a shard whose process ended early; must be above perSample. Unset: 3 or more.",
    )
    passes: int = Field(
        default=2, ge=0, le=10, description="Extra passes over the whole job while samples have no result."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "perShard",
            "!has(self.perShard) || !has(self.perSample) || self.perShard > self.perSample",
            "must be above perSample, so that a sample that crashes its process perSample + 1 times can be skipped",
            lambda block: None in (block.per_shard, block.per_sample) or block.per_shard > block.per_sample,
            ({"perSample": 3, "perShard": 3},),
        ),
    )


def effective_retries(given: Retries, per_sample: int) -> TaskRetries:
    """The retries with all defaults, `per_sample` by the pipeline; a shard always has more attempts than a sample."""
    shards, samples = given.per_shard, given.per_sample
    if samples is None:
        samples = per_sample if shards is None else min(per_sample, shards - 1)
    if shards is None:
        shards = max(TaskRetries().per_shard, samples + 1)
    return TaskRetries(per_sample=samples, per_shard=shards, passes=given.passes)


def _whole_devices(name: str) -> Rule:
    """Extended resources, whose names contain a domain, must be whole numbers."""
    return Rule(
        name,
        f"!has(self.{name}) || self.{name}.all(name, !name.contains('/') || type(self.{name}[name]) == int || "
        f"self.{name}[name].matches('{patterns.WHOLE_NUMBER}'))",
        "GPUs and other extended resources must be whole numbers without a suffix",
        lambda block: all(
            isinstance(amount, int) or re.match(patterns.WHOLE_NUMBER, amount)
            for name_, amount in getattr(block, name).items()
            if "/" in name_
        ),
        ({name: {"nvidia.com/gpu": "1k"}}, {name: {"nvidia.com/gpu": "0.5"}}),
    )


def _known_resources(name: str) -> Rule:
    return Rule(
        name,
        f"!has(self.{name}) || self.{name}.all(name, name.matches('{patterns.RESOURCE}'))",
        "every key must be cpu, memory, ephemeral-storage, hugepages-<size> or an extended resource such as "
        "nvidia.com/gpu",
        lambda block: all(re.match(patterns.RESOURCE, key) for key in getattr(block, name)),
        ({name: {"two words": 1}}, {name: {"nvidia.com/ gpu": 1}}, {name: {"gpu": 1}}),
    )


def _some_memory(name: str) -> Rule:
    amount = f"self.{name}['memory']"
    return Rule(
        name,
        f"!has(self.{name}) || !('memory' in self.{name}) || (type({amount}) == int ? {amount} != 0 : "
        f"!{amount}.matches('{patterns.NOTHING}'))",
        "memory must not be 0: leave it out to get what the stage needs",
        lambda block: not re.match(patterns.NOTHING, str(getattr(block, name).get("memory", 1))),
        ({name: {"memory": 0}}, {name: {"memory": "0Gi"}}),
    )


class ResourceRequirements(Params):
    """Requests and limits of the stage's container, as in Kubernetes."""

    requests: dict[str, Quantity] = Field(
        default_factory=dict, max_length=16, description="What the scheduler reserves, such as {cpu: 4, memory: 16Gi}."
    )
    limits: dict[str, Quantity] = Field(
        default_factory=dict, max_length=16, description="What the container cannot exceed; GPUs are given here."
    )

    rules: ClassVar[tuple[Rule, ...]] = tuple(
        rule(name) for name in ("requests", "limits") for rule in (_whole_devices, _known_resources, _some_memory)
    )


class StageOverride(Params):
    """Overrides for one stage; the map's key is the stage's name."""

    resources: ResourceRequirements = ResourceRequirements()
    image: str = Field(
        default="",
        max_length=512,
        pattern=patterns.IMAGE,
        description="Container image instead of the chart's; ignored by the local CLI.",
    )
    backend: str = Field(
        default="",
        max_length=64,
        pattern=patterns.BACKEND_NAME,
        description="Backend instead of the one in the pipeline block.",
    )


class Budget(Params):
    """What the work may use. At the limit it rests as BudgetReached; a raised budget continues it."""

    gpu_hours: float | None = Field(default=None, gt=0.0, le=10_000_000.0, description="GPU hours of all stages.")
    wall_time: str | None = Field(
        default=None,
        min_length=2,
        max_length=32,
        pattern=patterns.DURATION,
        description="Time in which the object runs or waits to run, such as 36h or 1d12h; rests do not count.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "gpuHours",
            "has(self.gpuHours) || has(self.wallTime)",
            "gpuHours or wallTime is needed",
            lambda block: block.gpu_hours is not None or block.wall_time is not None,
            ({},),
        ),
    )

    @property
    def gpu_seconds(self) -> float:
        """The limit of GPU time; infinite without one."""
        return math.inf if self.gpu_hours is None else self.gpu_hours * 3600.0

    @property
    def wall_seconds(self) -> float:
        """The limit of wall time; infinite without one."""
        if self.wall_time is None:
            return math.inf
        units = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
        return sum(int(number) * units[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", self.wall_time))


class Execution(Params):
    """How the work is split, retried and limited."""

    stages: Stages = Stages()
    seed: int = Field(
        default=42, ge=0, le=2**53 - 1, description="Seed of every random draw; the same seed gives the same bytes."
    )
    samples_per_shard: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Samples per shard, the work of one Pod. Unset: enough for 10 to 20 minutes. Raised if a stage "
        "would have more than 10,000 shards.",
    )
    max_parallelism: int = Field(default=16, ge=1, le=10_000, description="Most Pods of a stage at once.")
    retries: Retries = Retries()
    on_sample_error: Literal["Continue", "Fail"] = Field(
        default="Continue", description="Continue with the other samples, or end the job at the first failed one."
    )
    max_failed_samples: Share | None = Field(
        default=None,
        description="End the job when more samples than this number or percentage have failed, such as 20%.",
    )
    sample_timeout_seconds: int = Field(
        default=3600, ge=1, le=604_800, description="Longest time for one sample in one stage, in seconds."
    )
    start_deadline_seconds: int = Field(
        default=1800, ge=10, le=604_800, description="Longest wait for a stage's first Pod to start, in seconds."
    )
    retry_token: str = Field(
        default="", max_length=63, description="A new value retries what failed, as `scenewright retry` does."
    )
    budget: Budget | None = None
    template: PodTemplate | None = None
    plan_only: bool = Field(default=False, description="Index, count and estimate, then stop.")
    stage_overrides: dict[StageName, StageOverride] = Field(
        default_factory=dict, max_length=16, description="Overrides of single stages, by stage name."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "maxFailedSamples",
            "self.onSampleError != 'Fail' || !has(self.maxFailedSamples)",
            "has no meaning with onSampleError Fail: remove it or use Continue",
            lambda block: block.on_sample_error != "Fail" or block.max_failed_samples is None,
            ({"onSampleError": "Fail", "maxFailedSamples": 3},),
        ),
    )
