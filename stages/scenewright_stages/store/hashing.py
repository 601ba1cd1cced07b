"""Content hashes: blake2b with 128 bits, as 32 hexadecimal digits."""

from __future__ import annotations

import hashlib
from pathlib import Path

DIGEST_BYTES = 16
BLOCK_BYTES = 1 << 20


def hash_bytes(data: bytes) -> str:
    """Hash of the bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def hash_file(path: Path) -> str:
    """Hash of a file's content, read in blocks; raises OSError."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()
