"""Writes the records of one attempt: one writer, files rewritten whole, because object stores cannot append.

There are two files. One holds the records of samples that ended, flushed at most every 5 s and at exit. The other, a
small one, has a ``started`` line for every sample that runs, whose outputs are being stored, or whose record is not
flushed yet. It is stored before a sample starts, so that a process that dies leaves the name of what it worked on. A
long shard's records go to several files, so neither memory nor a flush grows with the number of samples.
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
    """A sample that is about to run: its id, the time of its youngest record, attributes in its paths, its state."""

    sample: str
    after: float
    attributes: Mapping[str, Any] = field(default_factory=dict)
    state_step: int = 0


class Recorder:
    """Collects records of one stage, shard and attempt. Methods may be called from any thread.

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
        self._flushed_at = time.monotonic()
        self._marked = False
        self._lock = threading.RLock()
        self._io = threading.Lock()

    def start(self, start: Start) -> None:
        """Notes durably that a sample is about to run, alone."""
        self._note([start], "")

    def start_together(self, starts: Sequence[Start]) -> None:
        """Notes durably that samples are about to run beside others."""
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
        """Notes durably that a running sample saved its state: deaths before it are forgiven."""
        with self._lock:
            if sample in self._open:
                self._open[sample] = replace(self._open[sample], state_step=step)
        self.store_marks()

    def announce(self, sample: str, outputs: Mapping[str, OutputFile]) -> None:
        """Notes durably which files a sample is about to store, where its outputs alone do not tell."""
        with self._lock:
            if sample in self._open:
                self._open[sample] = replace(self._open[sample], outputs=dict(outputs))
        self.store_marks()

    def leave_process(self, sample: str) -> None:
        """Notes that a sample's code has ended: it is not to blame for what follows. Stored with the next mark."""
        with self._lock:
            if sample in self._open:
                self._open[sample] = replace(self._open[sample], reason=STARTED_LEFT_PROCESS)

    def forget(self, sample: str) -> None:
        """Takes back the note of a sample that an orderly end interrupts before it has stored anything."""
        with self._lock:
            self._open.pop(sample, None)

    def forget_running(self) -> None:
        """Takes back the notes of all samples whose code has not ended: an orderly end interrupts them."""
        with self._lock:
            ended = set(self._unflushed)
            for sample, mark in list(self._open.items()):
                if mark.reason != STARTED_LEFT_PROCESS and sample not in ended:
                    del self._open[sample]

    def add(self, record: Record, after: float = 0.0) -> None:
        """Adds the record of a sample that ended; its time, run and attempt are filled in."""
        with self._lock:
            complete = replace(record, run=self._run, attempt=self._attempt, at=self._now(after))
            self._lines.append(complete.to_line())
            self._unflushed.append(record.sample)
            due = len(self._unflushed) >= FLUSH_RECORDS
        if due:
            self.flush()

    def flush_if_due(self) -> None:
        """Flushes when the last flush is 5 s ago and something is new."""
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
        """Flushes, and removes the marks that are of no further use."""
        self.flush()
        self.store_marks()

    def store_marks(self) -> None:
        """Stores which samples have started and whose records are not stored yet."""
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
