"""Regular small duties in a thread of their own, beside the running sample."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

TICK_SECONDS = 0.2


class Housekeeper:
    """Calls every duty about five times a second until it is closed.

    Args:
        name: of the thread.
        duties: quick when nothing is due.
        on_fault: called with whatever a duty raises; the other duties go on.
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
        """Ends the thread; returns when the current round is over."""
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
