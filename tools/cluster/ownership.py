"""A lock file with the one process that may run the whole cluster of a machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from .problems import Unavailable


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Holds the lock on the cluster of `folder` until exit or death of this process.

    Raises:
        Unavailable: another process does.
    """
    file = _lock_file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another cluster runs in {folder}; `make cluster-down` ends it") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


def owner(folder: Path) -> int | None:
    """Id of the process that runs the cluster; None if there is none."""
    file = _lock_file(folder)
    if not file.exists():
        return None
    with file.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None


def _lock_file(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.lock"
