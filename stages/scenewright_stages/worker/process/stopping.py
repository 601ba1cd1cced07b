"""How a worker is told to end: signals, the death of its parent, and what its background threads run into."""

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
    """Whether the process is to end, why, and until when the running sample may go on.

    Args:
        grace_seconds: from the request until the exit, at the latest.
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
        """What a background thread ran into, and for which the process must end."""
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
        """Ends the process as if it had crashed, from any thread: what it runs cannot be finished."""
        self.lost = self.lost or why

    def should_stop(self) -> bool:
        """Whether the process is to end soon."""
        return self.requested or self._fault is not None or bool(self.lost)

    def wait(self, seconds: float) -> bool:
        """Waits for a request to end; True when there is one."""
        return self._requested.wait(seconds)

    def wait_for_last_moment(self) -> None:
        """Returns when the process must be gone, whatever it is doing; never without a request to end."""
        self._requested.wait()
        time.sleep(max(0.0, self._last_moment - time.monotonic()))

    def seconds_left(self) -> float:
        """How long the running sample may still go on."""
        return self._deadline - time.monotonic()

    def seconds_to_store(self) -> float | None:
        """How long what is made may still be on its way to storage, None for as long as it takes.

        The sample's time and that for flushing are one: with slow storage what has ended takes longer to store than
        to make.
        """
        return max(MAXIMUM_FLUSH_SECONDS, self.seconds_left()) if self.requested else None

    def check_running(self, elapsed: float, fraction: float) -> None:
        """Called from inside a running sample: raises Abandoned when it cannot, or must not, be finished in time."""
        if self._fault is not None:
            raise Abandoned
        if self.requested and (self._urgent or _remaining(elapsed, fraction) > self.seconds_left()):
            raise Abandoned


def _remaining(elapsed: float, fraction: float) -> float:
    # What takes no time as a rule (an input's arrival, a first kernel) tells nothing of the rest.
    if elapsed <= TELLING_SECONDS:
        return 0.0
    if fraction <= 0.0:
        return float("inf")
    return elapsed * (1.0 - min(fraction, 1.0)) / fraction


def watch_signals(stop: Stop, leave_at_once: Callable[[], None]) -> None:
    """Turns SIGTERM and SIGINT into requests, even while the main thread is inside compiled code.

    A handler written in Python runs only between byte codes of the main thread. The signal's number is therefore
    written to a pipe by the interpreter's own C handler, and read by a thread. A second signal leaves at once.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    # First, or a signal that comes in between would be handled and forgotten.
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
    """Requests the end when the pipe's other end closes, which happens at the latest when the parent dies."""

    def read() -> None:
        while os.read(descriptor, 64):
            pass
        stop.request("the parent process is gone", urgent=True)

    threading.Thread(target=read, name="parent", daemon=True).start()


def watch_last_moment(stop: Stop, leave_at_once: Callable[[], None]) -> None:
    """Leaves when the time is over: storage that takes connections and does not answer holds up all other threads."""

    def wait() -> None:
        stop.wait_for_last_moment()
        leave_at_once()

    threading.Thread(target=wait, name="last moment", daemon=True).start()
