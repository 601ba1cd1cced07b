"""Writes the records of one attempt. Files have one writer and are rewritten whole: object stores cannot append.

There are two files. The record file has the samples that ended, flushed at most every 5 s and at exit. The small marks
file has a ``started`` line for every sample that is running, uploading, or whose record is not flushed yet. It is
stored before a sample starts, so a process that dies leaves the name of what it was working on. A long shard's records
go to several files, so neither memory nor a flush grows with the number of samples.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scenewright_stages.contract.layout import record_file
from scenewright_stages.contract.records import STARTED_LEFT_PROCESS, STARTED_TOGETHER, OutputFile, Record
from scenewright_stages.store import Store
from scenewright_stages.worker.evidence import MARKS_SUFFIX

FLUSH_SECONDS = 5.0
FLUSH_RECORDS = 64
"""More unflushed records than this are flushed at once: it bounds what a kill can cost and the size of the marks."""
FILE_RECORDS = 512
"""A file with as many records is closed, and the next one begun."""


@dataclass(frozen=True)
class Start:
    """A sample about to run: its id, the time of its latest record, attributes in its paths, its state."""

    sample: str
    after: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    state_step: int = 0


class Recorder:
    """Collects the records of one stage, shard and attempt. Thread-safe.

    Args:
        store: the output.
        stage, key, run, shard, attempt: name the file.
    """

    def __init__(self, store: Store, stage: str, key: str, run: str, shard: int, attempt: str) -> None:
        self._store = store
        self._stage, self._key, self._run = stage, key, run
        self._attempt = f"{shard}-{attempt}"
        self._base_path = record_file(stage, key, run, shard, attempt).removesuffix(".jsonl")
        self._marks_path = f"{self._base_path}{MARKS_SUFFIX}"
        self._part = 0
        self._lines: list[str] = []
        self._unflushed: list[str] = []
        self._open: dict[str, Record] = {}
        self._last_time = 0.0
        self._begun = self._ended = time.time()
        self._flushed_at = time.monotonic()
        self._marked = False
        self._lock = threading.RLock()
        self._io = threading.Lock()

    def wall_seconds(self) -> float:
        """From the start of this attempt to its latest record, as `stage_time` reads it from the records."""
        return max(0.0, self._ended - self._begun)

    def start(self, start: Start) -> None:
        """Durably marks a sample as about to run, alone."""
        self._note([start], "")

    def start_together(self, starts: Sequence[Start]) -> None:
        """Durably marks samples as about to run concurrently."""
        self._note(starts, STARTED_TOGETHER)

    def _note(self, starts: Sequence[Start], reason: str) -> None:
        with self._lock:
            for start in starts:
                self._open[start.sample] = Record(
                    start.sample,
                    self._stage,
                    self._key,
                    "started",
                    self._run,
                    self._attempt,
                    attributes=dict(start.attributes),
                    state_step=start.state_step,
                    at=self._now(start.after),
                    reason=reason,
                )
        self.store_marks()

    def advance(self, sample: str, step: int) -> None:
        """Durably marks that a running sample saved its state; this forgives earlier deaths."""
        with self._lock:
            if sample in self._open:
                self._open[sample] = replace(self._open[sample], state_step=step)
        self.store_marks()

    def announce(self, sample: str, outputs: Mapping[str, OutputFile]) -> None:
        """Durably marks which files a sample is about to store, if the contracts do not determine them."""
        with self._lock:
            if sample in self._open:
                self._open[sample] = replace(self._open[sample], outputs=dict(outputs))
        self.store_marks()

    def leave_process(self, sample: str) -> None:
        """Marks that a sample's code has ended, so a later crash is not blamed on it. Stored with the next mark."""
        with self._lock:
            if sample in self._open:
                self._open[sample] = replace(self._open[sample], reason=STARTED_LEFT_PROCESS)

    def forget(self, sample: str) -> None:
        """Removes the mark of a sample that an orderly end interrupts before it has stored anything."""
        with self._lock:
            self._open.pop(sample, None)

    def forget_running(self) -> None:
        """Removes the marks of all samples that an orderly end interrupts while their code runs."""
        with self._lock:
            ended = set(self._unflushed)
            for sample, mark in list(self._open.items()):
                if mark.reason != STARTED_LEFT_PROCESS and sample not in ended:
                    del self._open[sample]

    def add(self, record: Record, after: float = 0.0) -> None:
        """Adds the record of a sample that ended, and fills in time, run and attempt."""
        with self._lock:
            complete = replace(record, run=self._run, attempt=self._attempt, at=self._now(after), begun=self._begun)
            self._ended = max(self._ended, complete.at)
            self._lines.append(complete.to_line())
            self._unflushed.append(record.sample)
            due = len(self._unflushed) >= FLUSH_RECORDS
        if due:
            self.flush()

    def flush_if_due(self) -> None:
        """Flushes new records, at most every 5 s."""
        if self._unflushed and time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Stores all records; raises StoreError."""
        with self._io:
            with self._lock:
                lines, flushed = list(self._lines), list(self._unflushed)
            if flushed:
                part = f".{self._part:03d}" if self._part else ""
                self._store.put_bytes(f"{self._base_path}{part}.jsonl", ("\n".join(lines) + "\n").encode())
            with self._lock:
                del self._unflushed[: len(flushed)]
                if len(lines) >= FILE_RECORDS:
                    self._part += 1
                    del self._lines[: len(lines)]
                for sample in flushed:
                    self._open.pop(sample, None)
                self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Flushes, then removes marks that are no longer needed."""
        self.flush()
        self.store_marks()

    def store_marks(self) -> None:
        """Stores the marks: samples that have started and have no stored record yet."""
        with self._io:
            with self._lock:
                marks = [record.to_line() for record in self._open.values()]
            if marks:
                self._store.put_bytes(self._marks_path, ("\n".join(marks) + "\n").encode())
            elif self._marked:
                self._store.delete([self._marks_path])
            self._marked = bool(marks)

    def _now(self, after: float) -> float:
        self._last_time = max(time.time(), self._last_time + 1e-6, after + 1e-6)
        return self._last_time
