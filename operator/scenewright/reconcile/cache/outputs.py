"""Locks outputs: objects with equal or nested outputs run one at a time, the oldest waiting one first.

An object claims its output just before its first Job is created and keeps it until its run has ended. After a restart
the operator restores claims from ``status.run``. A Job that has not ended keeps its place busy even if its object was
suspended, edited or deleted. Folders that a pipeline reserves for other objects (`Pipeline.hosts`) do not conflict with
the output around them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from scenewright.api.raw import RawJson
from scenewright.api.status import ENDS
from scenewright.execution.jobs import output_place
from scenewright.planning.lab import storage_secret
from scenewright.planning.plan import is_hosted
from scenewright.reconcile.cache.observation import ObjectKey, ObservedJob, ObservedObject
from scenewright_stages.pipelines import installed


@dataclass(frozen=True)
class Place:
    """Where an object or a Job writes.

    Attributes:
        path: a folder and everything in it; empty for nowhere.
        hosts: folders in it, each with a trailing slash, that are reserved for other objects.
    """

    path: str
    hosts: tuple[str, ...] = ()

    def overlaps(self, other: Place) -> bool:
        """Whether one contains the other, outside of folders reserved for other objects."""
        outer, inner = sorted((self, other), key=lambda place: len(place.path))
        return contains(outer.path, inner.path) and not is_hosted(outer.path, inner.path, outer.hosts)


class OutputIndex:
    """Outputs of all objects and Jobs that have not ended.

    Args:
        freed: called with each object that waits for an output when it becomes free.
        defaults: the lab defaults, with the storage of objects that name none.
    """

    def __init__(self, freed: Callable[[ObjectKey], None], defaults: RawJson | None = None) -> None:
        self._freed = freed
        self._defaults = defaults or {}
        self._objects: dict[ObjectKey, Place] = {}
        self._ages: dict[ObjectKey, tuple[datetime, str]] = {}
        self._claims: set[ObjectKey] = set()
        self._blocked: set[ObjectKey] = set()
        self._writers: dict[str, ObservedJob] = {}

    def update(self, value: ObservedObject) -> None:
        """Records the current state of an object."""
        key, place = value.key, self._place_of(value)
        if value.ended or value.deleting or not place.path or value.rests:
            self.remove(key)
            return
        if self._objects.get(key) != place:
            self.remove(key)
            self._objects[key] = place
        self._ages[key] = (value.created_at, value.uid)
        if value.status.run and value.phase not in ENDS:
            self.claim(key)
        if not value.waiting.startswith("Dependency"):
            self._blocked.discard(key)
        elif key not in self._blocked:
            self._blocked.add(key)
            self._notify(place)

    def note_job(self, old: ObservedJob | None, new: ObservedJob | None) -> None:
        """Records that a Job was added, changed or removed."""
        if new is not None and not new.ended and new.output:
            self._writers[new.uid] = new
            return
        job = new or old
        known = self._writers.pop(job.uid, None) if job is not None else None
        if known is not None:
            self._notify(Place(known.output, known.hosts))

    def remove(self, key: ObjectKey) -> None:
        """Removes an object that has ended, rests or is gone."""
        place = self._objects.pop(key, None)
        if place is not None:
            self._ages.pop(key, None)
            self._claims.discard(key)
            self._blocked.discard(key)
            self._notify(place)

    def holder(self, key: ObjectKey) -> ObjectKey | None:
        """The object that `key` must wait for; None when it may claim its output."""
        place = self._objects.get(key)
        if place is None or key in self._claims:
            return None
        others = [job for job in self._writers.values() if job.owner_uid != self._ages[key][1]]
        writing = [job for job in others if place.overlaps(Place(job.output, job.hosts))]
        if writing:
            job = min(writing, key=lambda each: (each.created_at, each.uid))
            return ObjectKey(job.owner_kind, job.namespace, job.owner_name)
        waiting = self._overlapping(place) - {key}
        older = {other for other in waiting - self._blocked if self._ages[other] < self._ages[key]}
        return min((waiting & self._claims) or older, key=self._ages.__getitem__, default=None)

    def claim(self, key: ObjectKey) -> None:
        """Claims the output for the object, unless another object holds it."""
        place = self._objects.get(key)
        if place is not None and not (self._overlapping(place) - {key}) & self._claims:
            self._claims.add(key)

    def release(self, key: ObjectKey) -> None:
        """Gives up the claim of an object that has no run."""
        if key in self._claims:
            self._claims.discard(key)
            self._notify(self._objects[key])

    def _notify(self, place: Place) -> None:
        for key in self._overlapping(place) - self._claims:
            self._freed(key)

    def _overlapping(self, place: Place) -> set[ObjectKey]:
        """All objects whose output overlaps. There are only hundreds of objects, so a scan is fast enough."""
        return {key for key, other in self._objects.items() if place.overlaps(other)}

    def _place_of(self, value: ObservedObject) -> Place:
        """Where an object writes, by the lab defaults that its generation began with, else by today's."""
        kept = value.recorded_defaults if value.is_current else None
        secret = storage_secret(value.spec, self._defaults if kept is None else kept)
        uri = (value.spec.get("output") or {}).get("uri", "")
        return Place(output_place(value.namespace, secret, uri), _hosts(value))


def contains(outer: str, inner: str) -> bool:
    """Whether `inner` equals `outer` or lies in it."""
    return bool(outer) and f"{inner}/".startswith(f"{outer}/")


def _hosts(value: ObservedObject) -> tuple[str, ...]:
    """The folders that the object's pipeline reserves for other objects."""
    of_kind = installed().all().values()
    given = (each for each in of_kind if each.kind == value.kind and value.spec.get(each.name) is not None)
    return next((each.hosts for each in given), ())
