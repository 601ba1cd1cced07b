"""The objects of our kinds as last seen, kept small: spec and status as JSON text, unpacked when they are planned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from scenewright.execution.jobs import output_place
from scenewright.planning.lab import storage_secret
from scenewright.reconcile.decide.memory import asks_again, lab_in_effect
from scenewright.reconcile.observation import ObjectKey, ObservedObject
from scenewright_stages.contract.reports import AWAITING
from scenewright_stages.pipelines import installed

ENDED = ("Complete", "Failed")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object, packed.

    Attributes:
        intent: generation, annotations and deletion: what asks for other work when it changes.
        output: the place that it writes to.
        hosts: folders in it that its pipeline keeps for other objects.
        phase, run, pipeline, observed_generation, suspended, waiting: of its body, for those who look at many.
        publication: hash of what it has published.
        has_inputs: its run uses what other objects have published.
    """

    key: ObjectKey
    uid: str
    version: int
    created_at: datetime
    deleting: bool
    generation: int
    intent: int
    phase: str
    run: str
    pipeline: str
    observed_generation: int
    output: str
    hosts: tuple[str, ...]
    suspended: bool
    asked_again: bool
    waiting: str
    publication: str
    has_inputs: bool
    body: bytes

    @property
    def ended(self) -> bool:
        """Whether it has reached its end and nothing has asked for more since."""
        return self.phase in ENDED and self.observed_generation == self.generation and not self.asked_again

    @property
    def rests(self) -> bool:
        """Whether nothing of it runs or will, until somebody asks: it is suspended, or waits for a person's choice."""
        if self.suspended:
            return self.phase == "Suspended"
        is_asked = self.asked_again or self.observed_generation != self.generation
        return self.waiting == AWAITING and not is_asked

    def unpacked(self) -> ObservedObject:
        """The object as the planner takes it."""
        body: dict[str, Any] = from_json(self.body)
        return ObservedObject(
            kind=self.key.kind,
            namespace=self.key.namespace,
            name=self.key.name,
            uid=self.uid,
            generation=self.generation,
            resource_version=str(self.version),
            created_at=self.created_at,
            deleting=self.deleting,
            **body,
        )


def packed(value: ObservedObject, defaults: Mapping[str, Any] | None = None) -> StoredObject:
    """The object in its small form; `defaults` of the lab tell which storage it uses where it does not say."""
    spec, status = value.spec, value.status
    annotations = dict(value.annotations)
    return StoredObject(
        key=value.key,
        uid=value.uid,
        version=int(value.resource_version),
        created_at=value.created_at,
        deleting=value.deleting,
        generation=value.generation,
        intent=hash((value.generation, value.deleting, tuple(sorted(annotations.items())))),
        phase=status.get("phase", ""),
        run=status.get("run", ""),
        pipeline=status.get("pipeline", ""),
        observed_generation=status.get("observedGeneration", 0),
        output=output_place(
            value.namespace,
            storage_secret(spec, lab_in_effect(value, defaults or {})),
            (spec.get("output") or {}).get("uri", ""),
        ),
        hosts=_hosts(value),
        suspended=bool(spec.get("suspend", False)),
        asked_again=asks_again(value),
        waiting=_waiting_reason(status),
        publication=str((status.get("publication") or {}).get("hash", "")),
        has_inputs=bool(status.get("inputs")),
        body=to_json({"spec": spec, "status": status, "annotations": annotations, "labels": dict(value.labels)}),
    )


class ObjectStore:
    """All objects by key.

    Args:
        changed: called with (old, new) after each change; None stands for absence.
        defaults: of the lab.
    """

    def __init__(
        self,
        changed: Callable[[StoredObject | None, StoredObject | None], None] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._defaults = defaults
        self.changed = changed or (lambda _old, _new: None)
        self._objects: dict[ObjectKey, StoredObject] = {}
        self._keys: dict[str, ObjectKey] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[StoredObject]:
        return iter(list(self._objects.values()))

    def get(self, key: ObjectKey) -> StoredObject | None:
        """The object of that name."""
        return self._objects.get(key)

    def key_of(self, uid: str) -> ObjectKey | None:
        """The key of the object with that uid."""
        return self._keys.get(uid)

    def put(self, value: ObservedObject, forced: bool = False) -> None:
        """Keeps an object unless a newer version of it is there; `forced` when versions have begun anew."""
        old = self._objects.get(value.key)
        known = old.version if old is not None and old.uid == value.uid else -1
        if int(value.resource_version) == known or (int(value.resource_version) < known and not forced):
            return
        new = packed(value, self._defaults)
        self._objects[new.key] = new
        if old is not None and old.uid != new.uid:
            self._keys.pop(old.uid, None)
        self._keys[new.uid] = new.key
        self.changed(old, new)

    def remove(self, key: ObjectKey, uid: str) -> None:
        """Forgets the object, but not its successor of the same name."""
        old = self._objects.get(key)
        if old is None or old.uid != uid:
            return
        del self._objects[key]
        self._keys.pop(uid, None)
        self.changed(old, None)


def _hosts(value: ObservedObject) -> tuple[str, ...]:
    of_kind = installed().all().values()
    given = (each for each in of_kind if each.kind == value.kind and value.spec.get(each.name) is not None)
    return next((each.hosts for each in given), ())


def _waiting_reason(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Waiting" and condition.get("status") == "True":
            return str(condition.get("reason", ""))
    return ""
