"""A process's progress: counters in an atomically replaced file, and the busy and waiting time of its GPUs."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewright_stages.contract.reports import MAXIMUM_NUMBERS, NUMBER_NAME, Push, PushedSamples

INTERVAL_SECONDS = 0.5
GPUS_ENVIRONMENT = "SCENEWRIGHT_GPUS"


@dataclass(frozen=True)
class GpuTime:
    """GPU seconds (seconds times GPUs) with and without a running sample."""

    busy: float = 0.0
    waiting: float = 0.0


class GpuClock:
    """Measures GPU time from its creation on. Thread-safe; does nothing without a GPU.

    Args:
        gpus: number of GPUs the process holds.
        clock: monotonic seconds.
    """

    def __init__(self, gpus: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._gpus, self._clock = gpus, clock
        self._running = 0
        self._busy, self._waiting = 0.0, 0.0
        self._taken = GpuTime()
        self._since = clock()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A sample's code starts; several may run at once."""
        with self._lock:
            self._advance()
            self._running += 1

    def end(self) -> None:
        """A sample's code ended."""
        with self._lock:
            self._advance()
            self._running -= 1

    def total(self) -> GpuTime:
        """All time so far."""
        with self._lock:
            return self._total()

    def rest(self) -> GpuTime:
        """The time not taken yet."""
        with self._lock:
            return self._remaining()

    def take(self) -> GpuTime:
        """The time since the last call, for a sample's record; the records of a process add up to the total."""
        with self._lock:
            rest = self._remaining()
            self._taken = GpuTime(self._taken.busy + rest.busy, self._taken.waiting + rest.waiting)
            return rest

    def _remaining(self) -> GpuTime:
        total = self._total()
        return GpuTime(total.busy - self._taken.busy, total.waiting - self._taken.waiting)

    def _total(self) -> GpuTime:
        self._advance()
        return GpuTime(self._busy * self._gpus, self._waiting * self._gpus)

    def _advance(self) -> None:
        now = self._clock()
        if self._running:
            self._busy += now - self._since
        else:
            self._waiting += now - self._since
        self._since = now


class Progress:
    """The progress of the process. Thread-safe; updates are cheap.

    Args:
        path: the file; None to write none.
        run, shard: copied into the file.
        gpus: number of GPUs the process holds.
    """

    def __init__(self, path: Path | None, run: str, shard: int, gpus: int = 0) -> None:
        self._path = path
        self.gpu = GpuClock(gpus)
        self._run, self._shard = run, shard
        self._step, self._phase = "", "loading"
        self._counts = {"total": 0, "done": 0, "failed": 0, "skipped": 0}
        self._sample, self._fraction, self._message = "", 0.0, ""
        self._sample_started = 0.0
        self._ended_here, self._step_started = 0, time.monotonic()
        self._load_seconds = 0.0
        self._numbers: dict[str, float] = {}
        self._written_at = 0.0
        self._lock = threading.Lock()

    def begin_step(self, step: str, phase: str, total: int = 0) -> None:
        """A new step begins, with its own counters."""
        with self._lock:
            self._step, self._phase = step, phase
            self._counts = {"total": total, "done": 0, "failed": 0, "skipped": 0}
            self._sample = ""
            self._ended_here, self._step_started = 0, time.monotonic()
            self._load_seconds = 0.0
            self._numbers = {}
        self.write()

    def enter(self, phase: str) -> None:
        """The step is now ``loading``, ``running``, ``uploading``, ..."""
        with self._lock:
            if phase == "running" and not self._load_seconds:
                self._load_seconds = time.monotonic() - self._step_started
            self._phase = phase
        self.write()

    def begin_sample(self, sample: str) -> None:
        """A sample starts."""
        self.gpu.begin()
        with self._lock:
            self._sample, self._fraction, self._message = sample, 0.0, ""
            self._sample_started = time.monotonic()

    def update(self, fraction: float, message: str) -> None:
        """The running sample has reached `fraction` (0 to 1)."""
        with self._lock:
            self._fraction, self._message = min(max(float(fraction), 0.0), 1.0), message

    def measure(self, numbers: Mapping[str, float]) -> None:
        """Sets metrics of the running sample; metrics that are not given keep their last value.

        Raises:
            ValueError: a name has other characters than lower-case letters, digits and underscores, or there are more
                than 16 names.
        """
        for name in numbers:
            if not re.fullmatch(NUMBER_NAME, name):
                raise ValueError(f"{name!r} is not usable as the name of a number")
        with self._lock:
            merged = {**self._numbers, **{name: float(value) for name, value in numbers.items()}}
            if len(merged) > MAXIMUM_NUMBERS:
                raise ValueError(f"at most {MAXIMUM_NUMBERS} numbers can be shown, not {len(merged)}")
            self._numbers = {name: value for name, value in merged.items() if math.isfinite(value)}

    def end_sample(self) -> None:
        """The running sample's code ended."""
        self.gpu.end()
        with self._lock:
            self._sample = ""
            self._ended_here += 1

    def count(self, done: int, failed: int, skipped: int) -> None:
        """Sets how many samples of the step have ended, including earlier attempts."""
        with self._lock:
            self._counts.update(done=done, failed=failed, skipped=skipped)

    def write_if_due(self) -> None:
        """Writes the file, at most twice a second."""
        if time.monotonic() - self._written_at >= INTERVAL_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the file. Ignores a full or missing disk, because the file is advisory."""
        self._written_at = time.monotonic()
        if self._path is None:
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            temporary.write_text(json.dumps(self.snapshot()))
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)

    def snapshot(self) -> dict[str, Any]:
        """The content of the file."""
        with self._lock:
            now = time.monotonic()
            current = {
                "sample": self._sample,
                "fraction": round(self._fraction, 4),
                "message": self._message,
                "seconds": round(now - self._sample_started, 2),
            }
            minutes = max(now - self._step_started, 1e-3) / 60.0
            return {
                "run": self._run,
                "step": self._step,
                "shard": self._shard,
                "phase": self._phase,
                "samples": dict(self._counts),
                "current": current if self._sample else None,
                "numbers": dict(self._numbers),
                "samplesPerMinute": round(self._ended_here / minutes, 3),
                "at": time.time(),
            }

    def push(self) -> Push | None:
        """The counters to push to the operator; None before the first step."""
        total = self.gpu.total()
        with self._lock:
            if not self._step:
                return None
            return Push(
                run=self._run,
                step=self._step,
                shard=self._shard,
                phase=self._phase,
                samples=PushedSamples(**self._counts),
                ended_here=self._ended_here,
                busy_seconds=round(total.busy, 3),
                waiting_seconds=round(total.waiting, 3),
                load_seconds=round(self._load_seconds, 3),
                numbers=dict(self._numbers),
            )
