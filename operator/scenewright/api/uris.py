"""Compares places in a storage by their URIs."""

from __future__ import annotations

from posixpath import normpath


def normalised(uri: str) -> str:
    """The URI in canonical form, without ``.``, ``..``, doubled and trailing slashes."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return ""
    # Normalise only the path, so that `..` cannot leave the bucket.
    bucket, _, path = rest.partition("/")
    inside = normpath("/" + path).lstrip("/")
    return f"{scheme.lower()}://{bucket}/{inside}".rstrip("/")


def contains(outer: str, inner: str) -> bool:
    """Whether `inner` equals `outer` or lies in it."""
    return bool(outer) and f"{inner}/".startswith(f"{outer}/")
