"""Ends a process whose Python code can run no more: foreign code that never gives the interpreter back.

The other watchdogs are Python threads, which such code holds up as well. This one is a thread of the interpreter's own
in C; it ends the process unless a Python thread keeps putting it off.
"""

from __future__ import annotations

import faulthandler
import time

HANG_SECONDS = 600.0
"""Loading the largest weights in foreign code takes minutes, not ten."""
RENEWALS = 10


class HangGuard:
    """Prints where every thread stands and ends the process with exit code 1 once it is not renewed any more.

    Args:
        seconds: without a renewal.
        shown: descriptor that gets the trace.
    """

    def __init__(self, seconds: float, shown: int) -> None:
        self._seconds, self._shown = seconds, shown
        self._renewed_at = float("-inf")

    def renew_if_due(self) -> None:
        """Puts the end off; called often by a thread that lives as long as Python code can run."""
        now = time.monotonic()
        if now - self._renewed_at >= self._seconds / RENEWALS:
            self._renewed_at = now
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._shown)

    def close(self) -> None:
        """The process ends by itself now."""
        faulthandler.cancel_dump_traceback_later()
