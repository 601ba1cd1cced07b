"""The lease: at most one operator acts, and one that cannot renew stops acting before another may begin."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.resources import LEASES
from scenewright.reconcile.settings import LeaseSettings
from scenewright.telemetry.metrics import LEADER

logger = logging.getLogger(__name__)

_SAFETY = 0.8
"""Part of the lease's duration for which we act after a renewal; the rest covers requests that are under way."""


class NotLeading(Exception):  # noqa: N818 - a state, not an error
    """This process must not act now."""


class Leadership:
    """Takes and renews one Lease.

    Whether another's lease has run out is judged by our own clock from when we saw it change, never by comparing the
    clocks of two machines.
    """

    def __init__(
        self,
        client: Client,
        settings: LeaseSettings,
        identity: str,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._settings = settings
        self._identity = identity
        self._beat = beat
        self._clock = clock
        self._until = 0.0
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0
        LEADER.set_function(lambda: float(self.leads))

    @property
    def leads(self) -> bool:
        """Whether we may act at this moment."""
        return not self._settings.enabled or self._clock() < self._until

    def check(self) -> None:
        """Raises NotLeading unless we may act at this moment."""
        if not self.leads:
            raise NotLeading

    async def acquire(self) -> None:
        """Returns once we lead."""
        while not self.leads:
            await self._round()
            if not self.leads:
                await asyncio.sleep(self._interval())

    async def keep(self) -> None:
        """Renews for ever; ends when another has taken the lease, with which our knowledge is no longer the newest.

        Raises:
            NotLeading: another operator leads.
        """
        while self._settings.enabled:
            await asyncio.sleep(self._interval())
            await self._round()
            if not self.leads and self._seen[0] not in ("", self._identity):
                raise NotLeading

    async def release(self) -> None:
        """Lets the next one in at once."""
        if not self._settings.enabled or not self.leads:
            return
        try:
            lease = await self._client.get(LEASES, self._settings.namespace, self._settings.name)
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._client.update(LEASES, self._settings.namespace, self._settings.name, lease)
        except ApiError as error:
            logger.info("the lease was not released: %s", error)
        self._until = 0.0

    async def _round(self) -> None:
        self._beat()
        began = self._clock()
        try:
            if await self._taken():
                self._until = began + self._settings.seconds * _SAFETY
        except ApiError as error:
            logger.warning("the lease could not be renewed: %s", error)

    async def _taken(self) -> bool:
        """Writes the lease if it is ours, free or run out; a conflict means that somebody else did."""
        try:
            lease = await self._client.get(LEASES, self._settings.namespace, self._settings.name)
        except ApiError as error:
            if error.status != 404:
                raise
            return await self._written(None)
        self._note(lease["spec"])
        return self._free(lease["spec"]) and await self._written(lease)

    def _note(self, spec: dict[str, Any]) -> None:
        seen = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()

    def _free(self, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        return self._clock() > self._seen_at + (spec.get("leaseDurationSeconds") or self._settings.seconds)

    async def _written(self, lease: dict[str, Any] | None) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        settings = self._settings
        spec = dict(lease["spec"]) if lease else {}
        if spec.get("holderIdentity") != self._identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {"holderIdentity": self._identity, "renewTime": now, "leaseDurationSeconds": settings.seconds}
        try:
            if lease is None:
                metadata = {"name": settings.name, "namespace": settings.namespace}
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
                await self._client.create(LEASES, settings.namespace, body)
            else:
                await self._client.update(LEASES, settings.namespace, settings.name, {**lease, "spec": spec})
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        self._seen = (self._identity, now)
        return True

    def _interval(self) -> float:
        return self._settings.seconds / 5 * random.uniform(0.8, 1.2)
