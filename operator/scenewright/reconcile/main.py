"""The operator's process: builds the parts, starts the loops, and ends when one of them ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from scenewright.execution.jobs.labels import MANAGED_SELECTOR
from scenewright.reconcile.acting import Actor, Surroundings
from scenewright.reconcile.cluster.client import Client
from scenewright.reconcile.cluster.connection import Connection
from scenewright.reconcile.cluster.informer import Informer
from scenewright.reconcile.cluster.resources import JOBS, PODS, Resource
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.decide import DecideSettings
from scenewright.reconcile.deciding import planner
from scenewright.reconcile.ending import EndingNamespaces
from scenewright.reconcile.events import Events
from scenewright.reconcile.health import HealthServer
from scenewright.reconcile.heartbeats import Heartbeats
from scenewright.reconcile.inspecting import Inspector
from scenewright.reconcile.job_gauges import publish_gauges
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.objects import ObjectStore
from scenewright.reconcile.observation import ObjectKey, ObservedJob
from scenewright.reconcile.observing import Observer
from scenewright.reconcile.outputs import OutputIndex
from scenewright.reconcile.planning_cache import PlanningCache
from scenewright.reconcile.progressing import Progress
from scenewright.reconcile.projection import CachedPod, observed_job, observed_pod
from scenewright.reconcile.queue import WorkQueue
from scenewright.reconcile.rates import CreateRate
from scenewright.reconcile.reconciler import Reconciler
from scenewright.reconcile.routing import Router
from scenewright.reconcile.settings import OperatorSettings, identity
from scenewright.reconcile.status_writer import Pacing, StatusWriter
from scenewright.reconcile.sweep import Sweep
from scenewright.reconcile.watching import watch_objects
from scenewright.telemetry.metrics import announce_version, register_process_metrics

logger = logging.getLogger(__name__)

_LOOP_SECONDS = 180.0
"""A loop that shows no life for so long is stuck; the slowest turn of a healthy one takes about 100 s."""
_EVENT_SECONDS = 3.0
"""Events that wait at the end are posted within this time, well inside a Pod's grace period."""


class Operator:
    """All parts of the operator, wired; one per process."""

    def __init__(self, settings: OperatorSettings, connection: Connection) -> None:
        self.settings = settings
        self.connection = connection
        self.client = Client(connection)
        self.heartbeats = Heartbeats()
        self.namespaces = tuple(settings.watch_namespaces) or ("",)
        self.queue: WorkQueue[ObjectKey] = WorkQueue()
        self.leadership = Leadership(
            self.client, settings.lease, identity(), self.heartbeats.register("lease", _LOOP_SECONDS)
        )
        self.objects = ObjectStore(defaults=settings.defaults)
        self.jobs: Store[ObservedJob] = Store()
        self.pods: Store[CachedPod] = Store()
        self.outputs = OutputIndex()
        self.router = Router(self.queue, self.objects, self.jobs, self.pods, self.outputs)
        self.objects.changed = self.router.object_changed
        self.jobs.changed = self.router.job_changed
        self.pods.changed = self.router.pod_changed
        self.pods.wanted = self.router.pod_wanted
        self.pods.outlives = self.router.pod_outlives
        self.outputs.freed = self.router.output_freed
        self.inspector = Inspector(self.client, self.pods)
        self.ending = EndingNamespaces(self.client, self.leadership, self.jobs)
        self.events = Events(self.client, self.leadership, self.ending, identity(), settings.events)
        self.progress = Progress(
            settings.progress,
            self.client,
            self.objects,
            self.pods,
            self.router.job_of,
            self.router.progress_came,
        )
        self.began = False

    def reconciler(self) -> Reconciler:
        """The part that brings objects forward."""
        rates, pods = self.settings.rates, self.settings.pod_settings()
        plans = PlanningCache(pods.environment, self.settings.defaults)
        pacing = Pacing(self.settings.status_seconds, rates.progress_writes_per_second)
        writer = StatusWriter(self.client, self.leadership, self.router.take_own_write, pacing)
        surroundings = Surroundings(
            client=self.client,
            leadership=self.leadership,
            jobs=self.jobs,
            pods=self.pods,
            inspector=self.inspector,
            progress=self.progress,
            events=self.events,
            ending=self.ending,
            rate=CreateRate(rates.creates_per_second, rates.create_burst),
            pod_settings=pods,
        )
        for forget in (writer.forget, self.inspector.forget, self.progress.forget):
            self.router.on_forget(forget)
        return Reconciler(
            queue=self.queue,
            objects=self.objects,
            observer=Observer(self.objects, self.jobs, self.pods, self.outputs, self.inspector, self.progress, plans),
            outputs=self.outputs,
            decide=planner(DecideSettings(pods=pods)),
            actor=Actor(surroundings),
            writer=writer,
            events=self.events,
        )

    def informers(self) -> list[Informer[Any]]:
        """One for Jobs and one for Pods in every served namespace; Jobs first, since they say whose a Pod is."""
        jobs = [self._informer(JOBS, self.jobs, observed_job, each) for each in self.namespaces]
        return [*jobs, *(self._informer(PODS, self.pods, observed_pod, each) for each in self.namespaces)]

    def sweep(self, informers: list[Informer[Any]]) -> Sweep:
        """The comparison of everything."""
        return Sweep(
            client=self.client,
            objects=self.objects,
            router=self.router,
            namespaces=self.namespaces,
            children=[informer.verify for informer in informers],
            mean_seconds=self.settings.resync_seconds,
            beat=self.heartbeats.register("sweep", _LOOP_SECONDS),
        )

    def _informer(self, resource: Resource, store: Store[Any], project: Any, namespace: str) -> Informer[Any]:
        beat = self.heartbeats.register(f"{resource.plural} {namespace}".strip(), _LOOP_SECONDS)
        return Informer(self.client, resource, store, project, MANAGED_SELECTOR, namespace, beat)


