"""Which step a process is at, and how long each took: a folded process goes through several."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from scenewright.execution.events import Event, Progress, StepFinished, StepStarted
from scenewright.execution.process import ProcessFolder


class StepClock:
    """Turns the progress of processes into events, and adds up the time of each step."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._step = ""
        self._shard, self._shards = 0, 1
        self._began = 0.0
        self.totals: dict[str, float] = {}
        """Seconds by step so far."""

    def begin(self, step: str, shard: int, shards: int, attempt: int) -> None:
        """A process started with this step."""
        self._step, self._shard, self._shards, self._began = step, shard, shards, time.monotonic()
        self._on_event(StepStarted(step, shard, shards, attempt))

    def advance(self, progress: dict[str, Any] | None) -> None:
        """The process told of its progress; a new step ends the one before."""
        if progress is None:
            return
        if progress["step"] != self._step:
            self._finish(0, None)
            self.begin(progress["step"], self._shard, self._shards, 1)
        self._on_event(Progress.from_json(progress))

    def end(self, code: int, folder: ProcessFolder) -> None:
        """The process ended."""
        self._finish(code, folder)

    def _finish(self, code: int, folder: ProcessFolder | None) -> None:
        seconds = time.monotonic() - self._began
        self.totals[self._step] = self.totals.get(self._step, 0.0) + seconds
        report = folder.report(self._step) if folder else None
        counts = report.stages.get(self._step) if report else None
        self._on_event(StepFinished(self._step, seconds, code, self._shard, self._shards, counts))
