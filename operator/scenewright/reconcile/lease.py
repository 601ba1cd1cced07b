"""Leader election by a Lease: one operator acts at a time, and it stops acting before another can take over."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from scenewright.api.raw import Json
from scenewright.kube.client import ApiError, Client, ignore_statuses
from scenewright.kube.resources import LEASES
from scenewright.reconcile.settings import LeaseSettings
from scenewright.telemetry.metrics import LEADER

logger = logging.getLogger(__name__)

_ACTING = 0.8
"""Fraction of the lease's duration in which we act after a renewal; the rest covers requests in flight."""
_RENEWAL = 0.25
"""Fraction after which the lease is renewed, as in the kubelet: twice more within the time in which we act."""
_PATIENCE = 0.25
"""Timeout of one attempt as a fraction, so that a hanging request leaves time for retries."""
_RETRY_SECONDS = 2.0
"""Pause after a failed attempt, as in client-go's leader election; shorter for a lease of less than 20 s."""


class NotLeading(Exception):  # noqa: N818 - a state, not an error
    """This process must not act now."""


@dataclass(eq=False)
class Leadership:
    """Takes and renews one Lease. Retries a failed renewal until the lease has expired.

    Whether somebody else's lease has expired is measured on our own clock from when we saw it change. Clocks of two
    machines are never compared.
    """

    client: Client
    settings: LeaseSettings
    identity: str
    beat: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._until = 0.0
        self._own: Json | None = None
        self._has_led = self._replaced = False
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0
        LEADER.set_function(lambda: float(self.leads))

    @property
    def leads(self) -> bool:
        """Whether we may act at this moment."""
        return self.clock() < self._until

    def check(self) -> None:
        """Raises NotLeading unless we may act at this moment."""
        if not self.leads:
            raise NotLeading

    async def acquire(self) -> None:
        """Waits until this process leads."""
        while not self.leads:
            pause = await self._round()
            if not self.leads:
                await asyncio.sleep(pause)

    async def keep(self) -> None:
        """Renews the lease; ends if another operator has held it, since our caches may then be out of date.

        After an outage, an expired lease that nobody else has taken is renewed.

        Raises:
            NotLeading: another operator leads, or has led.
        """
        pause = self._interval()
        while True:
            await asyncio.sleep(pause)
            pause = await self._round()
            if self._replaced:
                raise NotLeading

    async def release(self) -> None:
        """Releases the lease, so that the next operator need not wait for it to expire."""
        if not self.leads:
            return
        self._until = 0.0
        try:
            async with asyncio.timeout(self.settings.seconds * _PATIENCE):
                lease = await self._read()
                if lease is not None and _holder(lease) == self.identity:
                    lease["spec"]["holderIdentity"] = ""
                    await self.client.update(LEASES, self.settings.namespace, self.settings.name, lease)
        except (ApiError, TimeoutError) as error:
            logger.info("the lease was not released: %r", error)

    async def _round(self) -> float:
        """Tries once to take or renew the lease; returns seconds until the next attempt."""
        self.beat()
        began = self.clock()
        try:
            async with asyncio.timeout(self.settings.seconds * _PATIENCE):
                taken = await self._taken()
        except (ApiError, TimeoutError) as error:
            left = max(0.0, self._until - self.clock())
            logger.warning("the lease could not be read or written, it holds for another %.1f s: %r", left, error)
            return self._retry_soon(error)
        if taken:
            self._until = began + self.settings.seconds * _ACTING
            self._has_led = True
        return self._interval()

    async def _taken(self) -> bool:
        """Writes the lease if it is ours, free or expired. Returns False if somebody else has it or wrote first."""
        own, self._own = self._own, None
        # Renew what we wrote last without reading it; if somebody else has written since, this conflicts.
        if own is not None and await self._written(own):
            return True
        lease = await self._read()
        if lease is None:
            return await self._written(None)
        self._note(lease)
        return self._is_free(lease) and await self._written(lease)

    async def _read(self) -> Json | None:
        with ignore_statuses(404):
            lease = await self.client.get(LEASES, self.settings.namespace, self.settings.name)
            # The Lease may have been created without a spec.
            return {**lease, "spec": lease.get("spec") or {}}
        return None

    def _note(self, lease: Json) -> None:
        seen = (_holder(lease), lease["spec"].get("renewTime") or "")
        if seen != self._seen:
            self._seen, self._seen_at = seen, self.clock()
        # Only another holder changes the identity in a lease that was ours.
        self._replaced = self._has_led and seen[0] != self.identity

    def _is_free(self, lease: Json) -> bool:
        if self._replaced:
            return False
        if _holder(lease) in ("", self.identity):
            return True
        return self.clock() > self._seen_at + (lease["spec"].get("leaseDurationSeconds") or self.settings.seconds)

    async def _written(self, lease: Json | None) -> bool:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        settings = self.settings
        spec = dict(lease["spec"]) if lease else {}
        if spec.get("holderIdentity") != self.identity:
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec |= {"holderIdentity": self.identity, "renewTime": now, "leaseDurationSeconds": settings.seconds}
        with ignore_statuses(409):
            if lease is None:
                metadata = {"name": settings.name, "namespace": settings.namespace}
                body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
                self._own = await self.client.create(LEASES, settings.namespace, body)
            else:
                body = {**lease, "spec": spec}
                self._own = await self.client.update(LEASES, settings.namespace, settings.name, body)
            return True
        return False

    def _interval(self) -> float:
        return self.settings.seconds * _RENEWAL * random.uniform(0.8, 1.2)

    def _retry_soon(self, error: Exception) -> float:
        """Pause after a failure, or as long as the API server asks for, but no longer than a usual renewal."""
        pause = min(_RETRY_SECONDS, self.settings.seconds / 10) * random.uniform(0.8, 1.2)
        return min(max(pause, getattr(error, "retry_after", None) or 0.0), self._interval())


def _holder(lease: Json) -> str:
    return lease["spec"].get("holderIdentity") or ""
