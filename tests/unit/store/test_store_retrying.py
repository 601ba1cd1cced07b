"""Storage that does not answer for a while: operations are retried where the environment asks for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scenewright_stages.store import ObjectMissing, StoredObject, StoreUnreachable, open_store, retrying
from scenewright_stages.store.local import LocalStore
from scenewright_stages.store.retrying import RetryingStore, stop_retrying, with_retries
from scenewright_stages.store.s3 import S3Store


class Flaky(LocalStore):
    """A folder that does not answer as often as it is told to."""

    def __init__(self, root: Path, failures: int) -> None:
        super().__init__(root)
        self.failures, self.asked = failures, 0

    def _ask(self) -> None:
        self.asked += 1
        if self.asked <= self.failures:
            raise StoreUnreachable(self.uri, "the endpoint does not answer", "wait")

    def put_bytes(self, key: str, data: bytes, **conditions: Any) -> StoredObject:
        self._ask()
        return super().put_bytes(key, data, **conditions)

    def get_bytes(self, key: str) -> bytes:
        self._ask()
        return super().get_bytes(key)


class BreakingList(LocalStore):
    """Its listing breaks off once in the middle."""

    broken = False

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for position, entry in enumerate(super().list(prefix)):
            if position == 2 and not self.broken:
                self.broken = True
                raise StoreUnreachable(self.uri, "the connection broke", "wait")
            yield entry


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(retrying, "_stopped", threading.Event())


def test_an_outage_within_the_time_is_not_noticed(tmp_path: Path) -> None:
    store = RetryingStore(Flaky(tmp_path, 5), 30.0)
    store.put_bytes("a", b"content")
    assert store.get_bytes("a") == b"content"


def test_an_outage_beyond_the_time_is_raised(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(StoreUnreachable):
        RetryingStore(Flaky(tmp_path, 10**9), 0.1).put_bytes("a", b"")
    assert 0.1 <= time.monotonic() - began < 5.0


@pytest.mark.parametrize("ask", [lambda store: store.get_bytes("missing"), lambda store: store.put_bytes("../x", b"")])
def test_other_problems_are_raised_at_once(tmp_path: Path, ask: Callable[[RetryingStore], Any]) -> None:
    flaky = Flaky(tmp_path, 0)
    with pytest.raises(Exception, match=r"missing|must not"):
        ask(RetryingStore(flaky, 30.0))
    assert flaky.asked == 1


def test_who_must_end_waits_no_more(tmp_path: Path) -> None:
    store = RetryingStore(Flaky(tmp_path, 10**9), 60.0)
    threading.Timer(0.1, stop_retrying).start()
    began = time.monotonic()
    with pytest.raises(StoreUnreachable):
        store.put_bytes("a", b"")
    assert time.monotonic() - began < 10.0


def test_a_listing_that_broke_off_continues_where_it_was(tmp_path: Path) -> None:
    inner = BreakingList(tmp_path)
    for name in "edcba":
        inner.put_bytes(name, b"x")
    assert [entry.key for entry in RetryingStore(inner, 30.0).list()] == list("abcde")
    assert inner.broken


def test_everything_else_is_the_stores_own(tmp_path: Path) -> None:
    inner = LocalStore(tmp_path)
    store = RetryingStore(inner, 30.0)
    put = store.put_bytes("a/b", b"content")
    assert store.head("a/b") == put and store.uri == inner.uri and store.uri_of("x") == inner.uri_of("x")
    assert store.local_path("a/b") == inner.local_path("a/b") and store.fingerprint(put) == inner.fingerprint(put)
    store.get_file("a/b", tmp_path / "copy")
    store.put_file("c", tmp_path / "copy")
    store.delete(["a/b"])
    store.check_writable()
    store.remove_partial_files()
    assert store.head("a/b") is None and store.get_bytes("c") == b"content"
    with pytest.raises(ObjectMissing):
        store.get_bytes("a/b")


def test_only_where_the_environment_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = LocalStore(tmp_path)
    monkeypatch.delenv("SCENEWRIGHT_STORAGE_PATIENCE", raising=False)
    assert with_retries(inner) is inner and isinstance(open_store("s3://bucket/prefix"), S3Store)
    monkeypatch.setenv("SCENEWRIGHT_STORAGE_PATIENCE", "300")
    assert isinstance(with_retries(inner), RetryingStore) and isinstance(
        open_store("s3://bucket/prefix"), RetryingStore
    )
