"""Locks outputs: objects with equal or nested outputs run one at a time, the oldest waiting one first.

An object claims its output just before its first Job is created and keeps it until its run has ended. After a restart
the operator restores claims from ``status.run``. A Job that has not ended keeps its place busy even if its object was
suspended, edited or deleted: the place is the one that the operator recorded in the object's status, never what the
Job says about itself. Folders that a pipeline reserves for other objects (`Pipeline.hosts`) do not conflict with the
output around them.

Between namespaces only what runs holds others off: a Job that is not suspended, or one that is being created. What
waits for a quota, a queue or its turn holds off only objects of its own namespace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from scenewright.api.raw import RawJson
from scenewright.api.status import ENDS
from scenewright.api.uris import contains
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


NOWHERE = Place("")


class OutputIndex:
    """Outputs of all objects and Jobs that have not ended.

    Args:
        freed: called with each object that waits for an output when it becomes free, the oldest first.
        defaults: the lab defaults, with the storage of objects that name none.
    """

    def __init__(self, freed: Callable[[ObjectKey], None], defaults: RawJson | None = None) -> None:
        self._freed = freed
        self._defaults = defaults or {}
        self._objects: dict[ObjectKey, Place] = {}
        self._ages: dict[ObjectKey, tuple[datetime, str]] = {}
        self._claims: set[ObjectKey] = set()
        self._blocked: set[ObjectKey] = set()
        self._idle: set[ObjectKey] = set()
        self._writers: dict[str, ObservedJob] = {}
        # By uid of the object; kept until the Jobs of a deleted object are gone.
        self._recorded: dict[str, tuple[ObjectKey, Place]] = {}
        self._deleted: set[str] = set()

    def update(self, value: ObservedObject) -> None:
        """Records the current state of an object."""
        key, place = value.key, self._place_of(value)
        writing = value.status.writing
        if writing.place:
            self._recorded[value.uid] = key, Place(writing.place, tuple(writing.hosts))
        elif value.status.run and not value.status.plan_only:
            # The run began under an earlier version, which did not record it.
            self._recorded.setdefault(value.uid, (key, place))
        if value.ended or value.deleting or not place.path or value.rests:
            self.remove(key)
            return
        if self._objects.get(key) != place:
            self.remove(key)
            self._objects[key] = place
        self._ages[key] = (value.created_at, value.uid)
        if value.status.run and value.phase not in ENDS:
            self.claim(key)
        self._note(self._idle, key, place, value.phase == "Waiting")
        self._note(self._blocked, key, place, value.waiting.startswith("Dependency"))

    def note_job(self, old: ObservedJob | None, new: ObservedJob | None) -> None:
        """Records that a Job was added, changed or removed."""
        if new is not None and not new.ended:
            self._writers[new.uid] = new
            if old is not None and new.suspended and not old.suspended:
                self._notify(self._writes(new))
            return
        job = new or old
        known = self._writers.pop(job.uid, None) if job is not None else None
        if known is not None:
            place = self._writes(known)
            self._drop_deleted(known.owner_uid)
            self._notify(place)

    def remove(self, key: ObjectKey) -> None:
        """Removes an object that has ended or rests; its Jobs may still write."""
        place = self._objects.pop(key, None)
        if place is not None:
            self._ages.pop(key, None)
            for marks in (self._claims, self._blocked, self._idle):
                marks.discard(key)
            self._notify(place)

    def forget(self, key: ObjectKey, uid: str) -> None:
        """Removes an object that is gone, once its Jobs are gone too."""
        self.remove(key)
        self._deleted.add(uid)
        self._drop_deleted(uid)

    def holder(self, key: ObjectKey) -> ObjectKey | None:
        """The object that `key` must wait for; None when it may claim its output."""
        place = self._objects.get(key)
        if place is None or key in self._claims:
            return None
        writing = self._writing(key, place)
        if writing:
            return self._recorded[min(writing, key=lambda job: (job.created_at, job.uid)).owner_uid][0]
        waiting = {other for other in self._overlapping(place) - {key} if other.namespace == key.namespace}
        older = {other for other in waiting - self._blocked if self._ages[other] < self._ages[key]}
        return min(self._claimed(key, place) or older, key=self._ages.__getitem__, default=None)

    def claim(self, key: ObjectKey) -> None:
        """Claims the output for the object, unless another object holds it."""
        place = self._objects.get(key)
        if place is not None and not self._claimed(key, place):
            self._claims.add(key)
            # Its Jobs may appear before its status says where they write.
            self._recorded.setdefault(self._ages[key][1], (key, place))

    def release(self, key: ObjectKey) -> None:
        """Gives up the claim of an object that has no run."""
        if key in self._claims:
            self._claims.discard(key)
            self._notify(self._objects[key])

    def _writing(self, key: ObjectKey, place: Place) -> list[ObservedJob]:
        """The live Jobs of other objects that write to the place."""
        own = self._ages[key][1]
        return [
            job
            for job in self._writers.values()
            if job.owner_uid != own
            and place.overlaps(self._writes(job))
            and (job.namespace == key.namespace or not job.suspended)
        ]

    def _claimed(self, key: ObjectKey, place: Place) -> set[ObjectKey]:
        """Other objects that have claimed an overlapping place: of another namespace only those that do not wait."""
        others = (self._overlapping(place) - {key}) & self._claims
        return {other for other in others if other.namespace == key.namespace or other not in self._idle}

    def _writes(self, job: ObservedJob) -> Place:
        """Where a Job writes; nowhere if no object that the operator has started owns it."""
        key, place = self._recorded.get(job.owner_uid, (None, NOWHERE))
        return place if key is not None and key.namespace == job.namespace else NOWHERE

    def _drop_deleted(self, uid: str) -> None:
        if uid in self._deleted and not any(job.owner_uid == uid for job in self._writers.values()):
            self._deleted.discard(uid)
            self._recorded.pop(uid, None)

    def _note(self, marks: set[ObjectKey], key: ObjectKey, place: Place, holds: bool) -> None:
        """Marks the object. Tells those that wait for it when it stops holding them off."""
        if not holds:
            marks.discard(key)
        elif key not in marks:
            marks.add(key)
            self._notify(place)

    def _notify(self, place: Place) -> None:
        for key in sorted(self._overlapping(place) - self._claims, key=self._ages.__getitem__):
            self._freed(key)

    def _overlapping(self, place: Place) -> set[ObjectKey]:
        """All objects whose output overlaps. There are only hundreds of objects, so a scan is fast enough."""
        return {key for key, other in self._objects.items() if place.overlaps(other)}

    def _place_of(self, value: ObservedObject) -> Place:
        """Where an object writes, by the lab defaults that its generation began with, else by today's."""
        kept = value.recorded_defaults if value.is_current else None
        secret = storage_secret(value.spec, self._defaults if kept is None else kept)
        if value.spec.get("matrix"):
            # Its children write, each to a folder of its own.
            return NOWHERE
        return Place(output_place(value.namespace, secret, value.text("output", "uri")), _hosts(value))


def _hosts(value: ObservedObject) -> tuple[str, ...]:
    """The folders that the object's pipeline reserves for other objects."""
    of_kind = installed().all().values()
    given = (each for each in of_kind if each.kind == value.kind and value.spec.get(each.name) is not None)
    return next((each.hosts for each in given), ())
