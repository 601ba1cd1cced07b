"""Absolute counters of a step in a file that is always whole, for whoever shows progress."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from scenewright_stages.contract.progress import Push, PushedSamples
from scenewright_stages.worker.gpu_time import GpuClock

INTERVAL_SECONDS = 0.5


class Progress:
    """What the process is doing now. Methods may be called from any thread; updates are cheap.

    Args:
        path: the file, None to keep it to oneself.
        run, shard: are repeated in the file.
        gpus: how many GPUs the process holds.
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
        """The running sample got to `fraction` (0 to 1)."""
        with self._lock:
            self._fraction, self._message = min(max(float(fraction), 0.0), 1.0), message

    def end_sample(self) -> None:
        """The running sample's code ended."""
        self.gpu.end()
        with self._lock:
            self._sample = ""
            self._ended_here += 1

    def count(self, done: int, failed: int, skipped: int) -> None:
        """How many samples of the step have ended, those of earlier attempts included."""
        with self._lock:
            self._counts.update(done=done, failed=failed, skipped=skipped)

    def write_if_due(self) -> None:
        """Writes the file unless that happened in the last half second."""
        if time.monotonic() - self._written_at >= INTERVAL_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes the file. It is advisory: a full or missing disk is no reason to stop."""
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
                "samplesPerMinute": round(self._ended_here / minutes, 3),
                "at": time.time(),
            }

    def push(self) -> Push | None:
        """The counters as the operator takes them; None before the first step."""
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
            )
