"""Which object a change concerns, and how urgent it is: what the watches tell becomes keys in the queue."""

from __future__ import annotations

import logging
import random
from typing import Any

from scenewright.reconcile.attempts import count_attempt, count_start
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.decide.settings import PROGRESS_SECONDS
from scenewright.reconcile.objects import ObjectStore, StoredObject
from scenewright.reconcile.observation import ObjectKey, ObservedJob, ObservedPod
from scenewright.reconcile.outputs import OutputIndex
from scenewright.reconcile.podless import PodlessJobs
from scenewright.reconcile.projection import CachedPod, observed_object
from scenewright.reconcile.queue import Priority, WorkQueue

logger = logging.getLogger(__name__)

NOISE_SECONDS = 10.0
"""Pods come and go many times a second in a large stage; counts in status may be this old."""
CALM_SECONDS = PROGRESS_SECONDS
"""The same for what goes well: the planner tells of no progress before a stage has run for so long."""
_STARTING = ("", "ContainerCreating", "PodInitializing")
_BEGUN = ("Indexing", "Running", "Publishing")


class Router:
    """Owns the stores' callbacks."""

    def __init__(
        self,
        queue: WorkQueue[ObjectKey],
        objects: ObjectStore,
        jobs: Store[ObservedJob],
        pods: Store[CachedPod],
        outputs: OutputIndex,
    ) -> None:
        self._queue = queue
        self._objects = objects
        self._jobs = jobs
        self._pods = pods
        self._outputs = outputs
        self._podless = PodlessJobs(queue.add)
        self._dependents: set[ObjectKey] = set()
        self._own_write = ""
        self._forgetters: list[Any] = []
        self.counting = False

    def on_forget(self, forget: Any) -> None:
        """Registers a function that is called with the uid of every object that has ended or is gone."""
        self._forgetters.append(forget)

    def take(self, kind: str, event_type: str | None, raw: dict[str, Any]) -> None:
        """An event of kopf, or an object of a list (without type)."""
        value = observed_object(raw, kind)
        if event_type == "DELETED":
            self._objects.remove(value.key, value.uid)
        else:
            self._objects.put(value)

    def take_own_write(self, raw: dict[str, Any]) -> None:
        """The answer to a status write of ours: known at once, and no reason to plan again."""
        value = observed_object(raw, raw["kind"])
        self._own_write = value.uid
        try:
            self._objects.put(value)
        finally:
            self._own_write = ""

    def object_changed(self, old: StoredObject | None, new: StoredObject | None) -> None:
        """The store's callback for objects."""
        if new is None or (old is not None and old.uid != new.uid):
            self._forget(old)
        if new is None:
            return
        self._outputs.update(new)
        self._note_dependency(old, new)
        if old is None or old.uid != new.uid:
            self._queue.add(new.key, Priority.RUNNING if new.phase in _BEGUN else Priority.STARTING)
        elif old.intent != new.intent:
            self._queue.add(new.key, Priority.RUNNING)
        elif new.uid != self._own_write:
            # Somebody else has written our status.
            self._queue.add(new.key, Priority.RUNNING, NOISE_SECONDS)
        if new.ended and not (old is not None and old.ended):
            self._pods.drop_owner(new.uid)
            self._tell_forgetters(new.uid)

    def job_changed(self, old: ObservedJob | None, new: ObservedJob | None) -> None:
        """The store's callback for Jobs."""
        job = new or old
        if job is not None:
            self._pods.forget_gone(job.owner_uid)
        key = self._objects.key_of(job.owner_uid) if job else None
        stored = self._objects.get(key) if key else None
        if key is None or stored is None:
            return
        self._podless.note(key, old, new)
        if new is None or (old is not None and old.ended != new.ended):
            if not (new is None and stored.ended):
                self._queue.add(key, Priority.FINISHING)
        elif old is not None and not stored.ended:
            self._queue.add(key, Priority.RUNNING, _patience(stored, _job_is_well(old, new)))

    def pod_changed(self, old: CachedPod | None, new: CachedPod | None) -> None:
        """The store's callback for Pods."""
        pod = new or old
        key = self._objects.key_of(pod.owner_uid) if pod else None
        stored = self._objects.get(key) if key else None
        if key is None or pod is None or stored is None:
            return
        job = self._jobs.get(pod.namespace, pod.job)
        if self.counting and new is not None:
            count_attempt(old, new)
            count_start(key.kind, old, new, job, self._pods)
        waited_for = new is not None and bool(new.report_text) and not (old and old.report_text)
        if waited_for and job is not None and job.ended:
            self._queue.add(key, Priority.FINISHING)
        else:
            self._queue.add(key, Priority.RUNNING, _patience(stored, _pod_is_well(new)))

    def pod_wanted(self, pod: ObservedPod) -> bool:
        """Whether a Pod may still matter: those of ended Jobs of ended objects do not."""
        key = self._objects.key_of(pod.owner_uid)
        stored = self._objects.get(key) if key else None
        if stored is None or not stored.ended:
            return True
        job = self._jobs.get(pod.namespace, pod.job)
        return job is not None and not job.ended

    def pod_outlives(self, pod: CachedPod) -> bool:
        """Whether the report of a Pod that is gone is still needed: its Job, which is the reason to read it, goes on.

        A Pod that ends while its node is drained is gone a moment before its Job is complete.
        """
        key = self._objects.key_of(pod.owner_uid)
        stored = self._objects.get(key) if key else None
        job = self._jobs.get(pod.namespace, pod.job)
        if not pod.report_text or stored is None or stored.ended or job is None:
            return False
        return not job.deleting and pod.created_at >= job.created_at

    def progress_came(self, key: ObjectKey) -> None:
        """A Pod of this object has pushed its counters."""
        self._queue.add(key, Priority.RUNNING, NOISE_SECONDS)

    def output_freed(self, key: ObjectKey) -> None:
        """An output that this object may wait for is free."""
        self._queue.add(key, Priority.STARTING)

    def resync(self, spread: float) -> None:
        """Queues every object that has not ended, spread over some seconds."""
        for stored in self._objects:
            if not stored.ended:
                self._queue.add(stored.key, Priority.RUNNING, random.uniform(0.0, spread))

    def _forget(self, old: StoredObject | None) -> None:
        if old is None:
            return
        self._outputs.remove(old.key)
        self._pods.drop_owner(old.uid)
        self._jobs.drop_owner(old.uid)
        self._dependents.discard(old.key)
        self._wake_dependents(old)
        self._tell_forgetters(old.uid)

    def _tell_forgetters(self, uid: str) -> None:
        for forget in self._forgetters:
            forget(uid)

    def _note_dependency(self, old: StoredObject | None, new: StoredObject) -> None:
        if new.waiting.startswith("Dependency"):
            self._dependents.add(new.key)
        else:
            self._dependents.discard(new.key)
        if old is None or (new.ended and not old.ended):
            self._wake_dependents(new)

    def _wake_dependents(self, stored: StoredObject) -> None:
        for key in self._dependents:
            if key.namespace == stored.key.namespace:
                self._queue.add(key, Priority.STARTING)


def _patience(stored: StoredObject, is_well: bool) -> float:
    """How long a change may wait. An object that says that it waits says soon that it does no more."""
    return CALM_SECONDS if is_well and stored.phase in _BEGUN else NOISE_SECONDS


def _job_is_well(old: ObservedJob, new: ObservedJob) -> bool:
    """Whether a Job only goes on: more Pods run or are done."""
    return (new.failed, new.suspended, new.deleting) == (old.failed, old.suspended, old.deleting)


def _pod_is_well(pod: CachedPod | None) -> bool:
    """Whether a Pod is on its way to a good end."""
    if pod is None or pod.deleted_at is not None or pod.disrupted or pod.phase == "Failed":
        return False
    return not pod.unschedulable and not pod.exit_code and pod.waiting_reason in _STARTING
