"""One suite for every kind of store: a folder, and a real S3 server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scenewright_stages.store import (
    ObjectMissing,
    PreconditionFailed,
    Store,
    UnsafeKey,
    open_store,
    split_uri,
)


@pytest.fixture(params=["folder", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh prefix, two levels below whatever holds it."""
    if request.param == "folder":
        return f"file://{tmp_path}/some/prefix"
    bucket = request.getfixturevalue("s3_bucket")
    return f"s3://{bucket}/some/prefix"


@pytest.fixture
def store(uri: str) -> Store:
    return open_store(uri)


def test_what_is_put_is_got_headed_and_listed(store: Store) -> None:
    put = store.put_bytes("a/b.txt", b"content")
    found = store.head("a/b.txt")
    assert found is not None
    assert (found.size, found.etag) == (7, put.etag)
    assert store.get_bytes("a/b.txt") == b"content"
    assert [(entry.key, entry.size, entry.etag) for entry in store.list()] == [("a/b.txt", 7, put.etag)]


def test_files_travel_both_ways(store: Store, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(bytes(range(256)) * 5000)
    put = store.put_file("deep/er/file.bin", source)
    store.get_file("deep/er/file.bin", copy, if_match=put.etag)
    assert copy.read_bytes() == source.read_bytes()
    assert put.size == source.stat().st_size


def test_large_files_arrive_whole(store: Store, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"0123456789abcdef" * (5 << 20))
    assert store.put_file("large", source).size == 80 << 20
    store.get_file("large", copy)
    assert copy.read_bytes() == source.read_bytes()


def test_listing_is_sorted_by_bytes_and_limited_to_the_prefix(store: Store) -> None:
    keys = ["b", "a/z", "a-b", "a/é", "a/b/c", "ab"]
    for key in keys:
        store.put_bytes(key, b"x")
    assert [entry.key for entry in store.list()] == sorted(keys, key=str.encode)
    assert [entry.key for entry in store.list("a/")] == ["a/b/c", "a/z", "a/é"]
    assert [entry.key for entry in store.list("a/b")] == ["a/b/c"]
    assert list(store.list("nothing/")) == []


@pytest.mark.slow
def test_listing_pages_through_many_objects(store: Store) -> None:
    names = [f"n/{index:04d}" for index in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put_bytes(name, b""), names))
    assert [entry.key for entry in store.list("n/")] == names
    store.delete(names)
    assert list(store.list()) == []


def test_a_neighbouring_prefix_is_not_seen(store: Store, uri: str) -> None:
    open_store(uri + "-other").put_bytes("theirs", b"x")
    store.put_bytes("ours", b"x")
    assert [entry.key for entry in store.list()] == ["ours"]


def test_missing_objects(store: Store, tmp_path: Path) -> None:
    assert store.head("none") is None
    assert list(store.list()) == []
    with pytest.raises(ObjectMissing, match="none"):
        store.get_bytes("none")
    with pytest.raises(ObjectMissing):
        store.get_file("none", tmp_path / "copy")
    store.delete(["none", "nor/this"])


def test_overwriting_changes_the_etag_and_the_fingerprint(store: Store) -> None:
    first = store.put_bytes("key", b"one")
    first_print = store.fingerprint(first)
    second = store.put_bytes("key", b"two")
    assert store.get_bytes("key") == b"two"
    assert first.etag != second.etag
    assert first_print != store.fingerprint(second)


def test_equal_content_has_an_equal_fingerprint(store: Store) -> None:
    one, other = store.put_bytes("one", b"same"), store.put_bytes("other", b"same")
    assert store.fingerprint(one) == store.fingerprint(other)


def test_write_if_absent_happens_once(store: Store) -> None:
    store.put_bytes("lock", b"mine", if_absent=True)
    with pytest.raises(PreconditionFailed):
        store.put_bytes("lock", b"theirs", if_absent=True)
    assert store.get_bytes("lock") == b"mine"


def test_write_if_match_needs_the_very_version(store: Store) -> None:
    first = store.put_bytes("lock", b"1")
    second = store.put_bytes("lock", b"2", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        store.put_bytes("lock", b"3", if_match=first.etag)
    store.put_bytes("lock", b"4", if_match=second.etag)
    store.delete(["lock"])
    with pytest.raises(PreconditionFailed):
        store.put_bytes("lock", b"5", if_match=second.etag)


def test_one_of_many_racing_writers_wins(store: Store) -> None:
    def race(number: int) -> bool:
        try:
            store.put_bytes("lock", str(number).encode(), if_absent=True)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(16)))
    assert won.count(True) == 1
    assert store.get_bytes("lock") == str(won.index(True)).encode()


def test_read_if_match_refuses_another_version(store: Store, tmp_path: Path) -> None:
    first = store.put_bytes("key", b"one")
    store.put_bytes("key", b"two!")
    with pytest.raises(PreconditionFailed):
        store.get_file("key", tmp_path / "copy", if_match=first.etag)


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../other", "a/../../b", "a//b", "./a", "a/", "a\nb", "x" * 2000])
def test_keys_cannot_leave_the_prefix(store: Store, tmp_path: Path, key: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    for attempt in (
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_file(key, source),
        lambda: store.get_bytes(key),
        lambda: store.get_file(key, tmp_path / "copy"),
        lambda: store.head(key),
        lambda: store.delete([key]),
    ):
        with pytest.raises(UnsafeKey):
            attempt()


def test_uris_of_objects_lead_back_to_them(store: Store) -> None:
    store.put_bytes("a/odd name #1 é%20.txt", b"here")
    uri = store.uri_of("a/odd name #1 é%20.txt")
    parent, name = split_uri(uri)
    assert name == "odd name #1 é%20.txt"
    assert open_store(parent).get_bytes(name) == b"here"


def test_a_writable_store_says_so_and_keeps_nothing(store: Store) -> None:
    store.check_writable()
    assert list(store.list()) == []
