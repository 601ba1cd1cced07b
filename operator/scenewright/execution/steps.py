"""Tracks which step a process is in and how long each takes. A process with a folded step runs several."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from scenewright.api.raw import Json
from scenewright.execution.events import Event, Indexed, Progress, StepFinished, StepStarted, StepUpToDate
from scenewright.execution.folders import ShardFolder
from scenewright_stages.contract.reports import StageCounts
from scenewright_stages.contract.task import INDEX_STEP


@dataclass
class StepClock:
    """Turns the progress of one process into events, and adds up the time of each step.

    A step that is too short to show up in the progress file is still reported.

    Attributes:
        shard: index and number of shards.
        totals: seconds by step over all processes of the run, without steps that were up to date.
        indexed: samples to run by stage, known after the index; shared by all processes of the run.
    """

    folder: ShardFolder
    steps: Sequence[str]
    shard: tuple[int, int]
    attempt: int
    on_event: Callable[[Event], None]
    totals: MutableMapping[str, float]
    indexed: MutableMapping[str, int]

    def __post_init__(self) -> None:
        self._position = 0
        self._start(self.attempt)

    def advance(self, progress: Json | None) -> None:
        """Takes the process's latest progress; None if there is none yet."""
        if progress is None or progress["step"] not in self.steps[self._position :]:
            return
        self._move_to(progress["step"])
        if not self._is_up_to_date(progress["step"]):
            self.on_event(Progress.from_json(progress))

    def end(self, code: int) -> None:
        """Takes the process's exit code."""

        if code == 0:
            self._move_to(self.steps[-1])
        self._finish(code)

    def _move_to(self, step: str) -> None:
        while self.steps[self._position] != step:
            self._finish(0)
            self._position += 1
            self._start(1)

    def _start(self, attempt: int) -> None:
        step = self.steps[self._position]
        self._began = time.monotonic()
        if self._is_up_to_date(step):
            report = self.folder.report(INDEX_STEP)
            self.on_event(StepUpToDate(step, report.stages[step] if report else StageCounts()))
        else:
            self.on_event(StepStarted(step, *self.shard, attempt))

    def _finish(self, code: int) -> None:
        step = self.steps[self._position]
        if self._is_up_to_date(step) and code == 0:
            return
        seconds = time.monotonic() - self._began
        self.totals[step] = self.totals.get(step, 0.0) + seconds
        report = self.folder.report(step)
        counts = report.stages.get(step) if report else None
        self.on_event(StepFinished(step, seconds, code, *self.shard, counts))
        if step == INDEX_STEP and code == 0 and report is not None:
            self.indexed.update({stage: counts.todo for stage, counts in report.stages.items()})
            self.on_event(Indexed(report))

    def _is_up_to_date(self, step: str) -> bool:
        return self.indexed.get(step) == 0
