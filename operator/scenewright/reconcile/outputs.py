"""Who writes where: objects with equal or nested outputs run one at a time, the oldest waiting one first.

Folders that a pipeline keeps for other objects (`Pipeline.hosts`) are the exception: what publishes there shares
nothing with the output around it.

An object claims its output just before its first Job is created and keeps it until its run has ended. After a restart
the operator restores claims from ``status.run``. A Job that has not ended keeps its place busy even if its object was
suspended, edited or deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from scenewright.planning.plan import is_hosted
from scenewright.reconcile.objects import ENDED, StoredObject
from scenewright.reconcile.observation import ObjectKey, ObservedJob

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where something writes.

    Attributes:
        path: with all that lies in it; empty for nowhere.
        hosts: folders in it, each with a trailing slash, in which other objects may publish.
    """

    path: str
    hosts: tuple[str, ...] = ()

    def overlaps(self, other: Place) -> bool:
        """Whether two places of which one lies in the other have anything in common."""
        outer, inner = sorted((self, other), key=lambda place: len(place.path))
        return not is_hosted(outer.path, inner.path, outer.hosts)


NOWHERE = Place("")


class Places(Generic[T]):
    """Items by the place that each of them has."""

    def __init__(self) -> None:
        self._places: dict[T, Place] = {}
        self._at: defaultdict[str, set[T]] = defaultdict(set)
        self._below: defaultdict[str, set[T]] = defaultdict(set)

    def of(self, item: T) -> Place:
        """The place of an item."""
        return self._places.get(item, NOWHERE)

    def put(self, item: T, place: Place) -> None:
        """Gives an item that has no place one."""
        self._places[item] = place
        self._at[place.path].add(item)
        for ancestor in ancestors(place.path):
            self._below[ancestor].add(item)

    def remove(self, item: T) -> Place:
        """Removes an item; returns its place."""
        place = self._places.pop(item, NOWHERE)
        if place.path:
            _discard(self._at, place.path, item)
            for ancestor in ancestors(place.path):
                _discard(self._below, ancestor, item)
        return place

    def overlapping(self, place: Place) -> set[T]:
        """Items at the place, inside it or around it, but for folders that are kept for others."""
        found = self._at.get(place.path, set()) | self._below.get(place.path, set())
        for ancestor in ancestors(place.path):
            found = found | self._at.get(ancestor, set())
        return {item for item in found if place.overlaps(self._places[item])}


class OutputIndex:
    """Outputs of all objects that have not ended, and of all Jobs that have not.

    Args:
        freed: called with the objects that wait for an output when it becomes free.
    """

    def __init__(self, freed: Callable[[ObjectKey], None] | None = None) -> None:
        self.freed = freed or (lambda _key: None)
        self._objects: Places[ObjectKey] = Places()
        self._ages: dict[ObjectKey, tuple[datetime, str]] = {}
        self._claims: set[ObjectKey] = set()
        self._blocked: set[ObjectKey] = set()
        self._jobs: Places[str] = Places()
        self._writers: dict[str, ObservedJob] = {}

    def update(self, stored: StoredObject) -> None:
        """Takes note of an object as it is now."""
        key, place = stored.key, Place(stored.output, stored.hosts)
        if stored.ended or stored.deleting or not place.path or stored.rests:
            self.remove(key)
            return
        if self._objects.of(key) != place:
            self.remove(key)
            self._objects.put(key, place)
        self._ages[key] = (stored.created_at, stored.uid)
        if stored.run and stored.phase not in ENDED:
            self.claim(key)
        if not stored.waiting.startswith("Dependency"):
            self._blocked.discard(key)
        elif key not in self._blocked:
            self._blocked.add(key)
            self._tell(place)

    def note_job(self, old: ObservedJob | None, new: ObservedJob | None) -> None:
        """A Job has come, changed or gone."""
        if new is not None and not new.ended and new.output:
            if new.uid not in self._writers:
                self._jobs.put(new.uid, Place(new.output, new.hosts))
            self._writers[new.uid] = new
            return
        job = new or old
        if job is not None and self._writers.pop(job.uid, None) is not None:
            self._tell(self._jobs.remove(job.uid))

    def remove(self, key: ObjectKey) -> None:
        """An object has ended, rests or is gone: it wants its output no longer."""
        place = self._objects.remove(key)
        if place.path:
            self._ages.pop(key, None)
            self._claims.discard(key)
            self._blocked.discard(key)
            self._tell(place)

    def holder(self, key: ObjectKey) -> ObjectKey | None:
        """The object that `key` must wait for; None when it may claim its output."""
        place = self._objects.of(key)
        if not place.path or key in self._claims:
            return None
        writers = [self._writers[uid] for uid in self._jobs.overlapping(place)]
        writing = [job for job in writers if job.owner_uid != self._ages[key][1]]
        if writing:
            job = min(writing, key=lambda each: (each.created_at, each.uid))
            return ObjectKey(job.owner_kind, job.namespace, job.owner_name)
        others = self._objects.overlapping(place) - {key}
        older = {other for other in others - self._blocked if self._ages[other] < self._ages[key]}
        return min((others & self._claims) or older, key=self._ages.__getitem__, default=None)

    def claim(self, key: ObjectKey) -> None:
        """Claims the output for the object, unless another object holds it."""
        place = self._objects.of(key)
        if place.path and not (self._objects.overlapping(place) - {key}) & self._claims:
            self._claims.add(key)

    def release(self, key: ObjectKey) -> None:
        """Gives up the claim of an object that has no run."""
        if key in self._claims:
            self._claims.discard(key)
            self._tell(self._objects.of(key))

    def _tell(self, place: Place) -> None:
        for key in self._objects.overlapping(place):
            if key not in self._claims:
                self.freed(key)


def ancestors(place: str) -> list[str]:
    """Every place that this one lies in, without itself."""
    scheme, _, rest = place.partition("://")
    parts = rest.split("/")
    return [f"{scheme}://{'/'.join(parts[:length])}" for length in range(1, len(parts))]


def _discard(index: defaultdict[str, set[T]], place: str, item: T) -> None:
    items = index.get(place)
    if items is not None:
        items.discard(item)
        if not items:
            del index[place]
