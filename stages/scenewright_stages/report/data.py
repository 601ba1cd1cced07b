"""Plain data that every report page shows, and the overview of several samples. Reads no files and no clock.

The pages of scenes and of data sets add their own types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scenewright_stages.contract.backends import Evidence
from scenewright_stages.report.pictures import Picture

State = Literal["done", "warning", "failed", "rejected", "waiting", "not selected", "skipped", "missing"]


@dataclass(frozen=True)
class Metric:
    """A measured number and its limit.

    Attributes:
        value: None if it could not be measured (`note` says why).
        unit: shown after the value, such as "dB" or "%".
        better: which direction is good.
        gate: the limit it must meet; None for no limit.
        digits: decimals shown.
        note: what it measures.
    """

    label: str
    value: float | None
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "neither"
    gate: float | None = None
    digits: int = 1
    note: str = ""

    @property
    def passes(self) -> bool | None:
        """Whether the value meets the gate; None without a gate. A missing or NaN value does not pass."""
        if self.gate is None or self.better == "neither":
            return None
        if self.value is None:
            return False
        return self.value >= self.gate if self.better == "higher" else self.value <= self.gate


@dataclass(frozen=True)
class Parameter:
    """An effective parameter and its default."""

    name: str
    value: str
    default: str
    description: str = ""

    @property
    def changed(self) -> bool:
        """Whether the value is not the default."""
        return self.value != self.default


@dataclass(frozen=True)
class Provenance:
    """What made one stage's result.

    Attributes:
        kind: basis of the result.
        weights: id and revision, empty without weights.
        statement: a sentence on how far to trust it.
    """

    stage: str
    backend: str
    kind: Evidence
    licence: str = ""
    weights: str = ""
    statement: str = ""


@dataclass(frozen=True)
class StageTiming:
    """One stage's part of the duration: wall time, and processing time summed over its samples."""

    name: str
    seconds: float
    state: State = "done"
    processing: float = 0.0


@dataclass(frozen=True)
class Failure:
    """Why a sample has no result."""

    sample: str
    stage: str
    reason: str
    message: str


@dataclass(frozen=True)
class Link:
    """A file beside the page: href is relative to it."""

    label: str
    href: str
    note: str = ""


@dataclass(frozen=True)
class NextStep:
    """What a reader can do with the result: a sentence, and the command or path in it, if any."""

    words: str
    code: str = ""


@dataclass(frozen=True)
class IndexEntry:
    """One sample on the overview page.

    Attributes:
        href: its own report, relative to the overview; empty if there is none.
        message: reason of a failure, or a short result.
    """

    sample: str
    state: State
    href: str = ""
    thumbnail: Picture | None = None
    message: str = ""
    metrics: tuple[Metric, ...] = field(default=())


@dataclass(frozen=True)
class IndexData:
    """The overview of a job with several samples."""

    title: str
    pipeline: str
    spec_hash: str
    duration: float
    entries: tuple[IndexEntry, ...]
    warnings: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    stages: tuple[StageTiming, ...] = ()
