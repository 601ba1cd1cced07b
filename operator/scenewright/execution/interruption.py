"""Handles signals of the command line: the first asks the running processes to end, the second kills them."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from scenewright.execution.process import StageProcess

GRACE_SECONDS = 25.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(eq=False)
class Interruption:
    """Passes signals on to the running processes and enforces the grace period."""

    on_first: Callable[[float], None]
    grace_seconds: float = GRACE_SECONDS
    _processes: list[StageProcess] = field(default_factory=list)
    _first: int | None = None
    _reported: bool = False
    _deadline: float = math.inf

    @property
    def requested(self) -> bool:
        return self._first is not None

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Installs the signal handlers and restores the old ones; does nothing outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def watching(self, process: StageProcess) -> Iterator[None]:
        """Registers a running process. A process that starts after the signal gets it at once."""
        self._processes.append(process)
        try:
            if self._first is not None:
                process.signal(self._first)
            yield
        finally:
            self._processes.remove(process)

    def enforce(self) -> None:
        """Reports the first signal, and kills processes after the grace period; must be called often."""
        if self._first is not None and not self._reported:
            # Not from the signal handler, which may interrupt code that is drawing the screen.
            self._reported = True
            self.on_first(self.grace_seconds)
        if time.monotonic() > self._deadline:
            self._kill()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            # On SIGINT the worker drops its sample within two seconds; on SIGTERM it may finish it in the grace period.
            self._first = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
            self._deadline = time.monotonic() + self.grace_seconds + 5.0
            for process in self._processes:
                process.signal(self._first)
        else:
            self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
