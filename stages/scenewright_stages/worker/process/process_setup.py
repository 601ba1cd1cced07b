"""Process setup before anything reads the environment: memory allocator, kernel cache, certificates, scratch folder."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

COMPILED_ENVIRONMENT = "SCENEWRIGHT_KERNEL_CACHE"
"""Folder of the image with CPU kernels that were compiled when it was built."""
CACHE_ENVIRONMENT = "NUMBA_CACHE_DIR"
AUTHORITY_ENVIRONMENT = "AWS_CA_BUNDLE"
_PEM = "-----BEGIN CERTIFICATE-----"
KEPT_BYTES = 512 << 20
"""Freed memory that a process keeps for its next arrays."""
HEAP_ARRAY_BYTES = 32 << 20
"""Larger arrays come from the kernel and go back to it; more the C library does not allow."""
PREFIX = "scenewright-"
"""Begins the names of scratch folders."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""As ``malloc.h`` of the GNU C library numbers them."""


def reuse_memory() -> None:
    """Makes all threads share one heap that keeps freed memory. Call it before starting threads.

    By default the C library returns arrays of a few MB to the kernel, which must clear the pages of the next one. That
    costs a fifth of the time of a stage that processes images in two threads. Does nothing without the GNU C library.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(_TRIM_THRESHOLD, KEPT_BYTES)
        adjust(_MMAP_THRESHOLD, HEAP_ARRAY_BYTES)
        adjust(_ARENA_MAX, 1)


def prepare_environment(environment: MutableMapping[str, str], scratch: Path) -> None:
    """Fills the kernel cache from the image, and writes certificates given as text to a file.

    Args:
        environment: of this process; updated with the new paths.
        scratch: folder of this process.
    """
    _seed_kernels(environment)
    _write_authority(environment, scratch)


def _seed_kernels(environment: MutableMapping[str, str]) -> None:
    """Copies the kernels: numba writes to the folder it reads from, but the image's folder is read-only."""
    compiled, cache = environment.get(COMPILED_ENVIRONMENT), environment.get(CACHE_ENVIRONMENT)
    if not compiled or not cache or not Path(compiled).is_dir() or Path(cache).exists():
        return
    try:
        shutil.copytree(compiled, cache, copy_function=shutil.copyfile)
    except OSError as problem:
        # Missing kernels are simply compiled.
        print(f"compiled kernels could not be copied: {problem}", flush=True)


def _write_authority(environment: MutableMapping[str, str], scratch: Path) -> None:
    """Writes the certificates to a file: a Secret holds their text, but boto3 needs a path."""
    text = environment.get(AUTHORITY_ENVIRONMENT, "")
    if _PEM in text:
        path = scratch / "storage-authorities.pem"
        path.write_text(text)
        environment[AUTHORITY_ENVIRONMENT] = str(path)


def make_scratch(parent: Path) -> Path:
    """A new folder for this process below `parent`; removes those of processes that are gone."""
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        # Another starting process may remove it first.
        with contextlib.suppress(FileNotFoundError):
            if owner.isdigit() and not Path(f"/proc/{owner}").exists() and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
