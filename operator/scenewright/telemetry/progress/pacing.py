"""How often Pods are asked to push, so that many of them cost the operator no more than some."""

from __future__ import annotations

from math import ceil

PUSHES_PER_SECOND = 100
SHORTEST_SECONDS = 2
REMEMBERED_SECONDS = 90.0
"""Longer than the longest pause that Pods make."""
LONGEST_SECONDS = 60


class Pacer:
    """Counts the Pods that push, and spreads them over time."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._swept_at = 0.0

    def pause(self, uid: str, now: float) -> int:
        """Seconds until the Pod should push again."""
        self._seen[uid] = now
        if now - self._swept_at >= REMEMBERED_SECONDS / 3:
            self._seen = {uid: at for uid, at in self._seen.items() if now - at < REMEMBERED_SECONDS}
            self._swept_at = now
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, ceil(len(self._seen) / PUSHES_PER_SECOND)))
