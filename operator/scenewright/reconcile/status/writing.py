"""The only place that writes status: only changes, and mere progress the more seldom the more objects run at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json

from scenewright.api.raw import Json, RawJson
from scenewright.api.status import ACTIVE, Status
from scenewright.kube.client import ApiError, Client
from scenewright.kube.resources import OBJECTS
from scenewright.reconcile.cache.observation import ObservedObject
from scenewright.reconcile.lease import Leadership
from scenewright.telemetry.metrics import STATUS_BYTES, STATUS_WRITES

_PER_SECOND = 2.0
"""Writes of mere progress, of all objects together: what is told of each grows older with their number."""
_LONGEST_PAUSE = 180.0


@dataclass(frozen=True, eq=False)
class StatusWriter:
    """Writes statuses by merge patch, with the observed resource version as precondition.

    Attributes:
        written: called with the raw object after a write.
        seconds: minimum time between an object's last write and one that is not urgent; more with many objects.
    """

    client: Client
    leadership: Leadership
    written: Callable[[Json], None]
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _written_at: dict[str, float] = field(default_factory=dict)
    _active: set[str] = field(default_factory=set)

    async def write(self, value: ObservedObject, status: Status, urgent: bool) -> float | None:
        """Writes the status if it differs from the observed one.

        Returns:
            Seconds until a delayed write is due; None if nothing was delayed.

        Raises:
            ApiError: the write failed; 409 means that the object has changed and must be observed again.
        """
        held = self.progress_due(value.uid)
        if held > 0 and not urgent:
            # Do not compare yet: that costs more than another look when the write is due.
            STATUS_WRITES.labels("held").inc()
            return held
        wanted, patch = Json(), Json()
        if status != value.status:
            wanted = status_document(status)
            patch = merge_patch(status_document(value.status), wanted)
        if not patch:
            STATUS_WRITES.labels("unchanged").inc()
            return None
        await self._patch(value, wanted, patch)
        STATUS_WRITES.labels("written" if urgent else "progress").inc()
        return None

    def progress_due(self, uid: str) -> float:
        """Seconds until mere progress of the object may be written."""
        pause = max(self.seconds, min(_LONGEST_PAUSE, len(self._active) / _PER_SECOND))
        return max(0.0, self._written_at.get(uid, -math.inf) + pause - self.clock())

    def forget(self, uid: str) -> None:
        """Forgets an object that was deleted or has ended."""
        self._written_at.pop(uid, None)
        self._active.discard(uid)

    async def _patch(self, value: ObservedObject, wanted: Json, patch: Json) -> None:
        self.leadership.check()
        metadata = {"uid": value.uid, "resourceVersion": value.resource_version}
        try:
            raw = await self.client.patch(
                OBJECTS[value.kind], value.namespace, value.name, {"metadata": metadata, "status": patch}, "status"
            )
        except ApiError as error:
            STATUS_WRITES.labels({404: "gone", 409: "conflict"}.get(error.status, "error")).inc()
            raise
        STATUS_BYTES.observe(len(to_json(wanted)))
        self._written_at[value.uid] = self.clock()
        (self._active.add if wanted.get("phase") in ACTIVE else self._active.discard)(value.uid)
        self.written(raw)


def status_document(status: Status) -> Json:
    """The status as stored: without empty strings, lists, objects and false values; numbers stay."""
    document: Json = _without_empty(status.model_dump(mode="json", by_alias=True, exclude_none=True))
    return document


def merge_patch(old: RawJson, new: RawJson) -> Json:
    """The JSON merge patch (RFC 7396) from `old` to `new`; empty if they are equal."""
    patch: Json = {name: None for name in old if name not in new}
    for name, value in new.items():
        known = old.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            inner = merge_patch(known, value)
            if inner:
                patch[name] = inner
        elif name not in old or known != value:
            patch[name] = value
    return patch


def _without_empty(value: Any) -> Any:
    # Plain loops for speed: every write compares two statuses.

    if isinstance(value, dict):
        kept = {}
        for name, each in value.items():
            bare = _without_empty(each)
            # Zero is a value. False, which is an int too, is none.
            if bare or type(bare) in (int, float):
                kept[name] = bare
        return kept
    if isinstance(value, list):
        return [_without_empty(each) for each in value]
    return value