async def run_operator(settings: OperatorSettings, connection: Connection | None = None) -> int:
    """Runs until a signal or until a loop fails; returns the process's exit code."""
    operator = Operator(settings, connection or Connection())
    announce_version()
    register_process_metrics()
    publish_gauges(operator.objects, operator.pods, settings.metrics_max_objects)
    health = HealthServer(settings.metrics_port, operator.heartbeats, lambda: operator.began)
    if settings.metrics_port:
        await health.start()
    try:
        await operator.leadership.acquire()
        logger.info("leading as %s", identity())
        return await _run_loops(operator)
    except NotLeading:
        logger.error("another operator has taken the lease; leaving")
        return 1
    finally:
        await health.stop()
        await operator.connection.close()


async def _run_loops(operator: Operator) -> int:
    informers = operator.informers()
    sweep = operator.sweep(informers)
    keeper = asyncio.create_task(operator.leadership.keep(), name="lease")
    tasks = [keeper]
    try:
        await _unless_ended(tasks, sweep.first())
        for informer in informers:
            tasks.append(asyncio.create_task(informer.run(), name="informer"))
            await _unless_ended(tasks, informer.synced.wait())
        operator.began = operator.router.counting = True
        reconciler = operator.reconciler()
        beat = operator.heartbeats.register("workers", _LOOP_SECONDS)
        signalled = asyncio.create_task(_signal(), name="signal")
        namespaces = tuple(operator.settings.watch_namespaces)
        tasks += [
            signalled,
            asyncio.create_task(watch_objects(operator.router, namespaces, sweep.soon), name="kopf"),
            asyncio.create_task(reconciler.work(operator.settings.workers, beat), name="workers"),
            asyncio.create_task(sweep.run(), name="sweep"),
            asyncio.create_task(operator.progress.run(), name="progress"),
            asyncio.create_task(operator.events.run(), name="events"),
        ]
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return _exit_code(ended, signalled)
    finally:
        await _cancel(tasks)
        await operator.events.drain(_EVENT_SECONDS)
        await operator.leadership.release()


async def _unless_ended(tasks: list[asyncio.Task[Any]], wanted: Coroutine[Any, Any, Any]) -> None:
    """Waits for one thing, unless a loop fails meanwhile."""
    task = asyncio.create_task(wanted)
    try:
        ended, _ = await asyncio.wait([*tasks, task], return_when=asyncio.FIRST_COMPLETED)
        for each in ended:
            each.result()
    finally:
        task.cancel()


async def _signal() -> None:
    """Ends when we are asked to end."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    await asked.wait()


def _exit_code(ended: set[asyncio.Task[Any]], signalled: asyncio.Task[Any]) -> int:
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s has failed", task.get_name(), exc_info=error)
            return 1
    # Apart from the signal no loop ever ends by itself.
    return 0 if signalled in ended else 1


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=10)
