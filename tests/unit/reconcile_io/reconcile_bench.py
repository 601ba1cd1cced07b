"""Everything around the planner but the API server, for tests that go from one observation to the next."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import api_objects as raw

from scenewright.api.status import Condition, Status
from scenewright.execution.jobs import CreateJob
from scenewright.reconcile.act.acting import Actor
from scenewright.reconcile.act.events import Events
from scenewright.reconcile.act.inspecting import Inspector
from scenewright.reconcile.act.observing import Observer
from scenewright.reconcile.act.reconciler import Reconciler
from scenewright.reconcile.cache.observation import ObjectKey, Observed, ObservedObject
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.cache.store import ObjectStore
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.decide.actions import Action
from scenewright.reconcile.decide.context import condition_of
from scenewright.reconcile.queue import WorkQueue
from scenewright.reconcile.status.writing import StatusWriter
from scenewright.reconcile.watch.routing import Router
from scenewright.telemetry.progress.store import ProgressStore


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
        self.objects.put(replace(value, resource_version=str(value.version + 1), status=status))


class Bench:
    """Everything around the planner but the API server."""

    def __init__(self) -> None:
        self.queue: WorkQueue[ObjectKey] = WorkQueue(time.monotonic)
        self.router = Router(self.queue)
        self.objects, self.jobs, self.pods = self.router.objects, self.router.jobs, self.router.pods
        self.notes = Notes(self.objects)
        inspector = Inspector(cast(Any, None), self.pods)
        self.observer = Observer(self.router, inspector, ProgressStore(), PlanningCache())
        self.reconciler = Reconciler(
            queue=self.queue,
            serves=lambda _namespace: True,
            known=self.router,
            observer=self.observer,
            decide=lambda observed, now: decide(observed, DecideSettings(), now),
            actor=cast(Actor, self.notes),
            writer=cast(StatusWriter, self.notes),
            events=cast(Events, SimpleNamespace(post=lambda *_: None)),
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

    def condition(self, key: ObjectKey, kind: str) -> Condition | None:
        stored = self.objects.get(key)
        assert stored is not None
        return condition_of(stored.status.conditions, kind)

    def phase(self, key: ObjectKey) -> str:
        return self.observed(key).object.phase
