"""How fast the operator creates: a token bucket that slows down after errors and recovers by successes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from scenewright.telemetry.metrics import CREATE_RATE

_SLOWEST = 1.0
_RECOVERY = 1.1
_MOMENT_SECONDS = 1.0
"""Errors within this time are one overload: they are answers to what was asked before the rate fell."""


class CreateRate:
    """A token bucket.

    Args:
        per_second: tokens a second while all goes well.
        burst: tokens that a quiet time saves up.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = per_second
        self._burst = float(burst)
        self._clock = clock
        self._rate = per_second
        self._tokens = float(burst)
        self._at = clock()
        self._not_before = 0.0
        self._slowed_at = self._at - _MOMENT_SECONDS
        CREATE_RATE.set_function(lambda: self._rate)

    @property
    def rate(self) -> float:
        """Tokens a second that are given now."""
        return self._rate

    async def take(self) -> None:
        """Waits for a token."""
        while (delay := self.delay()) > 0:
            await asyncio.sleep(delay)

    def delay(self) -> float:
        """Takes a token and returns 0, or says for how many seconds there is none."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if now < self._not_before:
            return self._not_before - now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate

    def succeeded(self) -> None:
        """The API server took a creation."""
        self._rate = min(self._most, self._rate * _RECOVERY)

    def failed(self, retry_after: float | None = None) -> None:
        """The API server is overloaded or away: half the rate, nothing saved up, and its own wish obeyed."""
        now = self._clock()
        if now - self._slowed_at >= _MOMENT_SECONDS:
            self._rate = max(_SLOWEST, self._rate / 2)
            self._slowed_at = now
        self._tokens = min(self._tokens, 1.0)
        self._not_before = max(self._not_before, now + (retry_after or 0.0))
