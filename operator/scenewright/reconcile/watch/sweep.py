"""Lists our objects every few minutes, finds changes that the watches missed, and queues every live object."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scenewright.kube.client import REFUSED, ApiError, Client
from scenewright.kube.resources import OBJECTS
from scenewright.reconcile.cache.observation import ObjectKey, ObservedObject
from scenewright.reconcile.cache.projection import skip
from scenewright.reconcile.watch.routing import Router
from scenewright.telemetry.metrics import NAMESPACE_SERVED, SWEEP_DIFFERENCES, SWEEP_TIME

logger = logging.getLogger(__name__)

_SPREAD_SECONDS = 20.0
_RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Sweep:
    """Lists all objects of our kinds and corrects the store.

    Attributes:
        namespaces: to list; ``("",)`` for all.
    """

    client: Client
    router: Router
    namespaces: Sequence[str]
    mean_seconds: float
    beat: Callable[[], None]

    async def fill(self) -> int:
        """Lists everything, waiting for the API server and our CRDs. Returns the number of missed changes.

        A namespace that refuses, for example because it was deleted and its Role with it, does not hold off the
        others: the next sweep asks it again. Only when all refuse are the CRDs or the rights missing, which is waited
        for.
        """
        while True:
            self.beat()
            found = [await self._listed(namespace) for namespace in self.namespaces]
            answered = [count for count in found if count is not None]
            if answered:
                return sum(answered)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listed(self, namespace: str) -> int | None:
        """Lists one namespace, waiting for the API server; None if it refuses."""
        while True:
            self.beat()
            try:
                found = sum([await self._compare(kind, namespace) for kind in OBJECTS])
            except ApiError as error:
                logger.warning("the objects%s could not be listed: %s", f" in {namespace}" if namespace else "", error)
                if error.status in REFUSED:
                    NAMESPACE_SERVED.labels(namespace).set(0)
                    return None
                await asyncio.sleep(error.retry_after or _RETRY_SECONDS)
            else:
                NAMESPACE_SERVED.labels(namespace).set(1)
                return found

    async def run(self) -> None:
        """Sweeps at random intervals around the mean; never returns."""
        while True:
            until = time.monotonic() + self.mean_seconds * random.uniform(0.8, 1.2)
            while (left := until - time.monotonic()) > 0:
                self.beat()
                await asyncio.sleep(min(left, 30.0))
            found = await self.fill()
            if found:
                logger.warning("the sweep found %d objects whose changes had been missed", found)
            self.router.resync(_SPREAD_SECONDS)
            SWEEP_TIME.set_to_current_time()

    async def _compare(self, kind: str, namespace: str) -> int:
        listed: set[ObjectKey] = set()
        version = found = 0
        newest = max((stored.version for stored in self._known(kind, namespace)), default=0)
        async for page in self.client.pages(OBJECTS[kind], namespace):
            version = version or int(page["metadata"]["resourceVersion"])
            # After a restore of etcd from a backup, versions start over and a lower one is current.
            forced = version < newest
            for raw in page.get("items") or ():
                try:
                    metadata = raw["metadata"]
                    key = ObjectKey(kind, metadata["namespace"], metadata["name"])
                    known = self.router.objects.get(key)
                    found += known is None or int(metadata["resourceVersion"]) > known.version
                    listed.add(key)
                except (KeyError, TypeError, ValueError) as error:
                    skip(OBJECTS[kind].plural, raw, error)
                else:
                    self.router.take(kind, None, raw, forced)
        for stored in self._known(kind, namespace):
            if stored.key not in listed and stored.version <= max(version, newest):
                self.router.objects.remove(stored.key, stored.uid)
                found += 1
        SWEEP_DIFFERENCES.labels(OBJECTS[kind].plural).inc(found)
        return found

    def _known(self, kind: str, namespace: str) -> list[ObservedObject]:
        return [each for each in self.router.objects if each.key.kind == kind and namespace in ("", each.key.namespace)]
