"""How a run ended: the account from which terminal, pages, summary, manifest, status and metrics take their numbers.

publish makes a :class:`Results` from the records and writes it, cut to what each reader needs, into its report, into
``summary.json`` and onto the pages. Nobody else counts. The unit of every count is the sample at one level of the
chain, so parents and children are never added up; what failed on the way to a unit is a :class:`Cause`, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import StageCounts, UnitCounts

End = Literal["done", "failed", "rejected", "waiting", "not selected", "missing"]
"""How a unit ended.

``done``: every selected stage that concerns it is done. ``failed``: one of them failed, or could not run. ``rejected``:
a rule of the pipeline left it out, which is a valid result. ``waiting``: for a person's choice. ``not selected``: no
selected stage makes it, and no earlier run did. ``missing``: it has no record yet, so another pass follows.
"""
ENDS: tuple[End, ...] = get_args(End)


@dataclass(frozen=True)
class Cause:
    """Why something was not made, told once, however many units miss it.

    Attributes:
        sample: the sample that failed, was rejected or waits, at its own level.
        stage: where; ``index`` for an input that could not be taken.
        end: what became of it.
        reason, message: CamelCase class, and a sentence.
        units: how many units it keeps from being done; 0 if their stages do without it.
    """

    sample: str
    stage: str
    end: End
    reason: str
    message: str = ""
    units: int = 0


@dataclass(frozen=True)
class StageTime:
    """Times of a stage: seconds from start to end of its processes (wall), in the samples' code, and on GPUs."""

    wall_seconds: float = 0.0
    seconds: float = 0.0
    gpu_seconds: float = 0.0


@dataclass(frozen=True)
class StageResults:
    """One stage of the chain: whether this run selected it, its samples by state, and its times."""

    name: str
    title: str
    selected: bool
    counts: StageCounts

    @property
    def time(self) -> StageTime:
        """Its times, over all samples."""
        return StageTime(self.counts.wall_seconds, self.counts.seconds, self.counts.gpu_seconds)


@dataclass(frozen=True)
class Results:
    """What became of a job.

    Attributes:
        units: how many units ended in which way.
        refused: inputs that the index step could not take.
        refused_units: those of them that are failed units, because the units are inputs; else 0.
        stages: of the chain, in order.
        causes: why units are not done; failures first, each cause once.
        warnings: of the index, of all samples, and about pages; each once.
        ends: how each unit ended, by its id.
    """

    units: UnitCounts = field(default_factory=UnitCounts)
    refused: int = 0
    refused_units: int = 0
    stages: Sequence[StageResults] = ()
    causes: Sequence[Cause] = ()
    warnings: Sequence[str] = ()
    ends: Mapping[str, End] = field(default_factory=dict)

    @property
    def time(self) -> StageTime:
        """Times of the whole chain: the sums over its stages."""
        return total_time(stage.time for stage in self.stages)

    def counted(self) -> list[tuple[End, int]]:
        """The ends that occur, with their numbers, in the order in which all readers name them."""
        numbers: list[tuple[End, int]] = [(end, self.units.of(end)) for end in ENDS]
        return [(end, number) for end, number in numbers if number]


def total_time(times: Iterable[StageTime]) -> StageTime:
    """The sums of the times."""
    every = list(times)
    return StageTime(
        round(sum(each.wall_seconds for each in every), 3),
        round(sum(each.seconds for each in every), 3),
        round(sum(each.gpu_seconds for each in every), 3),
    )


def stage_time(records: Iterable[Record]) -> StageTime:
    """Times of one stage by its records.

    The wall time is the length of the union of its attempts: shards that run beside each other count once, and the
    pause between two runs counts in neither. Loading a model is part of an attempt.
    """
    attempts: dict[tuple[str, str], tuple[float, float]] = {}
    seconds = gpu_seconds = 0.0
    for record in records:
        seconds, gpu_seconds = seconds + record.seconds, gpu_seconds + record.gpu_seconds
        begun = record.begun or record.at - record.seconds
        low, high = attempts.get((record.run, record.attempt), (begun, record.at))
        attempts[record.run, record.attempt] = (min(low, begun), max(high, record.at))
    return StageTime(round(_union(attempts.values()), 3), round(seconds, 3), round(gpu_seconds, 3))


def _union(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    length, reached = 0.0, float("-inf")
    for low, high in sorted(intervals):
        length += max(0.0, high - max(low, reached))
        reached = max(reached, high)
    return length


def merged_warnings(*lists: Iterable[str]) -> list[str]:
    """The warnings of all lists in order, each once. No list ever replaces another."""
    return list(dict.fromkeys(warning for each in lists for warning in each))


def duration_text(seconds: float) -> str:
    """``0.4 s``, ``37 s``, ``4 min 05 s`` or ``2 h 10 min``: the same text in the terminal and on pages."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
