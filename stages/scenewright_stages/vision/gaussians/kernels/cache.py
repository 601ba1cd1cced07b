"""Invalidates numba's cache when any kernel source changes.

Numba recompiles a cached function if its own source file changes, but not if a function or constant imported from
another file does, so an update could keep running old code. The cache therefore stores a digest of all kernel sources,
and is emptied when they have changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

_STAMP = "sources.digest"


def discard_stale(cache: Path, sources: Path) -> bool:
    """Deletes the compiled functions in `cache` unless they were compiled from the *.py files in `sources`.

    Returns:
        Whether the cache was emptied. A read-only cache is left unchanged; numba cannot write it either, so it stays as
        installed.
    """
    digest = sources_digest(sources)
    stamp = cache / _STAMP
    with contextlib.suppress(OSError):
        if stamp.read_text() == digest:
            return False
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        for compiled in [*cache.glob("*.nbi"), *cache.glob("*.nbc")]:
            compiled.unlink(missing_ok=True)
        _write(stamp, digest)
        return True
    return False


def sources_digest(sources: Path) -> str:
    """Hexadecimal digest of the names and contents of the folder's Python files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(sources.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    """Replaces the file atomically, so that another process never reads a partial one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
