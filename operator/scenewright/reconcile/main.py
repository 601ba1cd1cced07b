"""The operator process: wires the parts together, runs their loops, and exits when one of them fails.

``scenewright operator`` calls :func:`run_operator`. kopf hosts the process and watches our objects; our own informers
watch Jobs and Pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json
from scenewright.execution.jobs.names import MANAGED_SELECTOR
from scenewright.kube.client import ApiError, Client
from scenewright.kube.connection import Connection, connect
from scenewright.kube.resources import JOBS, OBJECTS, PODS, Resource
from scenewright.reconcile.act.acting import Actor
from scenewright.reconcile.act.deletion import EndingNamespaces
from scenewright.reconcile.act.events import Events
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.act.observing import Observer
from scenewright.reconcile.act.reconciler import Reconciler
from scenewright.reconcile.cache.observation import ObjectKey, Owned
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.cache.projection import observed_job, observed_pod, observed_workload
from scenewright.reconcile.cache.store import Store
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.hosting import HOST_FAILED, host
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.queue import WorkQueue
from scenewright.reconcile.settings import OperatorSettings, identity
from scenewright.reconcile.status.gauges import ObjectGauges
from scenewright.reconcile.status.writing import StatusWriter
from scenewright.reconcile.watch.informer import Informer
from scenewright.reconcile.watch.namespaces import NamespaceSelection
from scenewright.reconcile.watch.routing import Router
from scenewright.reconcile.watch.sweep import Sweep
from scenewright.telemetry.health import HealthServer, Heartbeats
from scenewright.telemetry.metrics import REGISTRY, announce_version, observe_request, register_process_metrics
from scenewright.telemetry.notifications import Notifier
from scenewright.telemetry.progress.endpoint import ProgressEndpoint
from scenewright.telemetry.progress.store import ProgressStore
from scenewright.telemetry.progress.tokens import SigningKeys, TokenVerifier

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=Owned)
_LOOP_SECONDS = 180.0
"""A loop without a heartbeat for this long is stuck; the slowest healthy loop takes about 100 s per turn."""
_KUEUE_SECONDS = 30.0
"""Pause between two looks for Kueue."""
_AGAIN_SECONDS = 2.0
"""Pause before a new start, and between two looks for our kinds."""
_EVENT_SECONDS = 3.0
"""Time to post queued Events at shutdown, well within a Pod's grace period."""


class Operator:
    """The operator's parts, wired together; one per process.

    Changes of what is `known` (objects, Jobs and Pods as last seen) put keys into the queue, and the `reconciler` takes
    them from it. The `progress` endpoint receives the counters of Pods.
    """

    def __init__(self, settings: OperatorSettings, connection: Connection) -> None:
        self.settings = settings
        self.heartbeats = Heartbeats()
        self._informers: dict[str, list[Informer[Any]]] = {}
        self.client = client = Client(connection, observe_request)
        queue: WorkQueue[ObjectKey] = WorkQueue()
        self.known = Router(queue, settings.defaults, settings.max_objects, settings.priorities)
        selector = settings.watch_namespace_selector
        beat = self._beat("namespaces") if selector else lambda: None
        self.selected = NamespaceSelection(client, selector, partial(self.known.resync, 0.0), beat)
        self.leadership = Leadership(client, settings.lease, identity(), self._beat("lease"))
        jobs, workloads = self.known.jobs, self.known.workloads
        ending = EndingNamespaces(client, self.leadership, jobs)
        self.events = Events(client, self.leadership, ending, identity(), settings.events)
        counters = ProgressStore()
        verifier = TokenVerifier(SigningKeys(client.document), settings.progress.audience)
        self.progress = ProgressEndpoint(verifier, self.known.pushing_pod, counters, self.known.take_push)
        pods, inspector = settings.pod_settings(), Inspector(client, self.known.pods, autoscaled=settings.autoscaler)
        plans = PlanningCache(pods.environment, settings.defaults, settings.outputs)
        limits = DecideSettings(pods=pods)
        self._inspector = inspector
        self.reconciler = Reconciler(
            queue=queue,
            serves=self._serves,
            known=self.known,
            observer=Observer(self.known, inspector, counters, plans),
            decide=lambda observed, now: decide(observed, limits, now),
            actor=Actor(client, self.leadership, jobs, inspector, counters, self.events, ending, pods, workloads),
            writer=StatusWriter(client, self.leadership, self.known.take_own_write, settings.status_seconds),
            events=self.events,
            notifier=Notifier(settings.webhook_url),
        )
        self.known.progress_due = self.reconciler.writer.progress_due
        self.known.forgetters += self.reconciler.writer.forget, self.events.forget, inspector.forget, counters.forget

    async def run(self) -> None:
        """Runs all loops in the order of their dependencies; the first failure ends all of them."""
        namespaces = tuple(self.settings.watch_namespaces) or ("",)
        sweep = Sweep(self.client, self.known, namespaces, self.settings.resync_seconds, self._beat("sweep"))
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self.leadership.keep(), name="lease")
            await sweep.fill()
            # Jobs before Pods: the owner of a Pod is found through its Job.
            for namespace in namespaces:
                await self._watch(loops, JOBS, self.known.jobs, observed_job, namespace)
            for namespace in namespaces:
                await self._watch(loops, PODS, self.known.pods, observed_pod, namespace)
            self.heartbeats.began = self.known.counting = True
            loops.create_task(self.reconciler.work(self.settings.workers, self._beat("workers")), name="workers")
            loops.create_task(sweep.run(), name="sweep")
            for namespace in namespaces if self.settings.kueue else ():
                loops.create_task(self._watch_workloads(namespace), name="workloads")
            if self.settings.watch_namespace_selector:
                loops.create_task(self.selected.run(), name="namespaces")
            loops.create_task(self.events.run(), name="events")
            loops.create_task(self.reconciler.notifier.run(), name="notifications")
            if self.settings.progress.enabled:
                loops.create_task(self.progress.run(self.settings.progress.port), name="progress")

    async def _watch(
        self,
        loops: asyncio.TaskGroup,
        resource: Resource,
        store: Store[T],
        project: Callable[[Json], T | None],
        namespace: str,
    ) -> None:
        """Starts an informer and waits for its first list, unless the namespace refuses it."""
        beat = self._beat(f"{resource.plural} {namespace}")
        informer = Informer(self.client, resource, store, project, MANAGED_SELECTOR, namespace, beat)
        loops.create_task(informer.run(), name="informer")
        self._informers.setdefault(namespace, []).append(informer)
        await informer.answered.wait()

    async def _watch_workloads(self, namespace: str) -> None:
        """Watches our Workloads once Kueue is installed; never returns."""
        beat = self._beat(f"workloads {namespace}")
        while True:
            beat()
            with contextlib.suppress(ApiError):
                workloads = await self._inspector.kueue("workloads")
                store = self.known.workloads
                await Informer(
                    self.client, workloads, store, observed_workload, MANAGED_SELECTOR, namespace, beat
                ).run()
            await asyncio.sleep(_KUEUE_SECONDS)

    def _serves(self, namespace: str) -> bool:
        """Whether the Jobs and Pods of the namespace are known: without them a decision would start work twice."""
        # Nor is anything decided that may not be carried out.
        self.leadership.check()
        if namespace not in self.selected:
            return False
        watching = self._informers.get("") or self._informers.get(namespace, [])
        return bool(watching) and all(informer.synced for informer in watching)

    def _beat(self, loop: str) -> Callable[[], None]:
        return self.heartbeats.register(loop.strip(), _LOOP_SECONDS)


