"""A work queue of object keys without duplicates; no two workers get the same key.

Keys are taken in the order of their deadlines: due time plus an allowance that depends on the priority. So urgent work
goes first, but cannot starve the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from scenewright.telemetry.metrics import QUEUE_DEPTH, QUEUE_OLDEST, QUEUE_WAIT

K = TypeVar("K")


class Priority(IntEnum):
    """What a key is queued for; lower values are more urgent."""

    FINISHING = 0
    RUNNING = 1
    STARTING = 2


_ALLOWANCE = {Priority.FINISHING: 0.0, Priority.RUNNING: 2.0, Priority.STARTING: 10.0}
_FIRST_RETRY = 0.2
_LONGEST_RETRY = 60.0


@dataclass(frozen=True)
class _Waiting:
    """A queued key's earliest due time and most urgent priority."""

    due: float
    priority: Priority

    @property
    def deadline(self) -> float:
        return self.due + _ALLOWANCE[self.priority]


class WorkQueue(Generic[K]):
    """Keys that wait for a worker.

    Args:
        clock: seconds; by default those of the running loop.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._waiting: dict[K, _Waiting] = {}
        self._working: set[K] = set()
        self._again: dict[K, _Waiting] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        QUEUE_DEPTH.set_function(lambda: len(self._due()))
        QUEUE_OLDEST.set_function(
            lambda: max((self._clock() - waiting.due for waiting in self._due().values()), default=0.0)
        )

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, key: K, priority: Priority = Priority.RUNNING, delay: float = 0.0) -> None:
        """Queues a key after a delay. Several requests are merged: earliest due time, most urgent priority."""
        wanted = _Waiting(self._clock() + delay, priority)
        queue = self._again if key in self._working else self._waiting
        known = queue.get(key, wanted)
        queue[key] = _Waiting(min(known.due, wanted.due), min(known.priority, wanted.priority))
        self._wake.set()

    async def get(self, timeout: float = 10.0) -> K | None:
        """The most urgent key that is due; None when nothing was due for `timeout` seconds."""
        until = self._clock() + timeout
        while True:
            key = self._take()
            if key is not None:
                return key
            now = self._clock()
            if now >= until:
                return None
            self._wake.clear()
            soonest = min((waiting.due for waiting in self._waiting.values()), default=until)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(soonest, until) - now)):
                    await self._wake.wait()

    def done(self, key: K) -> None:
        """Marks the work on a key as done; requests that came in the meantime are queued now."""
        self._failures.pop(key, None)
        self._release(key)

    def failures(self, key: K) -> int:
        """How often in a row the work on a key has failed."""
        return self._failures.get(key, 0)

    def failed(self, key: K, retry_after: float | None = None) -> float:
        """Queues a failed key again with backoff; returns the delay in seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        longest = min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(count, 12))
        delay = max(retry_after or 0.0, random.uniform(longest / 2, longest))
        # Requests that came in the meantime must not defeat the backoff.
        self._again.pop(key, None)
        self._release(key)
        self.add(key, Priority.RUNNING, delay)
        return delay

    def forget(self, key: K) -> None:
        """Drops failures and pending requests of a key whose object is gone."""
        self._failures.pop(key, None)
        self._again.pop(key, None)

    def _release(self, key: K) -> None:
        self._working.discard(key)
        if again := self._again.pop(key, None):
            self._waiting[key] = again
            self._wake.set()

    def _take(self) -> K | None:
        due = self._due()
        if not due:
            return None
        # There are only hundreds of objects, so a scan is fast enough without a heap.
        key = min(due, key=lambda each: due[each].deadline)
        waiting = self._waiting.pop(key)
        self._working.add(key)
        QUEUE_WAIT.labels(waiting.priority.name.lower()).observe(self._clock() - waiting.due)
        return key

    def _due(self) -> dict[K, _Waiting]:
        now = self._clock()
        return {key: waiting for key, waiting in self._waiting.items() if waiting.due <= now}
