"""Who writes where: objects with equal or nested outputs run one at a time, the oldest of those that wait first.

An object that has begun keeps its output until it ends, whatever older object comes to life meanwhile; so a claim is
made at the moment in which the planner is told that the output is free.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from posixpath import normpath

from scenewright.reconcile.objects import StoredObject
from scenewright.reconcile.observation import ObjectKey

_BEGUN = ("Indexing", "Running", "Publishing")


class OutputIndex:
    """Outputs of all objects that have not ended.

    Args:
        freed: called with the objects that wait for an output when it becomes free.
    """

    def __init__(self, freed: Callable[[ObjectKey], None] | None = None) -> None:
        self.freed = freed or (lambda _key: None)
        self._ages: dict[ObjectKey, tuple[datetime, str]] = {}
        self._uris: dict[ObjectKey, str] = {}
        self._at: defaultdict[str, set[ObjectKey]] = defaultdict(set)
        self._below: defaultdict[str, set[ObjectKey]] = defaultdict(set)
        self._claims: set[ObjectKey] = set()

    def update(self, stored: StoredObject) -> None:
        """Takes note of an object as it is now."""
        key, uri = stored.key, normalised(stored.output_uri)
        if stored.ended or stored.deleting or not uri or _rests(stored):
            self.remove(key)
            return
        if self._uris.get(key) != uri:
            self.remove(key)
            self._uris[key] = uri
            self._at[uri].add(key)
            for ancestor in ancestors(uri):
                self._below[ancestor].add(key)
        self._ages[key] = (stored.created_at, stored.uid)
        if stored.phase in _BEGUN and not self._overlapping_claim(key):
            self._claims.add(key)

    def remove(self, key: ObjectKey) -> None:
        """An object has ended, rests or is gone: its output is free."""
        uri = self._uris.pop(key, None)
        if uri is None:
            return
        self._ages.pop(key, None)
        _discard(self._at, uri, key)
        for ancestor in ancestors(uri):
            _discard(self._below, ancestor, key)
        self._claims.discard(key)
        for other in self._overlapping(uri):
            self.freed(other)

    def holder(self, key: ObjectKey) -> ObjectKey | None:
        """The object that `key` must wait for; None makes the output its own until it ends."""
        uri = self._uris.get(key)
        if uri is None or key in self._claims:
            return None
        others = self._overlapping(uri) - {key}
        claimed = others & self._claims
        if claimed:
            return min(claimed, key=self._age)
        older = [other for other in others if self._age(other) < self._age(key)]
        if older:
            return min(older, key=self._age)
        self._claims.add(key)
        return None

    def _overlapping_claim(self, key: ObjectKey) -> bool:
        return bool((self._overlapping(self._uris[key]) - {key}) & self._claims)

    def _overlapping(self, uri: str) -> set[ObjectKey]:
        found = self._at.get(uri, set()) | self._below.get(uri, set())
        for ancestor in ancestors(uri):
            found = found | self._at.get(ancestor, set())
        return found

    def _age(self, key: ObjectKey) -> tuple[datetime, str]:
        return self._ages[key]


def normalised(uri: str) -> str:
    """The URI without doubled and trailing slashes and dots; equal places give equal text."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return ""
    # The first segment is a bucket, of which normpath knows nothing, so `..` cannot leave it.
    bucket, _, path = rest.partition("/")
    inside = normpath("/" + path).lstrip("/")
    return f"{scheme.lower()}://{bucket}/{inside}".rstrip("/")


def ancestors(uri: str) -> list[str]:
    """Every place that the normalised URI lies in, without itself."""
    scheme, _, rest = uri.partition("://")
    parts = rest.split("/")
    return [f"{scheme}://{'/'.join(parts[:length])}" for length in range(1, len(parts))]


def _rests(stored: StoredObject) -> bool:
    """Suspended, and its Jobs are gone: it does not keep others from their output."""
    return stored.suspended and stored.phase == "Suspended"


def _discard(index: defaultdict[str, set[ObjectKey]], uri: str, key: ObjectKey) -> None:
    keys = index.get(uri)
    if keys is not None:
        keys.discard(key)
        if not keys:
            del index[uri]
