"""Shows progress as plain lines for logs and pipes: one line per event, no control characters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TextIO

from scenewright.cli.board import Board, Row, wall_seconds
from scenewright.cli.texts import count, counted, duration
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
from scenewright_stages.contract.reports import StageCounts

SECONDS_BETWEEN_LINES = 10.0
SECONDS_WITHOUT_NEWS = 60.0


class PlainProgress:
    """Writes lines to a stream during a run; used as a context manager, like `LiveProgress`."""

    def __init__(self, board: Board, stream: TextIO) -> None:
        self._board = board
        self._stream = stream
        self._last_line = time.monotonic()
        self._last_news: tuple[object, ...] = ()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.flush()

    def show(self, event: Event) -> None:
        """Updates the board with an event and writes a line if there is news."""
        self._board.update(event)
        line = self._line(event)
        if line:
            self._last_line = time.monotonic()
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def _line(self, event: Event) -> str:
        match event:
            case StepStarted():
                shard = f" (shard {event.shard + 1} of {event.shards})" if event.shards > 1 else ""
                again = f", attempt {event.attempt}" if event.attempt > 1 else ""
                return f"{event.step}: started{shard}{again}"
            case Progress():
                return progress_line(self._board.rows[event.step]) if self._is_due(event) else ""
            case StepFinished():
                return finished_line(self._board.rows[event.step], event)
            case StepUpToDate():
                return up_to_date_line(event)
            case Indexed():
                rejected = f", {event.report.rejected} refused" if event.report.rejected else ""
                return f"index: {count(event.report.samples, 'sample')}{rejected}"
            case Retried() | PassStarted() | Interrupted():
                return self._board.notes[-1]

    def _is_due(self, event: Progress) -> bool:
        """Every ten seconds with news, every minute without."""
        news = (event.step, event.done, event.failed, event.message, round(event.fraction, 2))
        pause = SECONDS_BETWEEN_LINES if news != self._last_news else SECONDS_WITHOUT_NEWS
        due = time.monotonic() - self._last_line >= pause
        if due:
            self._last_news = news
        return due


def progress_line(row: Row) -> str:
    """``coarse: 1/3 done, 40 %, 2.1/min, 35 s left: china · view 2``"""
    facts = [f"{row.done}/{row.total} done"] if row.total else []
    facts += [f"{row.failed} failed"] if row.failed else []
    facts += [f"{row.share():.0%}"] if row.total else []
    facts += row.pace(time.monotonic())
    return ": ".join(part for part in (row.step, ", ".join(facts), row.message) if part)


def up_to_date_line(event: StepUpToDate) -> str:
    """``coarse: up to date (3 samples)`` or ``coarse: nothing to run (2 done, 1 failed before)``"""
    counts = event.counts
    if counts.total == counts.done:
        return f"{event.step}: up to date ({count(counts.done, 'sample')})"
    facts = counted((counts.done, "done"), (counts.failed, "failed before"), *_others(counts))
    return f"{event.step}: nothing to run ({', '.join(facts)})"


def finished_line(row: Row, event: StepFinished) -> str:
    """``coarse: done in 12 s (3 done, 1 failed)``"""
    if event.code != 0:
        return f"{row.step}: ended with exit code {event.code} after {duration(event.seconds)}"
    counts = event.counts
    facts = counted((counts.done, "done"), (counts.failed, "failed"), *_others(counts)) if counts else []
    return f"{row.step}: done in {duration(wall_seconds(event))}" + (f" ({', '.join(facts)})" if facts else "")


def _others(counts: StageCounts) -> Sequence[tuple[int, str]]:
    """Samples that neither failed nor are done; skipped are those whose upstream has no result."""
    return (
        (counts.rejected, "rejected"),
        (counts.skipped - counts.rejected, "skipped"),
        (counts.awaiting, "waiting for a choice"),
        (counts.not_selected, "not selected"),
    )
