"""Keeps numba's cache honest.

Numba recompiles a cached function when its own source file changes, but not when a function or constant
that it took from another file does: an update could go on using old code. So the cache carries a digest of
all kernel sources, and is emptied when they have changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

_STAMP = "sources.digest"


def discard_stale(cache: Path, sources: Path) -> bool:
    """Delete the compiled functions in `cache` unless they were made from the *.py files in `sources`.

    Returns:
        Whether anything had to go. A cache that cannot be written is left alone: numba cannot write it
        either, so whoever installed it keeps it.
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
    """Replace the file at once, so that another process never reads half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
