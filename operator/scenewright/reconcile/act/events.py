"""Posts Kubernetes Events on our objects: few of them, and each only once, even across restarts."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from scenewright.api.names import API_VERSION
from scenewright.kube.client import ApiError, Client
from scenewright.kube.resources import EVENTS
from scenewright.reconcile.act.deletion import EndingNamespaces, namespace_ends
from scenewright.reconcile.cache.observation import ObservedObject
from scenewright.reconcile.decide.actions import EmitEvent
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright_stages.contract.reports import cut

logger = logging.getLogger(__name__)

_MOST_PER_OBJECT = 20
_MOST_WAITING = 10_000
_LONGEST_MESSAGE = 1000
COMPONENT = "scenewright-operator"


@dataclass(eq=False)
class Events:
    """Posts Events one by one in the background. Failures are only logged."""

    client: Client
    leadership: Leadership
    ending: EndingNamespaces
    instance: str
    enabled: bool = True

    def __post_init__(self) -> None:
        self._posted: defaultdict[str, set[str]] = defaultdict(set)
        self._bodies: asyncio.Queue[tuple[str, dict[str, object]]] = asyncio.Queue(_MOST_WAITING)

    def post(self, value: ObservedObject, event: EmitEvent) -> None:
        """Queues an Event unless it is a repeat, the object has had its share, or the queue is full."""
        name, posted = event_name(value, event), self._posted[value.uid]
        if not self.enabled or name in posted or len(posted) >= _MOST_PER_OBJECT:
            return
        posted.add(name)
        with contextlib.suppress(asyncio.QueueFull):
            self._bodies.put_nowait((value.namespace, self._body(name, value, event)))

    def forget(self, uid: str) -> None:
        """Forgets a deleted or ended object. The API server still refuses a second Event of the same name."""
        self._posted.pop(uid, None)

    async def run(self) -> None:
        """Posts waiting Events; never returns."""
        while True:
            body = await self._bodies.get()
            try:
                await self._send(*body)
            except asyncio.CancelledError:
                # It may have arrived; then the API server refuses the repeat, which has the same name.
                with contextlib.suppress(asyncio.QueueFull):
                    self._bodies.put_nowait(body)
                raise

    async def drain(self, seconds: float) -> None:
        """Posts waiting Events before the lease is released; logs how many were not posted in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._bodies.empty():
                    await self._send(*self._bodies.get_nowait())
        if not self._bodies.empty():
            logger.warning("%d Events were not posted before the end", self._bodies.qsize())

    async def _send(self, namespace: str, body: dict[str, object]) -> None:
        try:
            self.leadership.check()
            await self.client.create(EVENTS, namespace, body)
        except NotLeading:
            logger.info("an Event was not posted: this operator is no longer the leader")
        except ApiError as error:
            if error.status != 409:
                logger.info("an Event was not posted: %s", error)
            if namespace_ends(error):
                await self.ending.noticed(namespace)

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
            "message": cut(event.message, _LONGEST_MESSAGE),
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": COMPONENT, "host": self.instance},
            "reportingComponent": COMPONENT,
            "reportingInstance": self.instance,
        }


def event_name(value: ObservedObject, event: EmitEvent) -> str:
    """A name from the content, so that the API server refuses the same Event on the same object twice."""
    words = "\0".join((value.uid, event.type, event.reason, event.message))
    return f"{value.name[:200]}.{hashlib.blake2b(words.encode(), digest_size=8).hexdigest()}"
