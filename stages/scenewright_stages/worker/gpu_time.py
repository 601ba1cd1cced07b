"""How long the GPUs of a process worked and how long they waited: measured, since nobody can tell it from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

GPUS_ENVIRONMENT = "SCENEWRIGHT_GPUS"


@dataclass(frozen=True)
class GpuTime:
    """GPU seconds (seconds times GPUs) in which a sample's code ran, and in which none did."""

    busy: float = 0.0
    waiting: float = 0.0


class GpuClock:
    """Counts from its making to its last reading. May be used from any thread; does nothing without a GPU.

    Args:
        gpus: how many GPUs the process holds.
        clock: seconds that never go back.
    """

    def __init__(self, gpus: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._gpus, self._clock = gpus, clock
        self._running = 0
        self._busy, self._waiting = 0.0, 0.0
        self._taken = GpuTime()
        self._since = clock()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A sample's code starts; several may run beside each other."""
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
        """The time that has not been taken yet."""
        with self._lock:
            return self._rest()

    def take(self) -> GpuTime:
        """The time since it was last taken, for the record of a sample: the records of a process add up to all."""
        with self._lock:
            rest = self._rest()
            self._taken = GpuTime(self._taken.busy + rest.busy, self._taken.waiting + rest.waiting)
            return rest

    def _rest(self) -> GpuTime:
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
