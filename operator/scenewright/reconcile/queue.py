"""A work queue of object keys: no key twice, none worked on by two at once, finishing work before starting work.

A key is taken in the order of its deadline: the time at which it was due plus its priority's allowance. So urgent work
goes first, and no flood of urgent work keeps the rest waiting for ever.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from scenewright.telemetry.metrics import QUEUE_DEPTH, QUEUE_OLDEST, QUEUE_WAIT

K = TypeVar("K")


class Priority(IntEnum):
    """What is at stake; smaller goes first."""

    FINISHING = 0
    RUNNING = 1
    STARTING = 2


_ALLOWANCE = {Priority.FINISHING: 0.0, Priority.RUNNING: 2.0, Priority.STARTING: 10.0}
_FIRST_RETRY = 0.2
_LONGEST_RETRY = 60.0


@dataclass
class _Waiting:
    """One queued key; `due` and `priority` as of the most urgent request for it."""

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
        self._later: list[tuple[float, int, K]] = []
        self._ready: list[tuple[float, int, K]] = []
        self._working: set[K] = set()
        self._again: dict[K, _Waiting] = {}
        self._failures: dict[K, int] = {}
        self._serial = 0
        self._wake = asyncio.Event()
        QUEUE_DEPTH.set_function(lambda: len(self._ready))
        QUEUE_OLDEST.set_function(self._oldest)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._again)

    def add(self, key: K, priority: Priority = Priority.RUNNING, delay: float = 0.0) -> None:
        """Asks for work on a key after a delay; the earliest and most urgent of several requests counts."""
        wanted = _Waiting(self._clock() + delay, priority)
        if key in self._working:
            self._again[key] = _merged(self._again.get(key), wanted)
            return
        known = self._waiting.get(key)
        merged = _merged(known, wanted)
        if merged != known:
            self._put(key, merged)

    async def get(self, patience: float = 10.0) -> K | None:
        """The most urgent key that is due; None when nothing was due for `patience` seconds."""
        until = self._clock() + patience
        while True:
            key = self._take()
            if key is not None:
                return key
            now = self._clock()
            if now >= until:
                return None
            self._wake.clear()
            due = self._later[0][0] if self._later else until
            await _wait(self._wake, min(due, until) - now)

    def done(self, key: K) -> None:
        """Ends the work on a key; requests that came meanwhile are queued now."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: K, retry_after: float | None = None) -> float:
        """Ends the work on a key without success and queues it again; returns after how many seconds."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        longest = min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(count, 12))
        delay = max(retry_after or 0.0, random.uniform(longest / 2, longest))
        # Requests that came meanwhile must not defeat the backoff.
        self._again.pop(key, None)
        self._release(key)
        self.add(key, Priority.RUNNING, delay)
        return delay

    def forget(self, key: K) -> None:
        """Drops a key that is gone."""
        self._failures.pop(key, None)
        self._again.pop(key, None)

    def _release(self, key: K) -> None:
        self._working.discard(key)
        again = self._again.pop(key, None)
        if again is not None:
            self._put(key, again)

    def _put(self, key: K, waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        self._serial += 1
        if waiting.due <= self._clock():
            heapq.heappush(self._ready, (waiting.deadline, self._serial, key))
        else:
            heapq.heappush(self._later, (waiting.due, self._serial, key))
        self._wake.set()

    def _take(self) -> K | None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, serial, key = heapq.heappop(self._later)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.due == due:
                heapq.heappush(self._ready, (waiting.deadline, serial, key))
        while self._ready:
            deadline, _, key = heapq.heappop(self._ready)
            waiting = self._waiting.get(key)
            # An entry that was replaced by a more urgent one is left in the heap until it comes up.
            if waiting is None or waiting.deadline != deadline:
                continue
            del self._waiting[key]
            self._working.add(key)
            QUEUE_WAIT.labels(waiting.priority.name.lower()).observe(max(0.0, now - waiting.due))
            if self._ready or self._later:
                self._wake.set()
            return key
        return None

    def _oldest(self) -> float:
        now = self._clock()
        return max((now - waiting.due for waiting in self._waiting.values() if waiting.due <= now), default=0.0)


def _merged(known: _Waiting | None, wanted: _Waiting) -> _Waiting:
    if known is None:
        return wanted
    return _Waiting(min(known.due, wanted.due), min(known.priority, wanted.priority))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        pass
