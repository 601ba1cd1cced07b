"""The displayed state of a local run: one row per step, updated by events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from scenewright.api.status import number_texts, rate_text
from scenewright.cli.texts import duration
from scenewright.execution.events import (
    Event,
    Indexed,
    Interrupted,
    PassStarted,
    Progress,
    Retried,
    StepFinished,
    StepStarted,
    StepUpToDate,
)
from scenewright.planning.plan import Plan
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP

RowState = Literal["pending", "running", "done", "current", "failed", "stopped", "excluded"]


@dataclass
class Row:
    """One step.

    Attributes:
        state: ``current`` is up to date without running; ``excluded`` is not selected.
        shards: the latest progress of each shard.
        seconds: time in which shards ran, up to when the last of them ended or one failed.
        began: monotonic time since when shards have been running.
        ended: number of ended shards.
    """

    step: str
    title: str
    state: RowState = "pending"
    shards: dict[int, Progress] = field(default_factory=dict)
    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    message: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    began: float = 0.0
    ended: int = 0

    @property
    def fraction(self) -> float:
        """Progress of the running samples, as a number of samples."""
        return sum(shard.fraction for shard in self.shards.values())

    @property
    def rate(self) -> float:
        """Samples per minute; 0 if unknown."""
        return sum(shard.samples_per_minute for shard in self.shards.values())

    def take(self, shard: Progress) -> None:
        """Takes a shard's latest progress."""
        self.shards[shard.shard] = shard
        self.done = sum(each.done for each in self.shards.values())
        self.failed = sum(each.failed for each in self.shards.values())
        self.skipped = sum(each.skipped for each in self.shards.values())

    def elapsed(self, now: float) -> float:
        """Seconds so far."""
        return self.seconds + (now - self.began if self.state == "running" else 0.0)

    def share(self) -> float:
        """Fraction of the step that is done, 0 to 1."""
        if not self.total:
            return 1.0 if self.state in ("done", "current") else 0.0
        return min(1.0, (self.done + self.failed + self.skipped + self.fraction) / self.total)

    def remaining(self, now: float) -> float | None:
        """Expected seconds to the end of the step; None if unknown."""
        share = self.share()
        if self.state != "running" or share < 0.03:
            return None
        return self.elapsed(now) * (1.0 - share) / share

    def pace(self, now: float) -> list[str]:
        """The rate if it has several samples, the time left, and measurements: ``2.1/min``, ``35 s left``."""
        found = [rate_text(self.rate)] if self.rate and self.total > 1 else []
        remaining = self.remaining(now)
        found += [f"{duration(remaining)} left"] if remaining is not None else []
        return found + number_texts(self.numbers)


def wall_seconds(event: StepFinished) -> float:
    """How long a step took: what its report says, as pages and summary do, else what was measured here."""
    return event.counts.wall_seconds if event.counts is not None and event.counts.wall_seconds else event.seconds


@dataclass
class Board:
    """All rows of a run, and notes for the user."""

    rows: dict[str, Row]
    notes: list[str] = field(default_factory=list)
    samples: int = 0
    rejected: int = 0
    stopping: bool = False
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, plan: Plan) -> Board:
        """The board of a plan before it starts."""
        stages = {stage.name: stage.title or stage.name for stage in plan.chain}
        titles = {INDEX_STEP: "Read the input", **stages, PUBLISH_STEP: "Publish"}
        rows = {step: Row(step, title) for step, title in titles.items()}
        for name in stages.keys() - set(plan.selected):
            rows[name].state = "excluded"
        return cls(rows)

    def update(self, event: Event) -> None:
        match event:
            case StepStarted():
                row = self.rows[event.step]
                if row.state != "running":
                    row.state, row.began, row.message = "running", self.clock(), "starting"
                if event.shard == 0 and event.attempt == 1:
                    row.shards, row.numbers, row.seconds, row.ended = {}, {}, 0.0, 0
            case Progress():
                row = self.rows[event.step]
                row.take(event)
                row.numbers.update(event.numbers)
                row.total = max(row.total, event.total)
                words = [event.sample, event.message or ("" if event.phase == "running" else event.phase)]
                row.message = " · ".join(word for word in words if word)
            case StepFinished():
                self._finish(event)
            case StepUpToDate():
                row = self.rows[event.step]
                row.state, row.total = "current", event.counts.total
                row.done, row.failed, row.skipped = event.counts.done, event.counts.failed, event.counts.skipped
            case Indexed():
                self.samples, self.rejected = event.report.samples, event.report.rejected
                for name, counts in event.report.stages.items():
                    if name in self.rows and self.rows[name].state != "done":
                        self.rows[name].total = counts.todo
            case Retried():
                left = "given up" if event.attempts_left == 0 else "trying again"
                self.notes.append(f"{event.step}: {event.reason}; {left}")
            case PassStarted():
                self.notes.append(f"{event.missing} samples have no result yet: pass {event.number}")
            case Interrupted():
                self.stopping = True
                self.notes.append("stopping; press Ctrl-C again to stop at once")

    def _finish(self, event: StepFinished) -> None:
        row = self.rows[event.step]
        row.message = ""
        if event.shard in row.shards:
            last = replace(row.shards[event.shard], fraction=0.0, samples_per_minute=0.0)
            if event.counts is not None:
                # The report is newer than the last progress.
                done, failed, skipped = event.counts.done, event.counts.failed, event.counts.skipped
                last = replace(last, done=done, failed=failed, skipped=skipped)
            row.take(last)
        if event.code != 0:
            self._end(row, "stopped" if self.stopping else "failed")
            return
        row.ended += 1
        if row.ended >= event.shards:
            is_only_attempt = event.shards == 1 and not row.seconds
            self._end(row, "done")
            if is_only_attempt:
                row.seconds = wall_seconds(event)
            if event.step in (INDEX_STEP, PUBLISH_STEP):
                row.total = 0

    def _end(self, row: Row, state: RowState) -> None:
        row.seconds = row.elapsed(self.clock())
        row.state = state
