"""A folder as a store."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from scenewright_stages.contract.layout import ROOT
from scenewright_stages.store.errors import (
    AccessRefused,
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreFull,
    UnsafeKey,
)
from scenewright_stages.store.interface import Store, StoredObject, checked_key, hash_file

TEMPORARY = f"{ROOT}/tmp"
LITTER_SECONDS = 3600.0


class LocalStore(Store):
    """Objects are files below a folder. A write goes to a temporary file, which is synced and renamed into place.

    Temporary files live in ``.scenewright/tmp`` of the folder: on the same file system the rename is atomic, so no
    reader ever sees a partial file, even after a power cut.

    Args:
        root: absolute path of the folder; the first write creates it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = "file://" + quote(str(self.root))
        self._real_root = os.path.realpath(self.root)
        self._mutex = threading.Lock()

    def uri_of(self, key: str) -> str:
        return f"{self.uri}/{quote(key)}" if key else self.uri

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        start = self.root / prefix.rpartition("/")[0]
        with _explained(self.uri_of(prefix)):
            found = [key for key in self._files_below(start) if key.startswith(prefix)]
        for key in sorted(found, key=os.fsencode):
            stored = self._described(key)
            if stored is not None:
                yield stored

    def _files_below(self, start: Path) -> Iterator[str]:
        def refuse(problem: OSError) -> None:
            if problem.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise problem

        for folder, _, names in os.walk(start, onerror=refuse):
            relative = os.path.relpath(folder, self.root)
            below = "" if relative == "." else relative + "/"
            if below.startswith(TEMPORARY + "/"):
                continue
            for name in names:
                yield below + name

    def head(self, key: str) -> StoredObject | None:
        self._readable(key)
        return self._described(key)

    def _described(self, key: str) -> StoredObject | None:
        try:
            status = (self.root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
        return StoredObject(key, status.st_size, etag, status.st_mtime_ns / 1e9)

    def get_bytes(self, key: str) -> bytes:
        with _explained(self.uri_of(key)):
            return self._readable(key).read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        with _explained(self.uri_of(key)), self._readable(key).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def folders(self, prefix: str = "", most: int = 1000) -> tuple[str, ...]:
        with _explained(self.uri_of(prefix)):
            try:
                found = sorted(each.name for each in os.scandir(self.root / prefix) if each.is_dir())
            except FileNotFoundError:
                return ()
        return tuple(found[:most])

    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        source = self._readable(key)
        if if_match is not None:
            found = self.head(key)
            if found is None or found.etag != if_match:
                raise PreconditionFailed(self.uri_of(key))
        with _explained(self.uri_of(key)):
            shutil.copyfile(source, path)

    def local_path(self, key: str) -> Path | None:
        return self._readable(key)

    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> StoredObject:
        def write(temporary: Path) -> None:
            temporary.write_bytes(data)

        if if_absent or if_match is not None:
            return self._put_conditionally(key, write, if_match)
        return self._put(key, write)

    def put_file(self, key: str, path: Path) -> StoredObject:
        return self._put(key, lambda temporary: shutil.copyfile(path, temporary))

    def _put(self, key: str, write: Callable[[Path], object]) -> StoredObject:
        target = self._writable(key)
        with _explained(self.uri_of(key)), self._temporary() as temporary:
            write(temporary)
            _sync(temporary)
            _rename(temporary, target)
        stored = self._described(key)
        if stored is None:
            raise ObjectMissing(self.uri_of(key))
        return stored

    def _put_conditionally(self, key: str, write: Callable[[Path], object], if_match: str | None) -> StoredObject:
        with _explained(self.uri_of(key)), self._exclusively():
            current = self.head(key)
            if (current.etag if current else None) != if_match:
                raise PreconditionFailed(self.uri_of(key))
            return self._put(key, write)

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._writable(key)
            with _explained(self.uri_of(key)):
                path.unlink(missing_ok=True)
                self._remove_empty_folders(path.parent)

    def _remove_empty_folders(self, folder: Path) -> None:
        while folder != self.root and self.root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def fingerprint(self, found: StoredObject) -> str:
        with _explained(self.uri_of(found.key)):
            return hash_file(self._readable(found.key))

    def check_writable(self) -> None:
        """Checks the nearest existing folder only, so that a refused job leaves no trace."""
        folder = next(path for path in (self.root, *self.root.parents) if path.exists() or path.is_symlink())
        with _explained(self.uri):
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
            if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
                raise PermissionError(errno.EACCES, f"{folder} is not writable")
            if os.statvfs(folder).f_bavail == 0:
                raise OSError(errno.ENOSPC, "no space")

    def remove_partial_files(self) -> None:
        folder = self.root / TEMPORARY
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if _abandoned(path):
                path.unlink(missing_ok=True)
        self._remove_empty_folders(folder)

    def _readable(self, key: str) -> Path:
        path = self.root / checked_key(self.uri, key)
        self._refuse_outside(key, os.path.realpath(path))
        return path

    def _writable(self, key: str) -> Path:
        path = self.root / checked_key(self.uri, key)
        self._refuse_outside(key, os.path.realpath(path.parent))
        return path

    def _refuse_outside(self, key: str, real: str) -> None:
        if real != self._real_root and not real.startswith(self._real_root.rstrip("/") + "/"):
            raise UnsafeKey(self.uri_of(key), f"a link leads out of the folder, to {real}")

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self._writable(f"{TEMPORARY}/file").parent
        path = folder / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        """Excludes other threads by a mutex and other processes by an advisory lock on the folder."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self._mutex:
            descriptor = os.open(self.root, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _rename(temporary: Path, target: Path) -> None:
    """Renames, retrying if a concurrent delete has just removed the empty target folder."""
    for last_try in (False, True):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.replace(target)
            return
        except FileNotFoundError:
            if last_try:
                raise


def _abandoned(path: Path) -> bool:
    """Whether the writer of a temporary file is dead, as far as this host can tell."""
    host, _, rest = path.name.rpartition("-")[0].rpartition("-")
    if host == socket.gethostname() and rest.isdigit():
        return not Path(f"/proc/{rest}").exists()
    return time.time() - path.stat().st_mtime > LITTER_SECONDS


def linked_folder(paths: Mapping[str, Path], folder: Path) -> Path:
    """A folder with exactly these files by name; files that lie elsewhere are linked into it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        place = folder / name
        if path != place and not place.is_symlink():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    return folder


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise _store_error(uri, problem) from problem


def _store_error(uri: str, problem: OSError) -> StoreError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(uri)
    if problem.errno == errno.ENOENT:
        return ObjectMissing(uri)
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessRefused(
            uri, problem.strerror or "not permitted", "give this user the permission, or choose another folder"
        )
    return StoreError(uri, problem.strerror or str(problem), "check the folder and its file system")
