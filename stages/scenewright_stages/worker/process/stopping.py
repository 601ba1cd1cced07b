"""Stops a worker in an orderly way: on signals, the parent's death, or an error in a background thread."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

from scenewright_stages.contract.errors import Abandoned

URGENT_SECONDS = 2.0
"""After SIGINT the running sample has this long to reach a point where it can be abandoned."""
TELLING_SECONDS = 1.0
"""A sample that has run shorter than this does not tell yet how long it will take."""
FLUSH_SHARE = 0.3
MAXIMUM_FLUSH_SECONDS = 5.0
"""Part of the grace period that is kept for flushing records and logs."""
OVERTIME_SECONDS = 3.0
"""So long after its grace period a process is left that still waits for storage; the operator's Pods have 5 s."""


class Stop:
    """Whether the process must end, why, and how long the running sample may continue.

    Args:
        grace_seconds: longest time from the request until the exit.
    """

    def __init__(self, grace_seconds: float) -> None:
        self._grace = grace_seconds
        self._requested = threading.Event()
        self._deadline = self._last_moment = float("inf")
        self._fault: BaseException | None = None
        self._lock = threading.Lock()
        self._urgent = False
        self.reason = ""
        self.lost = ""

    @property
    def requested(self) -> bool:
        """Whether a signal or the parent's death asked the process to end."""
        return self._requested.is_set()

    @property
    def fault(self) -> BaseException | None:
        """The background thread's error for which the process must end, if any."""
        return self._fault

    def request(self, reason: str, *, urgent: bool) -> None:
        """Asks the process to end; `urgent` leaves the running sample no time to finish."""
        flush = min(MAXIMUM_FLUSH_SECONDS, self._grace * FLUSH_SHARE)
        allowed = min(URGENT_SECONDS, self._grace - flush) if urgent else self._grace - flush
        with self._lock:
            now = time.monotonic()
            self._deadline = min(self._deadline, now + allowed)
            self._last_moment = min(self._last_moment, now + self._grace + OVERTIME_SECONDS)
            self.reason = self.reason or reason
            self._urgent = self._urgent or urgent
        self._requested.set()

    def fail(self, fault: BaseException) -> None:
        """Hands a background thread's fault to the main thread; the first one counts."""
        with self._lock:
            self._fault = self._fault or fault

    def end_process(self, why: str) -> None:
        """Ends the process as if it had crashed, from any thread, because the running sample cannot finish."""
        self.lost = self.lost or why

    def should_stop(self) -> bool:
        """Whether the process must end soon."""
        return self.requested or self._fault is not None or bool(self.lost)

    def wait(self, seconds: float) -> bool:
        """Waits for a request to end; True when there is one."""
        return self._requested.wait(seconds)

    def wait_for_last_moment(self) -> None:
        """Blocks until the process must be gone; forever if nothing requests its end."""
        self._requested.wait()
        time.sleep(max(0.0, self._last_moment - time.monotonic()))

    def seconds_left(self) -> float:
        """How long the running sample may still run."""
        return self._deadline - time.monotonic()

    def seconds_to_store(self) -> float | None:
        """How long finished outputs may still take to upload; None for no limit.

        At least the flush's share of the grace period, plus what is left of the sample's: slow storage may need both.
        """
        return max(MAXIMUM_FLUSH_SECONDS, self.seconds_left()) if self.requested else None

    def check_running(self, elapsed: float, fraction: float) -> None:
        """Called from inside a running sample: raises Abandoned if it cannot or must not finish in time."""
        if self._fault is not None:
            raise Abandoned
        if self.requested and (self._urgent or _remaining(elapsed, fraction) > self.seconds_left()):
            raise Abandoned


def _remaining(elapsed: float, fraction: float) -> float:
    # The first seconds (an input arriving, a first kernel) do not predict the rest.
    if elapsed <= TELLING_SECONDS:
        return 0.0
    if fraction <= 0.0:
        return float("inf")
    return elapsed * (1.0 - min(fraction, 1.0)) / fraction


def watch_signals(stop: Stop, leave_at_once: Callable[[], None]) -> None:
    """Turns SIGTERM and SIGINT into requests, even while the main thread is inside compiled code.

    A Python signal handler runs only between byte codes of the main thread. Therefore the interpreter's C handler
    writes the signal's number to a pipe, and a thread reads it. A second signal leaves at once.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    # Set the pipe first, or a signal that arrives in between would be lost.
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def read() -> None:
        seen = 0
        while True:
            for number in os.read(read_end, 16):
                if number not in (signal.SIGTERM, signal.SIGINT):
                    continue
                seen += 1
                if seen > 1:
                    leave_at_once()
                stop.request(signal.Signals(number).name, urgent=number == signal.SIGINT)

    threading.Thread(target=read, name="signals", daemon=True).start()


def watch_parent(stop: Stop, descriptor: int) -> None:
    """Requests the end when the other end of the pipe closes, as it does when the parent dies."""

    def read() -> None:
        while os.read(descriptor, 64):
            pass
        stop.request("the parent process is gone", urgent=True)

    threading.Thread(target=read, name="parent", daemon=True).start()


def watch_last_moment(stop: Stop, leave_at_once: Callable[[], None]) -> None:
    """Leaves when the time is over, because storage that accepts connections but never answers blocks other threads."""

    def wait() -> None:
        stop.wait_for_last_moment()
        leave_at_once()

    threading.Thread(target=wait, name="last moment", daemon=True).start()
