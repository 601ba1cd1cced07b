"""How fast samples end now: over a window that grows where they are rare."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 120.0
ENOUGH_SAMPLES = 4
"""A window with fewer ends in it is extended backwards: two hours a sample still make a rate."""
SPACING_SECONDS = 1.0
MAXIMUM_POINTS = 256


class RateWindow:
    """Ends of samples over time; methods take seconds of one clock that never goes back."""

    def __init__(self, now: float) -> None:
        self._points: deque[tuple[float, int]] = deque([(now, 0)], MAXIMUM_POINTS)
        self._total = 0

    def add(self, ended: int, now: float) -> None:
        """Further samples ended."""
        if ended <= 0:
            return
        self._total += ended
        at, _ = self._points[-1]
        if len(self._points) > 1 and now - at < SPACING_SECONDS:
            self._points[-1] = (at, self._total)
        else:
            self._points.append((now, self._total))

    def per_minute(self, now: float) -> float:
        """The recent rate; it falls while nothing ends."""
        start, before = self._points[0]
        for at, total in reversed(self._points):
            if now - at >= WINDOW_SECONDS and self._total - total >= ENOUGH_SAMPLES:
                start, before = at, total
                break
        return (self._total - before) / max(now - start, SPACING_SECONDS) * 60.0
