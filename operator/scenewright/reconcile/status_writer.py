"""The one place that writes status: when something changed, at most every few seconds for mere progress, bounded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json

from scenewright.api.status import Status
from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.resources import OBJECTS
from scenewright.reconcile.lease import Leadership
from scenewright.reconcile.observation import ObservedObject
from scenewright.telemetry.metrics import STATUS_BYTES, STATUS_WRITES

logger = logging.getLogger(__name__)

MAXIMUM_STATUS_BYTES = 32 * 1024


class StatusTooLargeError(Exception):
    """A status exceeds 32 KiB: a bound of the model is missing."""


class StatusWriter:
    """Writes statuses by merge patch with the version that was observed.

    Args:
        written: called with the raw object after a write.
        hold_seconds: least time between two writes that are not urgent.
    """

    def __init__(
        self,
        client: Client,
        leadership: Leadership,
        written: Callable[[dict[str, Any]], None],
        hold_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._leadership = leadership
        self._written = written
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._written_at: dict[str, float] = {}

    async def write(self, value: ObservedObject, status: Status, urgent: bool) -> float | None:
        """Writes the status if it differs from what is there.

        Returns:
            After how many seconds a held status is due, None when none is held.

        Raises:
            ApiError: the write failed; 409 means that the object has changed and is to be observed again.
        """
        wanted = status_document(status)
        # The API server fills what we leave out with the schema's empty defaults, which are no difference.
        patch = merge_patch(_without_empty(value.status), wanted)
        if not patch:
            STATUS_WRITES.labels("unchanged").inc()
            return None
        due = self._written_at.get(value.uid, -self._hold_seconds) + self._hold_seconds - self._clock()
        if not urgent and due > 0:
            STATUS_WRITES.labels("held").inc()
            return due
        await self._patch(value, wanted, patch)
        return None

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._written_at.pop(uid, None)

    async def _patch(self, value: ObservedObject, wanted: dict[str, Any], patch: dict[str, Any]) -> None:
        size = len(to_json(wanted))
        if size > MAXIMUM_STATUS_BYTES:
            raise StatusTooLargeError(f"the status of {value.key} has {size} bytes")
        self._leadership.check()
        metadata = {"uid": value.uid, "resourceVersion": value.resource_version}
        try:
            raw = await self._client.patch(
                OBJECTS[value.kind], value.namespace, value.name, {"metadata": metadata, "status": patch}, "status"
            )
        except ApiError as error:
            STATUS_WRITES.labels({404: "gone", 409: "conflict"}.get(error.status, "error")).inc()
            raise
        STATUS_WRITES.labels("written").inc()
        STATUS_BYTES.observe(size)
        self._written_at[value.uid] = self._clock()
        self._written(raw)


def status_document(status: Status) -> dict[str, Any]:
    """The status as it is stored: empty texts and lists and what does not hold are left out, numbers stay."""
    document: dict[str, Any] = _without_empty(status.model_dump(mode="json", by_alias=True, exclude_none=True))
    return document


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7396) that makes `new` of `old`; empty when they are equal."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
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
    if isinstance(value, Mapping):
        kept = {name: _without_empty(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if not _is_empty(each)}
    if isinstance(value, list):
        return [_without_empty(each) for each in value]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})
