"""The small interface behind which object stores and folders look the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


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

    All methods raise :class:`~scenewright_stages.store.errors.StoreError` or one of its subclasses; a key that could
    leave the prefix is :class:`~scenewright_stages.store.errors.UnsafeKey`. Instances may be used from many threads.
    """

    uri: str
    """Of the prefix, without a trailing slash."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose key starts with `prefix`, sorted by the key's UTF-8 bytes."""

    @abstractmethod
    def head(self, key: str) -> StoredObject | None:
        """What is known of an object, or None when it does not exist."""

    @abstractmethod
    def get_bytes(self, key: str) -> bytes:
        """The whole content; ObjectMissing when there is none."""

    @abstractmethod
    def get_file(self, key: str, path: Path, *, if_match: str | None = None) -> None:
        """Copies the content to a new local file; PreconditionFailed when the ETag is not `if_match`."""

    @abstractmethod
    def put_bytes(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> StoredObject:
        """Writes an object.

        Args:
            key: where.
            data: the content.
            if_absent: PreconditionFailed when the object already exists.
            if_match: PreconditionFailed when the object's ETag is another one, or it does not exist.
        """

    @abstractmethod
    def put_file(self, key: str, path: Path) -> StoredObject:
        """Writes an object from a local file."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; those that do not exist are passed over."""

    @abstractmethod
    def fingerprint(self, found: StoredObject) -> str:
        """Identifies the content: a hash of it in a folder, the ETag in an object store."""

    @abstractmethod
    def check_writable(self) -> None:
        """Proves by a small write that objects can be written; leaves nothing behind."""

    def local_path(self, key: str) -> Path | None:
        """Where the content can be read without copying, or None when it has to be fetched."""
        return None

    def remove_litter(self) -> None:  # noqa: B027 - only folders can hold half-written files
        """Removes what killed writers left behind; call it only while no other process writes."""

    def uri_of(self, key: str) -> str:
        """Full URI of an object."""
        return f"{self.uri}/{key}" if key else self.uri
