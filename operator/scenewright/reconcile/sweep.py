"""Compares everything every few minutes: what watches have missed is found here, and every live object is planned."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.malformed import skip
from scenewright.reconcile.cluster.resources import OBJECTS
from scenewright.reconcile.objects import ObjectStore, StoredObject
from scenewright.reconcile.observation import ObjectKey
from scenewright.reconcile.routing import Router
from scenewright.telemetry.metrics import SWEEP_DIFFERENCES, SWEEP_TIME

logger = logging.getLogger(__name__)

_SPREAD_SECONDS = 20.0
_RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Sweep:
    """Lists all objects of our kinds and brings the store in line.

    Attributes:
        namespaces: to list; ``("",)`` for all.
        children: checks of the informers (:meth:`Informer.verify`).
    """

    client: Client
    objects: ObjectStore
    router: Router
    namespaces: Sequence[str]
    children: Sequence[Callable[[], Awaitable[None]]]
    mean_seconds: float
    beat: Callable[[], None]
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)

    def soon(self) -> None:
        """Asks for a sweep now."""
        self._wanted.set()

    async def first(self) -> None:
        """Fills the store before anything is planned; waits for the API server and for our resource definitions."""
        while True:
            self.beat()
            try:
                await self._compare()
                return
            except ApiError as error:
                logger.warning("the objects could not be listed yet: %s", error)
                await asyncio.sleep(error.retry_after or _RETRY_SECONDS)

    async def run(self) -> None:
        """Never returns."""
        while True:
            await self._rest()
            try:
                await self._sweep()
            except ApiError as error:
                logger.warning("a sweep was given up and is tried again: %s", error)
                await asyncio.sleep(error.retry_after or _RETRY_SECONDS)
                self.soon()

    async def _sweep(self) -> None:
        found = await self._compare()
        if found:
            logger.warning("the sweep found %d objects whose changes had been missed", found)
        for verify in self.children:
            await verify()
        self.router.resync(_SPREAD_SECONDS)
        SWEEP_TIME.set_to_current_time()

    async def _rest(self) -> None:
        until = time.monotonic() + self.mean_seconds * random.uniform(0.8, 1.2)
        while (left := until - time.monotonic()) > 0 and not self._wanted.is_set():
            self.beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 30.0)):
                    await self._wanted.wait()
        self._wanted.clear()

    async def _compare(self) -> int:
        found = 0
        for kind in OBJECTS:
            for namespace in self.namespaces:
                found += await self._compare_kind(kind, namespace)
        return found

    async def _compare_kind(self, kind: str, namespace: str) -> int:
        listed: set[ObjectKey] = set()
        version = found = 0
        newest = max((stored.version for stored in self._known(kind, namespace)), default=0)
        async for page in self.client.pages(OBJECTS[kind], namespace):
            version = version or int(page["metadata"]["resourceVersion"])
            # After a restore from a backup versions begin anew and older ones are the truth.
            forced = version < newest
            for raw in page.get("items") or ():
                try:
                    metadata = raw["metadata"]
                    key = ObjectKey(kind, metadata["namespace"], metadata["name"])
                    known = self.objects.get(key)
                    found += known is None or int(metadata["resourceVersion"]) > known.version
                    listed.add(key)
                except (KeyError, TypeError, ValueError) as error:
                    skip(OBJECTS[kind].plural, raw, error)
                else:
                    self.router.take(kind, None, raw, forced)
        found += self._remove_missing(kind, namespace, listed, max(version, newest))
        SWEEP_DIFFERENCES.labels(OBJECTS[kind].plural).inc(found)
        return found

    def _known(self, kind: str, namespace: str) -> list[StoredObject]:
        return [each for each in self.objects if each.key.kind == kind and namespace in ("", each.key.namespace)]

    def _remove_missing(self, kind: str, namespace: str, listed: set[ObjectKey], version: int) -> int:
        gone = [
            stored for stored in self._known(kind, namespace) if stored.key not in listed and stored.version <= version
        ]
        for stored in gone:
            self.objects.remove(stored.key, stored.uid)
        return len(gone)
