"""Lists and watches one resource by label and keeps its projections in a store.

Survives dropped watches, 410 Gone, 429, 5xx and outages of any length. A new list removes what has been deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic_core import from_json

from scenewright.api.raw import Json
from scenewright.kube.client import REFUSED, ApiError, Client
from scenewright.kube.resources import Resource
from scenewright.reconcile.cache.observation import Owned
from scenewright.reconcile.cache.projection import read, skip
from scenewright.reconcile.cache.store import Name, Store
from scenewright.telemetry.metrics import WATCH_AGE, WATCH_RELISTS

logger = logging.getLogger(__name__)
T = TypeVar("T", bound=Owned)

_SILENCE_SECONDS = 100.0
"""Bookmarks arrive about once a minute; a watch that is silent for this long is dead."""
_LONGEST_BACKOFF = 30.0
_FAILURES_UNTIL_LIST = 3
"""List again after this many failed watches in a row: the server may not know our resource version."""


class Expired(Exception):  # noqa: N818 - a state, not an error
    """The watch cannot resume from its resource version; the message says why."""


@dataclass(eq=False)
class Informer(Generic[T]):
    """Keeps one store up to date with one resource, in one namespace or in all.

    Attributes:
        project: builds the projection of a raw object; None if the object is not ours.
        beat: called as the loop's heartbeat.
        synced: the store has the resource; False before the first list.
        answered: set once the first list was there or was refused.
    """

    client: Client
    resource: Resource
    store: Store[T]
    project: Callable[[Json], T | None]
    selector: str
    namespace: str = ""
    beat: Callable[[], None] = lambda: None
    synced: bool = field(default=False, init=False)
    answered: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def __post_init__(self) -> None:
        self._version = self._failures = 0
        self._heard_at = time.monotonic()
        WATCH_AGE.labels(self.resource.plural, self.namespace).set_function(lambda: time.monotonic() - self._heard_at)

    async def run(self) -> None:
        """Never returns; cancel it."""
        reason = "start"
        while True:
            self.beat()
            try:
                if reason:
                    await self._list(reason)
                    reason = ""
                await self._watch()
                self._failures = 0
            except Expired as ended:
                reason = str(ended)
            except ApiError as error:
                reason = reason or self._reason_after(error)
                await self._pause(error)

    async def _list(self, reason: str) -> None:
        WATCH_RELISTS.labels(self.resource.plural, reason).inc()
        names: set[Name] = set()
        version, forced = 0, False
        async for page in self.client.pages(self.resource, self.namespace, labelSelector=self.selector):
            if not version:
                version = int(page["metadata"]["resourceVersion"])
                # After a restore of etcd from a backup, versions start over and a lower one is current.
                forced = version < self._version
            for raw in page.get("items") or ():
                with self._skipping(raw):
                    names.add(self._put(raw, forced))
            self._note_event()
        self.store.keep_only(names, self.namespace, self.store.newest() if forced else version)
        self._version = version
        self.synced = True
        self.answered.set()

    async def _watch(self) -> None:
        lines = self.client.watch(
            self.resource,
            self.namespace,
            _SILENCE_SECONDS,
            labelSelector=self.selector,
            resourceVersion=str(self._version),
            allowWatchBookmarks="true",
            timeoutSeconds=str(random.randint(240, 360)),
        )
        async for line in lines:
            self._failures = 0
            self._note_event()
            with self._skipping(line):
                self._take(from_json(line))

    def _take(self, event: Json) -> None:
        raw = event["object"]
        if event["type"] == "ERROR":
            code = int(raw.get("code", 0))
            raise Expired("expired") if code == 410 else ApiError(code, raw.get("reason", ""), raw.get("message", ""))
        if event["type"] == "DELETED":
            metadata = raw["metadata"]
            self.store.remove(metadata["namespace"], metadata["name"], metadata["uid"])
        elif event["type"] != "BOOKMARK":
            self._put(raw, forced=False)
        self._version = int(raw["metadata"]["resourceVersion"])

    def _put(self, raw: Json, forced: bool) -> Name:
        metadata = raw["metadata"]
        name, version = (metadata["namespace"], metadata["name"]), int(metadata["resourceVersion"])
        projected = read(self.project, raw, self.resource.plural)
        if projected is None:
            self.store.remove(*name)
        else:
            self.store.put(projected, version, forced)
        return name

    @contextlib.contextmanager
    def _skipping(self, content: object) -> Iterator[None]:
        """Skips an object or event that cannot be read."""
        try:
            yield
        except (Expired, ApiError):
            raise
        except Exception as error:
            skip(self.resource.plural, content, error)

    def _note_event(self) -> None:
        self._heard_at = time.monotonic()
        self.beat()

    def _reason_after(self, error: ApiError) -> str:
        self._failures += 1
        if error.status == 410:
            return "expired"
        return "failures" if self._failures >= _FAILURES_UNTIL_LIST else ""

    async def _pause(self, error: ApiError) -> None:
        if error.status in REFUSED:
            self.answered.set()
        longest = min(_LONGEST_BACKOFF, 0.25 * 2 ** min(self._failures, 8))
        seconds = max(error.retry_after or 0.0, random.uniform(longest / 2, longest))
        level = logging.INFO if error.passing else logging.WARNING
        logger.log(level, "watch of %s: %s; again in %.1f s", self.resource.plural, error, seconds)
        await asyncio.sleep(seconds)
