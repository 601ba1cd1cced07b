"""How long the operator's event loop lets a request wait while it works, and whether it keeps its Lease.

Both are asked from outside. The health check is answered by the loop that does everything else, so its time is the
loop's lag and what HTTP and a busy machine add: an upper bound.
"""

from __future__ import annotations

import math
import threading
import time
import urllib.request

from operator_process import OperatorProcess

_PAUSE = 0.1
_LONGEST = 10.0
_ASKS_OF_THE_LEASE = 20
"""One of so many asks looks at the metrics as well, which cost the operator more."""


class Probe:
    """Asks from a thread of its own from the first answer to the end of the block.

    Attributes:
        waits: seconds of each answer.
        lapses: how often the operator was found without the Lease that it had had.
    """

    def __init__(self, operator: OperatorProcess) -> None:
        self.waits: list[float] = []
        self.lapses = 0
        self._operator = operator
        self._led = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def lag_p99(self) -> float:
        """The 99th percentile of the waits, of a few the longest; where nothing was answered the longest of all."""
        ordered = sorted(self.waits) or [_LONGEST]
        return round(ordered[math.ceil(0.99 * len(ordered)) - 1], 3)

    def _run(self) -> None:
        while not self._over.wait(_PAUSE):
            url, began = f"http://127.0.0.1:{self._operator.port}/healthz", time.monotonic()
            try:
                with urllib.request.urlopen(url, timeout=_LONGEST) as answer:
                    answer.read()
            except TimeoutError:
                self.waits.append(_LONGEST)
                continue
            except OSError:
                # Before it listens there is nobody to wait for; afterwards it must answer.
                if self.waits:
                    self.waits.append(_LONGEST)
                continue
            self.waits.append(time.monotonic() - began)
            if len(self.waits) % _ASKS_OF_THE_LEASE == 0:
                self._look_at_the_lease()

    def _look_at_the_lease(self) -> None:
        leads = self._operator.metric("scenewright_leader") == 1.0
        self.lapses += self._led and not leads
        self._led = leads
