"""Everything around the planner but the API server, for tests that go from one observation to the next."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast

import api_objects as raw

from scenewright.api.status import Status
from scenewright.reconcile.acting import Actor
from scenewright.reconcile.actions import Action, CreateJob
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.deciding import planner
from scenewright.reconcile.events import Events
from scenewright.reconcile.inspecting import Inspector
from scenewright.reconcile.objects import ObjectStore
from scenewright.reconcile.observation import ObjectKey, Observed, ObservedJob, ObservedObject
from scenewright.reconcile.observing import Observer
from scenewright.reconcile.outputs import OutputIndex
from scenewright.reconcile.planning_cache import PlanningCache
from scenewright.reconcile.projection import CachedPod
from scenewright.reconcile.queue import WorkQueue
from scenewright.reconcile.reconciler import Reconciler
from scenewright.reconcile.routing import Router
from scenewright.reconcile.status_writer import StatusWriter, status_document


class NoCounters:
    def of_owner(self, _uid: str) -> dict[str, Any]:
        return {}


@dataclass
class Notes:
    """Takes the place of the API server: Jobs are only noted, statuses are kept."""

    objects: ObjectStore
    created: list[str] = field(default_factory=list)
    error: Exception | None = None

    async def act(self, observed: Observed, actions: tuple[Action, ...]) -> bool:
        await asyncio.sleep(0)
        for action in actions:
            if isinstance(action, CreateJob):
                if self.error:
                    raise self.error
                self.created.append(observed.object.name)
        return False

    async def write(self, value: ObservedObject, status: Status, _urgent: bool) -> None:
        await asyncio.sleep(0)
        version = str(int(value.resource_version) + 1)
        document = {**value.__dict__, "resource_version": version, "status": status_document(status)}
        self.objects.put(ObservedObject(**document))


class Bench:
    """Everything around the planner but the API server."""

    def __init__(self) -> None:
        self.objects = ObjectStore()
        self.jobs: Store[ObservedJob] = Store()
        self.pods: Store[CachedPod] = Store()
        self.outputs = OutputIndex()
        self.queue: WorkQueue[ObjectKey] = WorkQueue(time.monotonic)
        self.router = Router(self.queue, self.objects, self.jobs, self.pods, self.outputs)
        self.objects.changed = self.router.object_changed
        self.jobs.changed = self.router.job_changed
        self.pods.changed = self.router.pod_changed
        self.notes = Notes(self.objects)
        inspector = Inspector(cast(Any, None), self.pods)
        self.observer = Observer(
            self.objects, self.jobs, self.pods, self.outputs, inspector, NoCounters(), PlanningCache()
        )
        self.reconciler = Reconciler(
            queue=self.queue,
            objects=self.objects,
            observer=self.observer,
            outputs=self.outputs,
            decide=planner(),
            actor=cast(Actor, self.notes),
            writer=cast(StatusWriter, self.notes),
            events=cast(Events, None),
        )

    def put(self, name: str, age: int, **spec: Any) -> None:
        document = raw.scene(
            name,
            metadata={"creationTimestamp": f"2026-11-21T10:{59 - age:02d}:00Z", "annotations": {}},
            spec={"output": {"uri": "s3://scenes/x"}, **spec},
            status={},
        )
        document["status"] = {}
        self.router.take("SceneJob", "ADDED", document)

    def observed(self, key: ObjectKey) -> Observed:
        stored = self.objects.get(key)
        assert stored is not None
        return self.observer.observe(stored)

    def phase(self, key: ObjectKey) -> str:
        return str(self.observed(key).object.status.get("phase"))
