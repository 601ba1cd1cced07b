"""A store that retries while the underlying store is unreachable, so that a short outage does not kill Pods.

An environment variable sets for how long; without it nothing is retried, as a user at a terminal expects.
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
    """Disables retries from now on, because the process must end."""
    _stopped.set()


def waits_for_storage() -> bool:
    """Whether this process waits for the storage, as Pods do and a user at a terminal does not expect."""
    return float(os.environ.get(ENVIRONMENT) or 0.0) > 0.0


def with_retries(store: Store) -> Store:
    """The store, with retries for as many seconds as the environment allows."""
    return RetryingStore(store, float(os.environ[ENVIRONMENT])) if waits_for_storage() else store


class RetryingStore(Store):
    """Retries operations while the storage is unreachable, up to a time limit.

    Args:
        store: the underlying store.
        seconds: time limit per operation.
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
                    # Listings are sorted, so an interrupted one resumes after its last key.
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

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._retried(lambda: self._store.get_range(key, start, length))

    def folders(self, prefix: str = "", most: int = 1000) -> tuple[str, ...]:
        return self._retried(lambda: self._store.folders(prefix, most))

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

    def remove_partial_files(self) -> None:
        self._retried(self._store.remove_partial_files)

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
    """The pauses between the attempts of one operation."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pause = FIRST_PAUSE_SECONDS
        self._since: float | None = None

    def for_return(self, problem: StoreUnreachable) -> None:
        """Waits before the next attempt, or raises the problem if the time is over."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            print(f"{problem}; waiting for it, at most {self._seconds:g} s", file=sys.stderr, flush=True)
        if now - self._since >= self._seconds or _stopped.wait(self._pause):
            raise problem
        self._pause = min(2.0 * self._pause, LONGEST_PAUSE_SECONDS)
