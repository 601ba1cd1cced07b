"""Opens the store that a URI names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from scenewright_stages.store.errors import StoreError
from scenewright_stages.store.interface import Store
from scenewright_stages.store.local import LocalStore
from scenewright_stages.store.retrying import with_retries

SCHEMES = "file:///absolute/path, a plain path, or s3://bucket/prefix"


def open_store(uri: str) -> Store:
    """The store below a URI: ``file:///abs``, a plain path, or ``s3://bucket/prefix``.

    Does not contact or create anything yet.

    Raises:
        StoreError: the URI has another scheme.
    """
    scheme, found, rest = uri.partition("://")
    if not found:
        return LocalStore(Path(uri).absolute())
    if scheme == "file":
        return LocalStore(_local_path(uri, rest))
    if scheme == "s3":
        # boto3 takes half a second to import; local jobs do not need it.
        from scenewright_stages.store.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return with_retries(S3Store(bucket, prefix.strip("/")))
    raise StoreError(uri, f"the scheme {scheme!r} is not supported", f"use {SCHEMES}")


def split_uri(uri: str) -> tuple[str, str]:
    """The URI of an object's parent folder or prefix, and the object's last path component (empty for a bucket)."""
    trimmed = uri.rstrip("/")
    if trimmed.startswith("s3://") and trimmed.count("/") == 2:
        return trimmed, ""
    parent, slash, name = trimmed.rpartition("/")
    if trimmed.startswith("file://"):
        return parent or "file:///", unquote(name)
    if not slash:
        return ".", name
    return parent or "/", name


def _local_path(uri: str, rest: str) -> Path:
    path = unquote(rest.removeprefix("localhost"))
    if not path.startswith("/"):
        raise StoreError(uri, "a file URI needs an absolute path", f"use {SCHEMES}")
    return Path(path)
