"""Fills a shared model cache atomically: a set of weights appears completely or not at all, even with several fillers.

Files are fetched into a folder on the cache's volume, flushed to disk, and moved into place by one rename. Then a
marker with the hash of every file is written, and finally the reference by which stages find the weights.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scenewright_stages.backends.runtime.cache.sources import OnProgress, WeightSource
from scenewright_stages.backends.runtime.cache.weights import WeightsStatus, require_weights, weights_status
from scenewright_stages.contract.backends import Weights
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.keys import short_hash
from scenewright_stages.store.interface import hash_file

WORK_PREFIX = ".fetching-"
LOCK_NAME = "lock"
MARKERS = "scenewright"
CACHE_FIELD = "spec.models.cacheClaim"
LITTER_SECONDS = 86_400.0
"""Age at which a filler's folder is removed even if the volume supports no locks; no filler runs that long."""


@dataclass(frozen=True)
class Filled:
    """The result of filling in one set of weights.

    Attributes:
        status: as stages will see it.
        fetched: whether it was fetched now; otherwise it was already present.
    """

    status: WeightsStatus
    fetched: bool


def fill_cache(weights: Weights, cache_dir: Path, source: WeightSource, on_progress: OnProgress) -> Filled:
    """Makes sure that the cache holds the weights. Weights in a named folder are used in place.

    Raises:
        ConfigurationError: access is denied, a source or folder is incomplete, or the cache is full or not writable.
        FetchFailed: the download failed; a retry may succeed.
    """
    status = weights_status(weights, cache_dir)
    if status.state == "present" or weights.location.startswith("file:"):
        return Filled(require_weights(weights, cache_dir), fetched=False)
    with _explained(cache_dir), _workspace(cache_dir) as work:
        files = work / "files"
        files.mkdir()
        commit = source.fetch(weights, files, on_progress)
        hashes = _flushed(files)
        commit = commit or _commit_of(weights, hashes)
        staged = _staged(work, files, weights, commit)
        require_weights(weights, work, commit)
        _move_in(staged, cache_dir, weights, commit, work)
        repository = cache_dir / _repository(weights)
        marker = {"id": weights.id, "revision": weights.revision, "commit": commit, "files": hashes}
        _write(repository / MARKERS / f"{commit}.json", json.dumps(marker, indent=1, sort_keys=True))
        _write(repository / "refs" / weights.revision, commit)
    return Filled(require_weights(weights, cache_dir), fetched=True)


def _repository(weights: Weights) -> str:
    """Folder name in the layout of the Hugging Face cache, so that its own tools can read it."""
    return f"{weights.repository_type}s--{weights.id.replace('/', '--')}"


def _commit_of(weights: Weights, hashes: Mapping[str, object]) -> str:
    """A commit name for a snapshot without one: the revision if it is a commit, else a hash of the contents."""
    revision = weights.revision
    if len(revision) == 40 and all(character in "0123456789abcdef" for character in revision):
        return revision
    return "".join(short_hash([part, dict(hashes)]) for part in range(3))[:40]


def _flushed(folder: Path) -> dict[str, dict[str, object]]:
    """Flushes all files to disk; returns size and hash of each."""
    found: dict[str, dict[str, object]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        _flush(path)
        found[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "hash": hash_file(path)}
    return found


def _staged(work: Path, files: Path, weights: Weights, commit: str) -> Path:
    """The files as a snapshot in a temporary cache, where they can be checked."""
    snapshot = work / _repository(weights) / "snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    files.rename(snapshot)
    return snapshot


def _move_in(staged: Path, cache_dir: Path, weights: Weights, commit: str, work: Path) -> None:
    """Moves the snapshot into the cache, unless another filler was faster; replaces an incomplete snapshot."""
    target = cache_dir / _repository(weights) / "snapshots" / commit
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / LOCK_NAME).open("w") as lock:
        # Without locks on the volume, the renames alone keep every state complete.
        _lock(lock.fileno(), wait=True)
        if weights_status(weights, cache_dir, commit).state == "present":
            return
        if target.exists():
            _keep_others(target, staged)
            target.rename(work / "replaced")
        staged.rename(target)
    _flush(target.parent)


def _keep_others(target: Path, staged: Path) -> None:
    """Keeps the files that other weights of the same repository need."""
    for path in sorted(path for path in target.rglob("*") if path.is_file()):
        own = staged / path.relative_to(target)
        if not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(path.resolve(), own)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _write(path: Path, text: str) -> None:
    """Replaces a small file atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _workspace(cache_dir: Path) -> Iterator[Path]:
    """A folder on the cache's volume, locked while this process lives; folders of dead fillers are removed."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    _remove_partial_downloads(cache_dir)
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=cache_dir))
    with (work / LOCK_NAME).open("w") as lock:
        _lock(lock.fileno())
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _remove_partial_downloads(cache_dir: Path) -> None:
    for folder in cache_dir.glob(f"{WORK_PREFIX}*"):
        if _is_partial(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_partial(folder: Path) -> bool:
    try:
        # A filler that has just created its folder may not have locked it yet.
        age = time.time() - folder.stat().st_mtime
        if age < 60.0:
            return False
        with (folder / LOCK_NAME).open("r+") as lock:
            return _lock(lock.fileno()) or age > LITTER_SECONDS
    except FileNotFoundError:
        return folder.is_dir()
    except OSError:
        return False


def _lock(descriptor: int, *, wait: bool = False) -> bool:
    """Whether the lock was taken; False also on volumes without locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


@contextmanager
def _explained(cache_dir: Path) -> Iterator[None]:
    remedies = {
        errno.ENOSPC: "the volume is full; make it larger, or delete weights that nobody uses",
        errno.EDQUOT: "the volume's quota is used up; raise it, or delete weights that nobody uses",
        errno.EROFS: "the volume is read-only; the models step has to write to it",
        errno.EACCES: "the volume cannot be written by this user; let its group own it (fsGroup)",
    }
    try:
        yield
    except OSError as problem:
        if problem.errno not in remedies:
            raise
        raise ConfigurationError(CACHE_FIELD, str(cache_dir), remedies[problem.errno]) from problem
