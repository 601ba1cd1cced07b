"""Keys of objects: which strings may be one."""

from __future__ import annotations

from scenewright_stages.store.errors import UnsafeKey

MAXIMUM_KEY_BYTES = 1024
"""Of S3, and below the path limit of common file systems."""


def checked_key(uri: str, key: str) -> str:
    """The key itself, if it cannot leave its prefix.

    Raises:
        UnsafeKey: it is empty, absolute, too long, or has an empty, ``.`` or ``..`` part or a control character.
    """
    if not key or key.startswith("/"):
        raise UnsafeKey(f"{uri}/{key}", "a key must be a relative path")
    if len(key.encode(errors="surrogateescape")) > MAXIMUM_KEY_BYTES:
        raise UnsafeKey(f"{uri}/{key[:60]}...", f"a key has at most {MAXIMUM_KEY_BYTES} bytes")
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise UnsafeKey(f"{uri}/{key}", "a key must not contain empty, '.' or '..' parts")
    if any(ord(character) < 32 for character in key):
        raise UnsafeKey(f"{uri}/{key!r}", "a key must not contain control characters")
    return key
