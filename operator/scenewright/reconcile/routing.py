"""Which object a change concerns, and how urgent it is: what the watches tell becomes keys in the queue."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import Any

from scenewright.reconcile.attempts import count_attempt, count_start
from scenewright.reconcile.cluster.malformed import skip
from scenewright.reconcile.cluster.resources import OBJECTS
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.decide.settings import PROGRESS_SECONDS
from scenewright.reconcile.objects import ObjectStore, StoredObject
from scenewright.reconcile.observation import ObjectKey, ObservedJob, ObservedPod
from scenewright.reconcile.outputs import OutputIndex
from scenewright.reconcile.podless import PodlessJobs
from scenewright.reconcile.projection import CachedPod, observed_object
from scenewright.reconcile.queue import Priority, WorkQueue
from scenewright.telemetry.metrics import WATCH_AGE

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
        self._unheard: dict[str, dict[str, tuple[int, float]]] = {kind: {} for kind in OBJECTS}
        self._forgetters: list[Any] = []
        self.counting = False
        for kind in OBJECTS:
            WATCH_AGE.labels(OBJECTS[kind].plural, "").set_function(partial(self.unheard_seconds, kind))

    def on_forget(self, forget: Any) -> None:
        """Registers a function that is called with the uid of every object that has ended or is gone."""
        self._forgetters.append(forget)

    def take(self, kind: str, event_type: str | None, raw: dict[str, Any], forced: bool = False) -> None:
        """An event of kopf, or an object of a list (without type). Skips what cannot be read.

        Args:
            forced: accept an older version than the known one, as after a restore of etcd.
        """
        try:
            value = observed_object(raw, kind)
            if event_type == "DELETED":
                self._objects.remove(value.key, value.uid)
            else:
                self._objects.put(value, forced)
        except Exception as error:
            skip(OBJECTS[kind].plural, raw, error)

    def take_watched(self, kind: str, event_type: str | None, raw: dict[str, Any]) -> None:
        """An event of kopf, which proves that its watch works."""
        metadata = raw["metadata"]
        version, _ = self._unheard[kind].get(metadata["uid"], (0, 0.0))
        if event_type == "DELETED" or version <= int(metadata["resourceVersion"]):
            self._unheard[kind].pop(metadata["uid"], None)
        self.take(kind, event_type, raw)

    def unheard_seconds(self, kind: str) -> float:
        """Seconds since the oldest own write that kopf's watch has not reported; 0 if it has reported all.

        The time since the last event would say little: idle objects cause none, and kopf hides bookmarks.
        """
        now = time.monotonic()
        return max((now - since for _, since in self._unheard[kind].values()), default=0.0)

    def take_own_write(self, raw: dict[str, Any]) -> None:
        """The answer to a status write of ours: known at once, and no reason to plan again."""
        value = observed_object(raw, raw["kind"])
        known, version = self._objects.get(value.key), int(value.resource_version)
        if known is not None and known.version < version:
            _, since = self._unheard[value.kind].get(value.uid, (0, time.monotonic()))
            self._unheard[value.kind][value.uid] = (version, since)
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
            self._drop_pods(new.uid)
            self._tell_forgetters(new.uid)

    def job_changed(self, old: ObservedJob | None, new: ObservedJob | None) -> None:
        """The store's callback for Jobs."""
        job = new or old
        if job is None:
            return
        self._pods.forget_gone(job.uid)
        self._outputs.note_job(old, new)
        stored = self._object_of(job)
        if stored is None:
            return
        key = stored.key
        self._podless.note(key, old, new)
        if new is None or (old is not None and old.ended != new.ended):
            if not (new is None and stored.ended):
                self._queue.add(key, Priority.FINISHING)
        elif old is not None and not stored.ended:
            self._queue.add(key, Priority.RUNNING, _patience(stored, _job_is_well(old, new)))

    def pod_changed(self, old: CachedPod | None, new: CachedPod | None) -> None:
        """The store's callback for Pods."""
        pod = new or old
        job = self.job_of(pod) if pod else None
        stored = self._object_of(job) if job else None
        if job is None or stored is None:
            return
        if self.counting and new is not None:
            count_attempt(job.step, old, new)
            count_start(stored.key.kind, old, new, job, self._pods)
        waited_for = new is not None and bool(new.report_text) and not (old and old.report_text)
        if waited_for and job.ended:
            self._queue.add(stored.key, Priority.FINISHING)
        else:
            self._queue.add(stored.key, Priority.RUNNING, _patience(stored, _pod_is_well(new)))

    def job_of(self, pod: ObservedPod) -> ObservedJob | None:
        """The known Job that owns the Pod by its owner reference, whatever its labels say."""
        job = self._jobs.get(pod.namespace, pod.job)
        return job if job is not None and job.uid == pod.owner_uid else None

    def _object_of(self, job: ObservedJob) -> StoredObject | None:
        """The object that owns the Job, which must be in the same namespace."""
        key = self._objects.key_of(job.owner_uid)
        return self._objects.get(key) if key is not None and key.namespace == job.namespace else None

    def pod_wanted(self, pod: ObservedPod) -> bool:
        """Whether a Pod may still matter: those of ended Jobs of ended objects do not."""
        job = self.job_of(pod)
        stored = self._object_of(job) if job else None
        return job is None or stored is None or not (stored.ended and job.ended)

    def pod_outlives(self, pod: CachedPod) -> bool:
        """Whether the report of a Pod that is gone is still needed: its Job, which is the reason to read it, goes on.

        A Pod that ends while its node is drained is gone a moment before its Job is complete.
        """
        job = self.job_of(pod)
        stored = self._object_of(job) if job else None
        if not pod.report_text or job is None or stored is None or stored.ended:
            return False
        return not job.deleting

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
        # Its Jobs stay known until they are gone: they may still write.
        self._drop_pods(old.uid)
        self._unheard[old.key.kind].pop(old.uid, None)
        self._dependents.discard(old.key)
        self._wake_dependents(old)
        self._tell_forgetters(old.uid)

    def _drop_pods(self, uid: str) -> None:
        for job in self._jobs.of_owner(uid):
            self._pods.drop_owner(job.uid)

    def _tell_forgetters(self, uid: str) -> None:
        for forget in self._forgetters:
            forget(uid)

    def _note_dependency(self, old: StoredObject | None, new: StoredObject) -> None:
        if new.has_inputs or new.waiting.startswith("Dependency"):
            self._dependents.add(new.key)
        else:
            self._dependents.discard(new.key)
        if old is None or (new.ended and (not old.ended or new.publication != old.publication)):
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
