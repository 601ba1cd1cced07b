"""Limits how many objects of a namespace run at once, for clusters without a queue of their own.

An object runs from its first Job to its end or rest. Those that could start wait in line by the priority of their
PriorityClass, then by age; what waits for something else, such as a dependency, holds nobody off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scenewright.api.status import ENDS
from scenewright.reconcile.cache.observation import ObjectKey, ObservedObject

IN_LINE = "TooManyObjects"


@dataclass(frozen=True, eq=False)
class Line:
    """The objects of each namespace that run or could start.

    Attributes:
        freed: called with each object that may start now.
        limits: objects at once by namespace; ``*`` for all others. No limit without an entry.
        priorities: by name of a PriorityClass; 0 for others.
    """

    freed: Callable[[ObjectKey], None]
    limits: Mapping[str, int]
    priorities: Mapping[str, int]
    _running: set[ObjectKey] = field(default_factory=set)
    _ready: dict[ObjectKey, tuple[int, datetime, str]] = field(default_factory=dict)

    def update(self, value: ObservedObject) -> None:
        """Records the current state of an object."""
        if not self.limits:
            return
        key = value.key
        if value.ended or value.deleting or value.rests or value.spec.get("matrix"):
            self.remove(key)
        elif value.status.run and value.phase not in ENDS:
            self.claim(key)
        elif value.suspended or value.waiting not in ("", IN_LINE):
            self._ready.pop(key, None)
            self._tell(key.namespace)
        else:
            priority = self.priorities.get(value.text("scheduling", "priorityClassName"), 0)
            self._ready[key] = -priority, value.created_at, value.uid

    def remove(self, key: ObjectKey) -> None:
        """Removes an object that has ended, rests or is gone."""
        if key in self._running or key in self._ready:
            self._running.discard(key)
            self._ready.pop(key, None)
            self._tell(key.namespace)

    def claim(self, key: ObjectKey) -> None:
        """Counts an object that starts."""
        self._ready.pop(key, None)
        self._running.add(key)

    def release(self, key: ObjectKey) -> None:
        """Takes back the claim of an object that has no run after all."""
        if key in self._running:
            self.remove(key)

    def ahead(self, key: ObjectKey) -> str:
        """Why the object must not start yet; empty if it may."""
        free = self._free(key.namespace)
        ready = self._in_order(key.namespace)
        # What has just ceased to wait for something else comes last until its status says that it is in line.
        place = ready.index(key) if key in self._ready else len(ready)
        if key in self._running or place < free:
            return ""
        limit = self.limits.get(key.namespace, self.limits.get("*"))
        return f"the lab lets {limit} objects of this namespace run at once, and others run or come first"

    def _free(self, namespace: str) -> float:
        """How many more objects of the namespace may run."""
        limit = self.limits.get(namespace, self.limits.get("*"))
        return math.inf if limit is None else limit - sum(key.namespace == namespace for key in self._running)

    def _in_order(self, namespace: str) -> list[ObjectKey]:
        return sorted((key for key in self._ready if key.namespace == namespace), key=self._ready.__getitem__)

    def _tell(self, namespace: str) -> None:
        for place, key in enumerate(self._in_order(namespace)):
            if place < self._free(namespace):
                self.freed(key)
