"""A store that retries while the one behind it does not answer: an outage of a minute must cost no Pod.

The environment says for how long to retry. Without it nothing is retried, as a person at a terminal expects.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from scenewright_stages.store.errors import StoreUnreachable
from scenewright_stages.store.interface import Store, StoredObject

ENVIRONMENT = "SCENEWRIGHT_STORAGE_PATIENCE"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 5.0

T = TypeVar("T")
_stopped = threading.Event()


def stop_retrying() -> None:
    """From now on nothing is retried: the process must end."""
    _stopped.set()


def with_retries(store: Store) -> Store:
    """The store, retrying for as many seconds as the environment says."""
    seconds = float(os.environ.get(ENVIRONMENT) or 0.0)
    return RetryingStore(store, seconds) if seconds > 0.0 else store


class RetryingStore(Store):
    """Retries what failed because the storage does not answer, until it does or the time is over.

    Args:
        store: the one that may not answer.
        seconds: how long one operation is retried.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds
        self.uri = store.uri

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        last: bytes | None = None
        wait = _Wait(self._seconds)
        while True:
            try:
                for entry in self._store.list(prefix):
                    # Listings are sorted, so one that broke off continues after the last key.
                    position = entry.key.encode(errors="surrogateescape")
                    if last is None or position > last:
                        last = position
                        yield entry
                return
            except StoreUnreachable as problem:
                wait.for_return(problem)

    def head(self, key: str) -> StoredObject | None:
        return self._retried(lambda: self._store.head(key))

    def get_bytes(self, key: str) -> bytes:
        return self._retried(lambda: self._store.get_bytes(key))

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        self._retried(lambda: self._store.get_file(key, path, if_match=if_match))

    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> StoredObject:
        return self._retried(lambda: self._store.put_bytes(key, data, if_absent=if_absent, if_match=if_match))

    def put_file(self, key: str, path: Path) -> StoredObject:
        return self._retried(lambda: self._store.put_file(key, path))

    def delete(self, keys: Iterable[str]) -> None:
        every = tuple(keys)
        self._retried(lambda: self._store.delete(every))

    def fingerprint(self, found: StoredObject) -> str:
        return self._retried(lambda: self._store.fingerprint(found))

    def check_writable(self) -> None:
        self._retried(self._store.check_writable)

    def local_path(self, key: str) -> Path | None:
        return self._store.local_path(key)

    def remove_litter(self) -> None:
        self._retried(self._store.remove_litter)

    def uri_of(self, key: str) -> str:
        return self._store.uri_of(key)

    def _retried(self, operation: Callable[[], T]) -> T:
        wait = _Wait(self._seconds)
        while True:
            try:
                return operation()
            except StoreUnreachable as problem:
                wait.for_return(problem)


class _Wait:
    """The pauses between the tries of one operation."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pause = FIRST_PAUSE_SECONDS
        self._since: float | None = None

    def for_return(self, problem: StoreUnreachable) -> None:
        """Waits a while, or raises the problem when the time is over."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            print(f"{problem}; waiting for it, at most {self._seconds:g} s", file=sys.stderr, flush=True)
        if now - self._since >= self._seconds or _stopped.wait(self._pause):
            raise problem
        self._pause = min(2.0 * self._pause, LONGEST_PAUSE_SECONDS)
