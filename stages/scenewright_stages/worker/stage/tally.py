"""Counts a stage's results for its report."""

from __future__ import annotations

import threading

from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import MAXIMUM_FAILURES, Failure, Report, StageCounts
from scenewright_stages.worker.process.progress import GpuTime

MAXIMUM_WARNINGS = 10


class Tally:
    """Counts ended samples and keeps the first failures and warnings. Thread-safe.

    Args:
        stage: name of the stage.
        total: number of samples in the shard's worklist.
    """

    def __init__(self, stage: str, total: int) -> None:
        self._stage = stage
        self.total = total
        self.done, self.failed, self.skipped, self.rejected = 0, 0, 0, 0
        self._seconds, self._gpu_seconds, self._gpu_wait_seconds = 0.0, 0.0, 0.0
        self._failures: list[Failure] = []
        self._warnings: dict[str, None] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Counts a sample that ended."""
        with self._lock:
            self._ended.add(record.sample)
            self.done += record.state == "done"
            self.failed += record.state == "failed"
            self.skipped += record.state in ("skipped", "rejected")
            self.rejected += record.state == "rejected"
            self._seconds += record.seconds
            self._gpu_seconds += record.gpu_seconds
            self._gpu_wait_seconds += record.gpu_wait_seconds
            for warning in record.warnings:
                if len(self._warnings) < MAXIMUM_WARNINGS:
                    self._warnings[f"{record.sample}: {warning}"] = None
            if record.state == "failed" and len(self._failures) < MAXIMUM_FAILURES:
                self._failures.append(failure_of(record))

    def has(self, sample: str) -> bool:
        """Whether the sample has ended."""
        return sample in self._ended

    def report(self, run: str, unrecorded: GpuTime = GpuTime(), wall_seconds: float = 0.0) -> Report:  # noqa: B008
        """The stage's report; `unrecorded` is GPU time that is in no record."""
        with self._lock:
            counts = StageCounts(
                total=self.total,
                done=self.done,
                failed=self.failed,
                skipped=self.skipped,
                rejected=self.rejected,
                wall_seconds=round(wall_seconds, 3),
                missing=self.total - self.done - self.failed - self.skipped,
                seconds=round(self._seconds, 3),
                gpu_seconds=round(self._gpu_seconds + unrecorded.busy, 3),
                gpu_wait_seconds=round(self._gpu_wait_seconds + unrecorded.waiting, 3),
            )
            return Report(
                step=self._stage,
                run=run,
                samples=self.total,
                stages={self._stage: counts},
                failures=list(self._failures),
                warnings=list(self._warnings),
            )


def failure_of(record: Record) -> Failure:
    """A failed or skipped record as a failure for the status."""
    return Failure(sample=record.sample, stage=record.stage, reason=record.reason, message=record.message)
