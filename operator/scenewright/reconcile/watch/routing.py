"""Holds the stores of objects, Jobs and Pods, and queues the object that a change in them concerns.

kopf, the informers, the sweep and the status writer put changes in. Frequent changes, such as those of Pods, are queued
with a delay, so that many of them cost one reconciliation.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from scenewright.api.raw import Json, RawJson
from scenewright.api.status import ACTIVE
from scenewright.kube.resources import OBJECTS
from scenewright.planning.documents import value_at
from scenewright.reconcile.cache.line import Line
from scenewright.reconcile.cache.observation import (
    ObjectKey,
    ObservedJob,
    ObservedObject,
    ObservedPod,
    ObservedWorkload,
)
from scenewright.reconcile.cache.outputs import OutputIndex
from scenewright.reconcile.cache.projection import ONLY_WAITING, CachedPod, observed_object, skip
from scenewright.reconcile.cache.store import ObjectStore, Store
from scenewright.reconcile.queue import Priority, WorkQueue
from scenewright.reconcile.status.accounting import count_attempt, count_start
from scenewright.telemetry.metrics import WATCH_AGE
from scenewright.telemetry.progress.store import KnownPod

NOISE_SECONDS = 10.0
"""Delay for frequent changes: Pods of a large stage change many times a second, and counts may be this old."""


class Router:
    """Keeps objects, Jobs, Pods and claims of outputs, and queues the objects that a change concerns.

    Args:
        queue: receives the keys of objects to reconcile.
        defaults: the lab defaults.
        limits, priorities: as in :class:`Line`.

    Attributes:
        forgetters: called with the uid of each object that has ended or was deleted.
        progress_due: returns the seconds until mere progress of the object with a uid may be written.
    """

    def __init__(
        self,
        queue: WorkQueue[ObjectKey],
        defaults: RawJson | None = None,
        limits: Mapping[str, int] | None = None,
        priorities: Mapping[str, int] | None = None,
    ) -> None:
        self._queue = queue
        self.objects = ObjectStore(self._object_changed)
        self.jobs: Store[ObservedJob] = Store(self._job_changed)
        self.workloads: Store[ObservedWorkload] = Store(self._workload_changed)
        self.pods: Store[CachedPod] = Store(self._pod_changed, self._pod_wanted, self._pod_outlives)
        self.outputs = OutputIndex(lambda key: queue.add(key, Priority.STARTING), defaults)
        self.line = Line(lambda key: queue.add(key, Priority.STARTING), limits or {}, priorities or {})
        self._dependents: set[ObjectKey] = set()
        self._own_write = ""
        self._unheard: dict[str, dict[str, tuple[int, float]]] = {kind: {} for kind in OBJECTS}
        self.forgetters: list[Callable[[str], None]] = []
        self.progress_due: Callable[[str], float] = lambda _uid: 0.0
        self.counting = False
        for kind in OBJECTS:
            WATCH_AGE.labels(OBJECTS[kind].plural, "").set_function(partial(self.seconds_since_event, kind))

    def take(self, kind: str, event_type: str | None, raw: Json, forced: bool = False) -> None:
        """Takes an event from kopf, or an object from a list (no type). Skips what cannot be read.

        Args:
            forced: accept an older version than the known one, as after a restore of etcd.
        """
        try:
            metadata = raw["metadata"]
            known = self.objects.get(ObjectKey(kind, metadata["namespace"], metadata["name"]))
            version = metadata["uid"], metadata["resourceVersion"]
            if event_type != "DELETED" and known is not None and (known.uid, known.resource_version) == version:
                # Most events of a watch repeat one of our own writes.
                return
            value = observed_object(raw, kind)
            if event_type == "DELETED":
                self.objects.remove(value.key, value.uid)
            else:
                self.objects.put(value, forced)
        except Exception as error:
            skip(OBJECTS[kind].plural, raw, error)

    def take_watched(self, kind: str, event_type: str | None, raw: Json) -> None:
        """Takes an event from kopf, and notes which of our own writes its watch has reported."""
        metadata = raw["metadata"]
        version, _ = self._unheard[kind].get(metadata["uid"], (0, 0.0))
        if event_type == "DELETED" or version <= int(metadata["resourceVersion"]):
            self._unheard[kind].pop(metadata["uid"], None)
        self.take(kind, event_type, raw)

    def seconds_since_event(self, kind: str) -> float:
        """Age of the oldest own write that kopf's watch has not reported yet; 0 if there is none.

        The time since the last event would say little: idle objects cause no events, and kopf hides bookmarks.
        """
        now = time.monotonic()
        return max((now - since for _, since in self._unheard[kind].values()), default=0.0)

    def take_own_write(self, raw: Json) -> None:
        """Takes the response to our own status write, without queueing the object again.

        Ignores it if the object is gone by now, or replaced by another of the same name.
        """
        value = observed_object(raw, raw["kind"])
        known = self.objects.get(value.key)
        if known is None or known.uid != value.uid:
            return
        if known.version < value.version:
            _, since = self._unheard[value.kind].get(value.uid, (0, time.monotonic()))
            self._unheard[value.kind][value.uid] = (value.version, since)
        self._own_write = value.uid
        try:
            self.objects.put(value)
        finally:
            self._own_write = ""

    def _object_changed(self, old: ObservedObject | None, new: ObservedObject | None) -> None:
        if new is None or (old is not None and old.uid != new.uid):
            self._forget(old)
        if new is None:
            return
        self.outputs.update(new)
        self.line.update(new)
        self._wake_sweep(new, NOISE_SECONDS if old is not None and old.phase == new.phase else 0.0)
        self._note_dependency(old, new)
        if old is None or old.uid != new.uid:
            self._queue.add(new.key, Priority.RUNNING if new.phase in ACTIVE else Priority.STARTING)
        elif old.intent != new.intent:
            self._queue.add(new.key, Priority.RUNNING)
        elif new.uid != self._own_write:
            # Somebody else has written the status.
            self._queue.add(new.key, Priority.RUNNING, NOISE_SECONDS)
        if new.ended and not (old is not None and old.ended):
            self._drop(new.uid)

    def _job_changed(self, old: ObservedJob | None, new: ObservedJob | None) -> None:
        job = new or old
        if job is None:
            return
        self.pods.forget_gone(job.uid)
        self.outputs.note_job(old, new)
        stored = self._object_of(job)
        if stored is None:
            return
        key = stored.key
        if new is None or (old is not None and old.ended != new.ended):
            if not (new is None and stored.ended):
                self._queue.add(key, Priority.FINISHING)
        elif old is not None and not stored.ended:
            self._noticed(stored, only_counts=_only_counts_differ(old, new))

    def _workload_changed(self, old: ObservedWorkload | None, new: ObservedWorkload | None) -> None:
        workload = new or old
        key = self.objects.key_of(workload.owner_uid) if workload is not None else None
        if key is not None:
            self._queue.add(key, Priority.RUNNING)

    def _pod_changed(self, old: CachedPod | None, new: CachedPod | None) -> None:
        pod = new or old
        job = self.job_of(pod) if pod else None
        stored = self._object_of(job) if job else None
        if job is None or stored is None:
            return
        if self.counting and new is not None:
            count_attempt(job.step, old, new)
            count_start(stored.key.kind, old, new, job, self.pods)
        has_new_report = new is not None and bool(new.report_text) and not (old and old.report_text)
        if has_new_report and job.ended:
            self._queue.add(stored.key, Priority.FINISHING)
        else:
            self._noticed(stored, only_counts=new is not None and _is_well(new))

    def _noticed(self, stored: ObservedObject, *, only_counts: bool) -> None:
        """Queues the object of a Job or Pod that has changed: if only counts differ, when they may be written."""
        # A budget is used up the sooner the more Pods run.
        has_budget = stored.status.spent is not None or value_at(stored.spec, "execution", "budget")
        waits = only_counts and stored.phase in ACTIVE and not has_budget
        delay = max(NOISE_SECONDS, self.progress_due(stored.uid)) if waits else NOISE_SECONDS
        self._queue.add(stored.key, Priority.RUNNING, delay)

    def job_of(self, pod: ObservedPod) -> ObservedJob | None:
        """The Job that owns the Pod by owner reference; labels do not count."""
        job = self.jobs.get(pod.namespace, pod.job)
        return job if job is not None and job.uid == pod.owner_uid else None

    def _object_of(self, job: ObservedJob) -> ObservedObject | None:
        """The object that owns the Job; it must be in the same namespace."""
        key = self.objects.key_of(job.owner_uid)
        return self.objects.get(key) if key is not None and key.namespace == job.namespace else None

    def _pod_wanted(self, pod: ObservedPod) -> bool:
        """Whether to keep a Pod: not if both its Job and its object have ended."""
        job = self.job_of(pod)
        stored = self._object_of(job) if job else None
        return job is None or stored is None or not (stored.ended and job.ended)

    def _pod_outlives(self, pod: CachedPod) -> bool:
        """Whether to keep a deleted Pod for its report, because its Job still exists.

        A Pod that ends while its node is drained disappears a moment before its Job completes.
        """
        job = self.job_of(pod)
        stored = self._object_of(job) if job else None
        if not pod.report_text or job is None or stored is None or stored.ended:
            return False
        return not job.deleting

    def pushing_pod(self, namespace: str, name: str) -> KnownPod | None:
        """The Pod, if it belongs to a known Job: only such a Pod may push counters."""
        pod = self.pods.get(namespace, name)
        job = self.job_of(pod) if pod is not None else None
        if pod is None or job is None:
            return None
        return KnownPod(pod.uid, job.owner_uid, job.step, pod.index, pod.created_at)

    def take_push(self, pod: KnownPod) -> None:
        """Queues the object of a Pod that has pushed counters."""
        key = self.objects.key_of(pod.owner_uid)
        stored = self.objects.get(key) if key is not None else None
        if stored is not None:
            self._noticed(stored, only_counts=True)

    def resync(self, spread: float, namespace: str = "") -> None:
        """Queues every object that has not ended, of one namespace or of all, spread over that many seconds."""
        for stored in self.objects:
            if namespace in ("", stored.namespace) and not stored.ended:
                self._queue.add(stored.key, Priority.RUNNING, random.uniform(0.0, spread))

    def _forget(self, old: ObservedObject | None) -> None:
        if old is None:
            return
        self.outputs.forget(old.key, old.uid)
        self.line.remove(old.key)
        self._wake_sweep(old, 0.0)
        # Its Jobs stay in the store until they are gone: they may still write.
        self._unheard[old.key.kind].pop(old.uid, None)
        self._dependents.discard(old.key)
        self._wake_dependents(old)
        self._drop(old.uid)

    def _wake_sweep(self, child: ObservedObject, delay: float) -> None:
        key = self.objects.key_of(child.owner_uid) if child.owner_uid else None
        if key is not None and key.namespace == child.namespace:
            self._queue.add(key, Priority.RUNNING, delay)

    def _drop(self, uid: str) -> None:
        """Drops the Pods and all else that is kept of an object while it runs."""
        for job in self.jobs.of_owner(uid):
            self.pods.drop_owner(job.uid)
        for forget in self.forgetters:
            forget(uid)

    def _note_dependency(self, old: ObservedObject | None, new: ObservedObject) -> None:
        if new.status.inputs or new.waiting.startswith("Dependency"):
            self._dependents.add(new.key)
        else:
            self._dependents.discard(new.key)
        if old is None or (new.ended and (not old.ended or new.status.publication.hash != old.status.publication.hash)):
            self._wake_dependents(new)

    def _wake_dependents(self, stored: ObservedObject) -> None:
        for key in self._dependents:
            if key.namespace == stored.key.namespace:
                self._queue.add(key, Priority.STARTING)


def _only_counts_differ(old: ObservedJob, new: ObservedJob) -> bool:
    """Whether a Job has only started, or its Pods have started or succeeded, so that no decision is due."""
    names = ("active", "ready", "succeeded", "completed_indexes", "started_at")
    return replace(old, **{name: getattr(new, name) for name in names}) == new


def _is_well(pod: ObservedPod) -> bool:
    """Whether a Pod waits for its start, runs or has succeeded, so that no decision is due."""
    is_held = pod.waiting_reason not in ONLY_WAITING or pod.unschedulable or pod.still_running
    is_ending = pod.deleted_at is not None or pod.disrupted or pod.exit_code or pod.phase in ("Failed", "Unknown")
    return not (is_held or is_ending)
