"""Puts together what one planning step looks at, from memory alone: no request is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.dependencies import dependencies_of
from scenewright.reconcile.inspecting import Inspector
from scenewright.reconcile.objects import ObjectStore, StoredObject
from scenewright.reconcile.observation import Observed, ObservedJob
from scenewright.reconcile.outputs import OutputIndex
from scenewright.reconcile.planning_cache import PlanningCache
from scenewright.reconcile.projection import CachedPod
from scenewright.telemetry.counters import StepProgress


class ProgressSource(Protocol):
    """Where the counters that Pods push are kept."""

    def of_owner(self, uid: str) -> Mapping[str, StepProgress]:
        """By step, for one object."""
        ...


class Observer:
    """Looks at one object and all that belongs to it."""

    def __init__(
        self,
        objects: ObjectStore,
        jobs: Store[ObservedJob],
        pods: Store[CachedPod],
        outputs: OutputIndex,
        inspector: Inspector,
        progress: ProgressSource,
        plans: PlanningCache,
    ) -> None:
        self._objects = objects
        self._jobs = jobs
        self._pods = pods
        self._outputs = outputs
        self._inspector = inspector
        self._progress = progress
        self._plans = plans

    def observe(self, stored: StoredObject) -> Observed:
        """The object as the planner sees it."""
        value = stored.unpacked()
        jobs = tuple(job for job in self._jobs.of_owner(value.uid) if job.namespace == value.namespace)
        pods = (pod for job in jobs for pod in self._pods.of_owner(job.uid) if pod.namespace == job.namespace)
        work = self._plans.plan(value)
        return Observed(
            object=value,
            work=work,
            jobs=jobs,
            pods=tuple(pod.unpacked() for pod in pods),
            progress=self._progress.of_owner(value.uid),
            output_holder=self._outputs.holder(value.key),
            dependencies=dependencies_of(value.key, work, self._objects, self._plans.plan),
            answers=self._inspector.answers(value.uid),
        )
