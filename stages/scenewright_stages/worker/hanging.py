"""Ends a process whose Python code can run no more: foreign code that never gives the interpreter back.

The other watchdogs are Python threads, which such code holds up as well. These two are not: a thread of the
interpreter's own in C, which says where every thread stands and ends the process, and behind it a timer of the kernel.
Both end the process unless a Python thread keeps putting them off.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time

HANG_SECONDS = 600.0
"""Loading the largest weights in foreign code takes minutes, not ten."""
RENEWALS = 10
TRACE_SECONDS = 5.0
"""So long the C thread may take to write its trace: whoever should read it may hang too."""


class HangGuard:
    """Prints where every thread stands and ends the process with exit code 1 once no Python code can run any more.

    It is armed before the constructor returns, since the first thing that a process does may be what hangs, and until
    the process ends, the way out included: there is nothing to close. Must be made in the main thread.

    Args:
        seconds: for which no Python thread could run.
        shown: descriptor that gets the trace. When that cannot be written, SIGALRM ends the process 5 s later.
    """

    def __init__(self, seconds: float, shown: int) -> None:
        self._seconds = seconds
        # Of its own: the log's descriptors are given back before the process has ended.
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
