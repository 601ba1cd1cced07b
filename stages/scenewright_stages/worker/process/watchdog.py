"""Runs periodic duties beside the sample, and ends a process that hangs.

Foreign code that never releases the GIL blocks every Python thread, watchdogs included. The hang guard therefore uses
no Python thread: a C thread of the interpreter dumps all tracebacks and ends the process, with a kernel timer as
backup. Both fire unless a Python thread keeps postponing them.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

HANG_SECONDS = 600.0
"""Loading the largest weights in foreign code takes minutes, not ten."""
TICK_SECONDS = 0.2
RENEWALS = 10
TRACE_SECONDS = 5.0
"""So long the C thread may take to write its trace: whoever should read it may hang too."""


class HangGuard:
    """Dumps all tracebacks and ends the process with exit code 1 if Python code is blocked for too long.

    It is armed before the constructor returns, because the first thing that a process does may hang, and stays armed
    until the process ends. Must be created in the main thread.

    Args:
        seconds: how long Python threads may be blocked.
        shown: descriptor that gets the trace. If that cannot be written, SIGALRM ends the process 5 s later.
    """

    def __init__(self, seconds: float, shown: int) -> None:
        self._seconds = seconds
        # A duplicate, because the log's descriptors are closed before the process ends.
        self._shown = os.dup(shown)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._renew()
        threading.Thread(target=self._keep_renewing, name="hang guard", daemon=True).start()

    def _keep_renewing(self) -> None:
        while True:
            time.sleep(self._seconds / RENEWALS)
            self._renew()

    def _renew(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._seconds + TRACE_SECONDS)
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._shown)


class PeriodicTask:
    """Calls every duty about five times a second from its own thread until it is closed.

    Args:
        name: of the thread.
        duties: must return quickly if nothing is due.
        on_fault: called with the exception of a failed duty; the other duties continue.
    """

    def __init__(
        self, name: str, duties: Sequence[Callable[[], None]], on_fault: Callable[[BaseException], None]
    ) -> None:
        self._duties = tuple(duties)
        self._on_fault = on_fault
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread after the current round."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(TICK_SECONDS):
            for duty in self._duties:
                try:
                    duty()
                except Exception as problem:
                    self._on_fault(problem)
