"""The state of a run as it is shown: one row for each step, kept up to date by events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

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
_TITLES = {INDEX_STEP: "Read the input", PUBLISH_STEP: "Publish"}


@dataclass
class Row:
    """One step.

    Attributes:
        step, title: name, and what it is called.
        state: ``current`` is up to date without running; ``excluded`` may not run in this run.
        done, failed, skipped, total: samples.
        fraction: how far the samples that run are, in samples.
        message: what happens now.
        rate: samples a minute; 0 when unknown.
        seconds: time of the ended shards.
        began: monotonic time at which the running shard began.
    """

    step: str
    title: str
    state: RowState = "pending"
    done: int = 0
    failed: int = 0
    skipped: int = 0
    total: int = 0
    fraction: float = 0.0
    message: str = ""
    rate: float = 0.0
    seconds: float = 0.0
    began: float = 0.0
    base_done: int = 0
    base_failed: int = 0
    base_skipped: int = 0

    def elapsed(self, now: float) -> float:
        """Seconds so far."""
        return self.seconds + (now - self.began if self.state == "running" else 0.0)

    def share(self) -> float:
        """How much of the step is done, 0 to 1."""
        if not self.total:
            return 1.0 if self.state in ("done", "current") else 0.0
        return min(1.0, (self.done + self.failed + self.skipped + self.fraction) / self.total)

    def remaining(self, now: float) -> float | None:
        """Expected seconds to the end of the step; None while nothing can be said."""
        share = self.share()
        if self.state != "running" or share < 0.03:
            return None
        return self.elapsed(now) * (1.0 - share) / share


@dataclass
class Board:
    """All rows of a run, and what the user has to know besides."""

    rows: dict[str, Row]
    notes: list[str] = field(default_factory=list)
    samples: int = 0
    rejected: int = 0
    stopping: bool = False
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, plan: Plan) -> Board:
        """The board of a plan before it starts."""
        titles = [(INDEX_STEP, _TITLES[INDEX_STEP])]
        titles += [(stage.name, stage.title or stage.name) for stage in plan.chain]
        titles += [(PUBLISH_STEP, _TITLES[PUBLISH_STEP])]
        rows = {step: Row(step, title) for step, title in titles}
        for stage in plan.chain:
            if stage.name not in plan.selected:
                rows[stage.name].state = "excluded"
        return cls(rows)

    def update(self, event: Event) -> None:
        """Takes an event in."""
        match event:
            case StepStarted():
                self._start(event)
            case Progress():
                self._progress(event)
            case StepFinished():
                self._finish(event)
            case StepUpToDate():
                row = self.rows[event.step]
                row.state, row.total = "current", event.counts.total
                row.done, row.failed, row.skipped = event.counts.done, event.counts.failed, event.counts.skipped
            case Indexed():
                self._index(event)
            case Retried():
                left = "given up" if event.attempts_left == 0 else "trying again"
                self.notes.append(f"{event.step}: {event.reason}; {left}")
            case PassStarted():
                self.notes.append(f"{event.missing} samples have no result yet: pass {event.number}")
            case Interrupted():
                self.stopping = True
                self.notes.append("stopping; press Ctrl-C again to stop at once")

    def _start(self, event: StepStarted) -> None:
        row = self.rows[event.step]
        row.state, row.began, row.message, row.fraction = "running", self.clock(), "starting", 0.0
        if event.shard == 0 and event.attempt == 1:
            row.base_done, row.base_failed, row.base_skipped, row.seconds = 0, 0, 0, 0.0

    def _progress(self, event: Progress) -> None:
        row = self.rows[event.step]
        row.done, row.failed = row.base_done + event.done, row.base_failed + event.failed
        row.skipped = row.base_skipped + event.skipped
        row.total = max(row.total, event.total)
        row.fraction, row.rate = event.fraction, event.samples_per_minute
        words = [event.sample, event.message or ("" if event.phase == "running" else event.phase)]
        row.message = " · ".join(word for word in words if word)

    def _finish(self, event: StepFinished) -> None:
        row = self.rows[event.step]
        row.seconds += event.seconds
        row.fraction, row.message = 0.0, ""
        row.base_done, row.base_failed, row.base_skipped = row.done, row.failed, row.skipped
        if event.code == 0 and event.shard + 1 >= event.shards:
            row.state = "done"
            if event.step in (INDEX_STEP, PUBLISH_STEP):
                row.total = 0
        elif event.code != 0:
            row.state = "stopped" if self.stopping else "failed"

    def _index(self, event: Indexed) -> None:
        self.samples, self.rejected = event.report.samples, event.report.rejected
        for name, counts in event.report.stages.items():
            if name in self.rows and self.rows[name].state != "done":
                self.rows[name].total = counts.todo
