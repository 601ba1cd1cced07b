"""Signs of life of the operator's loops: liveness is that they turn, never how much work waits."""

from __future__ import annotations

import time
from collections.abc import Callable

from scenewright.telemetry.metrics import HEARTBEAT_AGE


class Heartbeats:
    """When each loop last showed life."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beats: dict[str, tuple[float, float]] = {}

    def register(self, loop: str, limit: float) -> Callable[[], None]:
        """A function that the loop calls at each turn; it counts as dead `limit` seconds after the last one."""

        def beat() -> None:
            self._beats[loop] = (self._clock(), limit)

        beat()
        HEARTBEAT_AGE.labels(loop).set_function(lambda: self._clock() - self._beats[loop][0])
        return beat

    def dead(self) -> dict[str, float]:
        """Seconds since the last beat of each loop that is over its limit."""
        now = self._clock()
        return {loop: now - at for loop, (at, limit) in self._beats.items() if now - at > limit}
