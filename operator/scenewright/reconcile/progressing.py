"""The progress endpoint as a part of the operator: who pushes is looked up in memory; counters wake the object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from scenewright.reconcile.cluster.client import Client
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.objects import ObjectStore
from scenewright.reconcile.observation import ObjectKey
from scenewright.reconcile.projection import CachedPod
from scenewright.reconcile.settings import ProgressSettings
from scenewright.telemetry.counters import StepProgress
from scenewright.telemetry.metrics import GPU_SECONDS
from scenewright.telemetry.progress import ProgressEndpoint, ProgressStore, SigningKeys, TokenVerifier
from scenewright.telemetry.progress.store import Gained, KnownPod


class Progress:
    """Counters of the objects that run, and the endpoint that receives them.

    Args:
        wake: called with the key of an object whose counters have changed.
    """

    def __init__(
        self,
        settings: ProgressSettings,
        client: Client,
        objects: ObjectStore,
        pods: Store[CachedPod],
        wake: Callable[[ObjectKey], None],
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._wake = wake
        self._store = ProgressStore()
        verifier = TokenVerifier(SigningKeys(client.document), settings.audience)
        self._endpoint = ProgressEndpoint(verifier, pods.of_uid, self._store, self._gained)

    def of_owner(self, uid: str) -> Mapping[str, StepProgress]:
        """By step, for one object."""
        return self._store.of(uid, time.monotonic())

    def forget(self, uid: str) -> None:
        """The object is gone or its run has ended."""
        self._store.forget(uid)

    def forget_step(self, uid: str, step: str) -> None:
        """The step begins anew."""
        self._store.forget_step(uid, step)

    async def run(self) -> None:
        """Listens for ever; waits for ever where the endpoint is switched off."""
        if self._settings.enabled:
            await self._endpoint.start(self._settings.port)
        try:
            await asyncio.Event().wait()
        finally:
            await self._endpoint.stop()

    def _gained(self, pod: KnownPod, gained: Gained) -> None:
        key = self._objects.key_of(pod.owner_uid)
        stored = self._objects.get(key) if key else None
        if stored is None:
            return
        labels: tuple[Any, ...] = (stored.key.kind, stored.pipeline, pod.step)
        GPU_SECONDS.labels(*labels, "busy").inc(gained.busy_seconds)
        GPU_SECONDS.labels(*labels, "waiting").inc(gained.waiting_seconds)
        self._wake(stored.key)
