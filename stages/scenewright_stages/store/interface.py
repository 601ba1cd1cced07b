"""One small interface for object stores and folders, with what all of them share: valid keys and content hashes.

Hashes are 128-bit blake2b, written as 32 hexadecimal digits.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scenewright_stages.store.errors import UnsafeKey

DIGEST_BYTES = 16
BLOCK_BYTES = 1 << 20
MAXIMUM_KEY_BYTES = 1024
"""Of S3, and below the path limit of common file systems."""


def hash_bytes(data: bytes) -> str:
    """Hash of the bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def hash_file(path: Path) -> str:
    """Hash of a file's content; raises OSError."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def checked_key(uri: str, key: str) -> str:
    """Returns the key if it is valid and stays below its prefix.

    Raises:
        UnsafeKey: it is empty, absolute or too long, or has an empty, ``.`` or ``..`` part or a control character.
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


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing.

    Attributes:
        key: below the store's prefix, with forward slashes.
        size: in bytes.
        etag: changes whenever the object is written; opaque, for conditional writes.
        modified: seconds since the epoch.
    """

    key: str
    size: int
    etag: str
    modified: float = 0.0


class Store(ABC):
    """Objects below one prefix. Every write is atomic: readers see the old object or the new one, never a part.

    All methods raise :class:`~scenewright_stages.store.errors.StoreError` or a subclass, such as
    :class:`~scenewright_stages.store.errors.UnsafeKey` for a key that could leave the prefix. Thread-safe.
    """

    uri: str
    """Of the prefix, without a trailing slash."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, sorted by the key's UTF-8 bytes."""

    @abstractmethod
    def head(self, key: str) -> StoredObject | None:
        """An object's metadata, or None if it does not exist."""

    @abstractmethod
    def get_bytes(self, key: str) -> bytes:
        """The whole content; ObjectMissing if the object does not exist."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`; empty beyond the end."""
        return self.get_bytes(key)[start : start + length]

    def folders(self, prefix: str = "", most: int = 1000) -> tuple[str, ...]:
        """Names of the folders directly below a prefix, which is empty or ends in a slash; at most `most`, sorted."""
        below = (found.key[len(prefix) :] for found in self.list(prefix))
        return tuple(sorted({key.partition("/")[0] for key in below if "/" in key})[:most])

    @abstractmethod
    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        """Copies the content to a new local file; PreconditionFailed if the ETag is not `if_match`."""

    @abstractmethod
    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> StoredObject:
        """Writes an object.

        Args:
            key: of the object.
            data: the content.
            if_absent: raise PreconditionFailed if the object already exists.
            if_match: raise PreconditionFailed unless the object exists with this ETag.
        """

    @abstractmethod
    def put_file(self, key: str, path: Path) -> StoredObject:
        """Writes an object from a local file."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; ignores those that do not exist."""

    @abstractmethod
    def fingerprint(self, found: StoredObject) -> str:
        """Identifies the content: its hash in a folder, the ETag in an object store."""

    @abstractmethod
    def check_writable(self) -> None:
        """Checks that objects can be written; leaves nothing behind."""

    def local_path(self, key: str) -> Path | None:
        """Path at which the content can be read without copying, or None if it must be fetched."""
        return None

    def remove_partial_files(self) -> None:  # noqa: B027 - only folders can hold half-written files
        """Removes temporary files of killed writers; call it only while no other process writes."""

    def uri_of(self, key: str) -> str:
        """Full URI of an object."""
        return f"{self.uri}/{key}" if key else self.uri
