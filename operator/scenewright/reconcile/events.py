"""Kubernetes Events on our objects: few, and the same one once, over restarts too."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import OrderedDict
from datetime import UTC, datetime

from scenewright.api.kinds import API_VERSION
from scenewright.reconcile.actions import EmitEvent
from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.resources import EVENTS
from scenewright.reconcile.ending import EndingNamespaces, namespace_ends
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.observation import ObservedObject

logger = logging.getLogger(__name__)

_MOST_PER_OBJECT = 20
_REMEMBERED = 20_000
_MOST_WAITING = 10_000
_LONGEST_MESSAGE = 1000
COMPONENT = "scenewright-operator"


class Events:
    """Posts Events one after another beside the real work; a failure to do so is logged and changes nothing else."""

    def __init__(
        self, client: Client, leadership: Leadership, ending: EndingNamespaces, instance: str, enabled: bool = True
    ) -> None:
        self._client = client
        self._ending = ending
        self._leadership = leadership
        self._instance = instance
        self._enabled = enabled
        self._posted: OrderedDict[str, None] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._bodies: asyncio.Queue[tuple[str, dict[str, object]]] = asyncio.Queue(_MOST_WAITING)

    def post(self, value: ObservedObject, event: EmitEvent) -> None:
        """One Event on the object unless it was posted before, the object has had its share, or too many wait."""
        name = event_name(value, event)
        if not self._enabled or name in self._posted or self._counts.get(value.uid, 0) >= _MOST_PER_OBJECT:
            return
        self._note(name, value.uid)
        with contextlib.suppress(asyncio.QueueFull):
            self._bodies.put_nowait((value.namespace, self._body(name, value, event)))

    async def run(self) -> None:
        """Posts what comes, for ever."""
        while True:
            waiting = await self._bodies.get()
            try:
                await self._send(*waiting)
            except asyncio.CancelledError:
                # Whether it arrived is not known; the API server refuses a second one of that name.
                with contextlib.suppress(asyncio.QueueFull):
                    self._bodies.put_nowait(waiting)
                raise

    async def drain(self, seconds: float) -> None:
        """Posts what still waits, before the lease is given back; tells what could not be posted in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._bodies.empty():
                    await self._send(*self._bodies.get_nowait())
        if not self._bodies.empty():
            logger.warning("%d Events were not posted before the end", self._bodies.qsize())

    async def _send(self, namespace: str, body: dict[str, object]) -> None:
        try:
            self._leadership.check()
            await self._create(namespace, body)
        except NotLeading:
            logger.info("an Event was not posted: this operator leads no more")

    async def _create(self, namespace: str, body: dict[str, object]) -> None:
        try:
            await self._client.create(EVENTS, namespace, body)
        except ApiError as error:
            if error.status != 409:
                logger.info("an Event was not posted: %s", error)
            if namespace_ends(error):
                await self._ending.noticed(namespace)

    def _note(self, name: str, uid: str) -> None:
        self._posted[name] = None
        self._counts[uid] = self._counts.get(uid, 0) + 1
        for cache in (self._posted, self._counts):
            if len(cache) > _REMEMBERED:
                cache.popitem(last=False)

    def _body(self, name: str, value: ObservedObject, event: EmitEvent) -> dict[str, object]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": value.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": value.kind,
                "namespace": value.namespace,
                "name": value.name,
                "uid": value.uid,
                "resourceVersion": value.resource_version,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:_LONGEST_MESSAGE],
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": COMPONENT, "host": self._instance},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }


def event_name(value: ObservedObject, event: EmitEvent) -> str:
    """The same words about the same object have the same name, so that the API server refuses the second."""
    words = "\0".join((value.uid, event.type, event.reason, event.message))
    return f"{value.name[:200]}.{hashlib.blake2b(words.encode(), digest_size=8).hexdigest()}"