async def run_operator(settings: OperatorSettings, connection: Connection | None = None) -> int:
    """Runs until a signal or until a loop fails; returns the process's exit code.

    When kopf fails, for example because a CRD was deleted, everything starts over in this process once all kinds are
    served again.
    """
    connection = connection or await connect()
    announce_version()
    register_process_metrics()
    health = HealthServer()
    if settings.metrics_port:
        await health.start(settings.metrics_port)
    try:
        while (code := await _run_once(settings, connection, health)) == HOST_FAILED:
            await asyncio.sleep(_AGAIN_SECONDS)
        return code
    finally:
        await health.stop()
        await connection.close()


async def _run_once(settings: OperatorSettings, connection: Connection, health: HealthServer) -> int:
    """One operator, from its start to its end; returns what :func:`host` does."""
    await served(Client(connection, observe_request))
    operator = Operator(settings, connection)
    health.heartbeats = operator.heartbeats
    gauges = ObjectGauges(operator.known.objects, operator.known.pods, settings.metrics_max_objects)
    REGISTRY.register(gauges)
    try:
        namespaces = tuple(settings.watch_namespaces)
        return await host(connection, namespaces, operator.known.take_watched, partial(_work, operator))
    finally:
        health.heartbeats = None
        REGISTRY.unregister(gauges)


async def served(client: Client) -> None:
    """Waits until the API server serves all our kinds: kopf looks for them only once, at its start."""
    wanted, told = {resource.plural for resource in OBJECTS.values()}, False
    while True:
        try:
            found = await client.document(f"/apis/{API_VERSION}")
            missing = wanted - {str(each.get("name")) for each in found.get("resources") or ()}
            problem = f"no {', '.join(sorted(missing))}" if missing else ""
        except ApiError as error:
            problem = "" if error.status == 403 else str(error)
        if not problem:
            return
        if not told:
            logger.warning("waiting for the kinds of %s: %s", API_VERSION, problem)
        told = True
        await asyncio.sleep(_AGAIN_SECONDS)


async def _work(operator: Operator) -> None:
    """Waits for the lease, fills the caches and reconciles until cancelled.

    Raises:
        BaseExceptionGroup: a loop has failed, or another operator has taken the lease.
    """
    await operator.leadership.acquire()
    logger.info("leading as %s", identity())
    try:
        await operator.run()
    except* NotLeading:
        logger.error("another operator has taken the lease; leaving")
        raise
    finally:
        await operator.events.drain(_EVENT_SECONDS)
        await operator.leadership.release()
