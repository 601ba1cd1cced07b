"""The progress endpoint as a part of the operator: who pushes is looked up in memory; counters wake the object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from scenewright.reconcile.cluster.client import Client
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.objects import ObjectStore
from scenewright.reconcile.observation import ObjectKey, ObservedJob, ObservedPod
from scenewright.reconcile.projection import CachedPod
from scenewright.reconcile.settings import ProgressSettings
from scenewright.telemetry.counters import StepProgress
from scenewright.telemetry.progress import ProgressEndpoint, ProgressStore, SigningKeys, TokenVerifier
from scenewright.telemetry.progress.store import KnownPod


class Progress:
    """Counters of the objects that run, and the endpoint that receives them.

    Args:
        job_of: finds the known Job that owns a Pod.
        wake: called with the key of an object whose counters have changed.
    """

    def __init__(
        self,
        settings: ProgressSettings,
        client: Client,
        objects: ObjectStore,
        pods: Store[CachedPod],
        job_of: Callable[[ObservedPod], ObservedJob | None],
        wake: Callable[[ObjectKey], None],
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._pods = pods
        self._job_of = job_of
        self._wake = wake
        self._store = ProgressStore()
        verifier = TokenVerifier(SigningKeys(client.document), settings.audience)
        self._endpoint = ProgressEndpoint(verifier, self.known, self._store, self._pushed)

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

    def known(self, namespace: str, uid: str) -> KnownPod | None:
        """A Pod of a known Job, with the Job's object as its owner."""
        pod = self._pods.of_uid(namespace, uid)
        job = self._job_of(pod) if pod is not None else None
        return replace(pod, owner_uid=job.owner_uid, step=job.step) if pod is not None and job is not None else None

    def _pushed(self, pod: KnownPod) -> None:
        key = self._objects.key_of(pod.owner_uid)
        if key is not None:
            self._wake(key)
