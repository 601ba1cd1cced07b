"""Which samples run in which stage, and why: pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from scenewright_stages.contract.expansion import ancestor, leaves, stage_levels
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.reports import StageCounts
from scenewright_stages.contract.samples import Sample
from scenewright_stages.worker.standing import (
    FAILED_BEFORE,
    UPSTREAM_MISSING,
    UPSTREAM_RUNS,
    Histories,
    Standing,
    blocked,
    chain_standings,
    latest_time,
)

MAXIMUM_SHARDS = 10_000
SHARD_SECONDS = 900.0
"""A shard should take 10 to 20 minutes, so that loading a model is a small part of it."""


@dataclass(frozen=True)
class Todo:
    """A line of a worklist.

    Attributes:
        sample: the sample.
        reason: why it is to run.
        after: time of the youngest record of the sample in the stage when the list was made. Records of this run are
            given later times whatever the clocks of the machines say, and older ones do not count in it.
    """

    sample: Sample
    reason: str
    after: float = 0.0

    def to_line(self) -> str:
        """One line of JSON: the sample's own fields, `reason` and `after`."""
        data = {**self.sample.to_json(), "reason": self.reason, "after": self.after}
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Todo:
        """The inverse of :meth:`to_line`; SampleError for an id that could leave its prefix."""
        data: dict[str, Any] = json.loads(line)
        return cls(Sample.from_json(data), data["reason"], data["after"])


@dataclass
class StageWork:
    """What one stage has to do in a run: its worklist, how the samples stand, and how many shards it is cut into."""

    stage: str
    todo: list[Todo] = field(default_factory=list)
    counts: StageCounts = field(default_factory=StageCounts)
    unreachable: int = 0

    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, most frequent first."""
        counted: dict[str, int] = {}
        for item in self.todo:
            counted[item.reason] = counted.get(item.reason, 0) + 1
        return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def plan_work(
    stages: Sequence[StageSpec],
    keys: Mapping[str, str],
    selected: frozenset[str],
    samples: Iterable[Sample],
    histories: Histories,
    sizes: Mapping[str, int] | None,
    *,
    retry_failed: bool = False,
    samples_per_shard: int | None = None,
) -> dict[str, StageWork]:
    """The worklist of every stage: what is not up to date, and all that reads it.

    Samples that were rejected take no part. A sample whose upstream is not up to date in a stage that is not selected
    is skipped (``UpstreamMissing``).
    """
    work = {stage.name: StageWork(stage.name) for stage in stages}
    tallies = {stage.name: dict.fromkeys(("total", "todo", "done", "failed", "skipped"), 0) for stage in stages}
    for sample in samples:
        if sample.rejected is not None:
            continue
        for stage, own, standing in _planned_units(stages, keys, selected, sample, histories, sizes, retry_failed):
            tallies[stage.name]["total"] += 1
            tallies[stage.name][standing.state] += 1
            if standing.state == "todo":
                after = latest_time(histories.get(stage.name, {}).get(own.id, ()))
                work[stage.name].todo.append(Todo(own, standing.reason, after))
            elif standing.reason == UPSTREAM_MISSING and stage.name in selected:
                work[stage.name].unreachable += 1
    for stage in stages:
        shards = shard_count(tallies[stage.name]["todo"], stage, samples_per_shard)
        work[stage.name].counts = StageCounts(**tallies[stage.name], shards=shards)
    return work


def _planned_units(
    stages: Sequence[StageSpec],
    keys: Mapping[str, str],
    selected: frozenset[str],
    sample: Sample,
    histories: Histories,
    sizes: Mapping[str, int] | None,
    retry_failed: bool,
) -> Iterator[tuple[StageSpec, Sample, Standing]]:
    """Every stage with every sample that it works on and that comes from one indexed sample, once each."""
    levels = stage_levels(stages)
    seen: set[tuple[str, str]] = set()
    for leaf in leaves(sample, stages):
        standings = chain_standings(stages, keys, leaf, histories, sizes)
        planned = planned_standings(stages, selected, standings, retry_failed)
        for stage in stages:
            own = ancestor(leaf, levels[stage.name])
            if (stage.name, own.id) not in seen:
                seen.add((stage.name, own.id))
                yield stage, own, planned[stage.name]


def planned_standings(
    stages: Sequence[StageSpec], selected: frozenset[str], standings: Mapping[str, Standing], retry_failed: bool
) -> dict[str, Standing]:
    """Standings as a run treats them: failures retried or not, stages outside the selection never run."""
    planned: dict[str, Standing] = {}
    for stage in stages:
        above = {name: planned[name] for name in stage.upstream()}
        planned[stage.name] = _planned_stage(stage, stage.name in selected, standings[stage.name], above, retry_failed)
    return planned


def _planned_stage(
    stage: StageSpec, selected: bool, standing: Standing, above: Mapping[str, Standing], retry_failed: bool
) -> Standing:
    if skip := blocked(stage, above):
        return skip
    if not selected:
        if standing.state != "todo":
            return standing
        return Standing("skipped", None, UPSTREAM_MISSING, f"{stage.name} is not selected and not up to date")
    if any(upstream.state == "todo" for upstream in above.values()):
        return standing if standing.state == "todo" else Standing("todo", None, UPSTREAM_RUNS)
    if standing.state == "failed" and retry_failed:
        return Standing("todo", None, FAILED_BEFORE)
    return standing


def shard_count(todo: int, stage: StageSpec, samples_per_shard: int | None) -> int:
    """Into how many shards a worklist is cut: by the given size, else so that one takes about 15 minutes."""
    if todo == 0:
        return 0
    size = samples_per_shard or max(1, round(SHARD_SECONDS / max(stage.seconds_per_sample, 1e-3)))
    return min(MAXIMUM_SHARDS, ceil(todo / size))


def shard_lines(lines: Sequence[str], shard: int, shards: int) -> list[str]:
    """The contiguous block of a worklist that is one shard's: every line is in exactly one shard, sizes differ by 1."""
    count = len(lines)
    return [line for position, line in enumerate(lines) if position * shards // count == shard]
