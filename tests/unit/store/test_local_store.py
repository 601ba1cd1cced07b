"""What is special about folders: links, atomic writes, litter, and the operating system's refusals."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenewright_stages.store import AccessRefused, StoreError, StoreFull, UnsafeKey, open_store
from scenewright_stages.store.local import TEMPORARY, LocalStore


def test_links_that_lead_out_are_neither_read_nor_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    store = LocalStore(tmp_path / "in")
    store.put_bytes("own", b"x")
    (store.root / "folder").symlink_to(outside)
    (store.root / "file").symlink_to(outside / "secret")
    for attempt in (
        lambda: store.get_bytes("file"),
        lambda: store.get_bytes("folder/secret"),
        lambda: store.put_bytes("folder/new", b"x"),
        lambda: store.delete(["folder/secret"]),
    ):
        with pytest.raises(UnsafeKey, match="leads out"):
            attempt()
    assert (outside / "secret").read_text() == "secret"
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_writing_replaces_a_link_and_leaves_its_target(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    store = LocalStore(tmp_path / "in")
    store.root.mkdir()
    (store.root / "file").symlink_to(target)
    store.put_bytes("file", b"new")
    assert target.read_text() == "old"
    assert store.get_bytes("file") == b"new"


def test_a_link_within_the_folder_is_fine(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("real", b"x")
    (tmp_path / "link").symlink_to("real")
    assert store.get_bytes("link") == b"x"


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EACCES, AccessRefused)]
)
def test_a_failed_write_leaves_the_old_object_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError]
) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("key", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind):
        store.put_bytes("key", b"new and longer")
    assert store.get_bytes("key") == b"old"
    assert not any((tmp_path / TEMPORARY).iterdir())


@pytest.mark.process
def test_a_killed_writer_leaves_nothing_visible_and_its_litter_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from scenewright_stages.store.local import LocalStore\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "LocalStore(Path(sys.argv[1])).put_bytes('key', b'half')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    store = LocalStore(tmp_path)
    assert ended.returncode == -9
    assert list(store.list()) == []
    assert len(list((tmp_path / TEMPORARY).iterdir())) == 1
    store.remove_partial_files()
    assert not any(tmp_path.iterdir())


def test_litter_of_the_living_stays(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with store._temporary() as own:
        own.write_bytes(b"on its way")
        store.remove_partial_files()
        assert own.exists()


def test_deleting_removes_emptied_folders_only(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    for key in ("a/b/one", "a/c/two"):
        store.put_bytes(key, b"x")
    store.delete(["a/b/one"])
    assert not (store.root / "a/b").exists()
    assert store.get_bytes("a/c/two") == b"x"


@pytest.mark.parametrize("make", ["file", "read-only"])
def test_unwritable_places_are_refused_before_anything_is_made(
    tmp_path: Path, make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    if make == "file":
        place.write_text("a file")
    else:
        place.mkdir()
        # Root may write anywhere, so the question itself is answered with no.
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StoreError):
        open_store(f"{place}/below").check_writable()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["place"]


def test_a_full_disk_is_refused_before_anything_is_made(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (1 << 20))
    with pytest.raises(StoreFull):
        open_store(str(small_disk / "out")).check_writable()
    with pytest.raises(StoreFull):
        open_store(str(small_disk / "out")).put_bytes("key", b"x" * 100_000)


@pytest.mark.parametrize("uri", ["ftp://host/x", "file://relative", "s3://"])
def test_other_uris_are_refused_with_what_is_allowed(uri: str) -> None:
    with pytest.raises(StoreError, match=r"use|write"):
        open_store(uri)
