"""Counters of objects, stages and Pods, from the difference of two statuses or of two observations of a Pod.

So a restart of the operator counts nothing twice.
"""

from __future__ import annotations

from datetime import datetime

from scenewright.api.status import ENDS, SampleCounts, StageStatus, Status
from scenewright.reconcile.cache.observation import ObjectKey, ObservedJob, ObservedPod
from scenewright.reconcile.cache.projection import CachedPod
from scenewright.reconcile.cache.store import Store
from scenewright.telemetry.metrics import (
    ATTEMPTS,
    FINISHED,
    GPU_SECONDS,
    SAMPLE_FAILURES,
    SAMPLES,
    STAGE_QUEUE_SECONDS,
    STAGE_SECONDS,
)
from scenewright_stages.contract.errors import ExitCode


def account(key: ObjectKey, old: Status, new: Status) -> None:
    """Counts what has changed from the status before a write to the one written."""
    if new.phase in ENDS and not (old.phase in ENDS and old.run == new.run):
        reason = next((each.reason for each in new.conditions if each.type == new.phase and each.status == "True"), "")
        FINISHED.labels(key.kind, new.pipeline, new.phase, reason).inc()
    known = {(each.sample, each.stage) for each in old.failures}
    for failure in new.failures:
        if (failure.sample, failure.stage) not in known:
            SAMPLE_FAILURES.labels(key.kind, new.pipeline, failure.stage, failure.reason).inc()
    same_run = old.run == new.run
    before = {stage.name: stage for stage in old.stages} if same_run else {}
    for stage in new.stages:
        _count_stage(key, new.pipeline, before.get(stage.name), stage)


def _count_stage(key: ObjectKey, pipeline: str, old: StageStatus | None, new: StageStatus) -> None:
    """Skips the first counts of a stage: they are results of earlier runs."""
    if old is None or not old.samples.total:
        return
    for result in ("done", "failed", "rejected", "skipped"):
        more = _number(new.samples, result) - _number(old.samples, result)
        if more > 0:
            SAMPLES.labels(key.namespace, key.kind, pipeline, new.name, result).inc(more)
    # GPU time is in the status from pushes or, without them, from the reports of ended Pods.
    held, busy = new.gpu_seconds - old.gpu_seconds, max(0.0, new.gpu_busy_seconds - old.gpu_busy_seconds)
    labels = (key.namespace, key.kind, pipeline, new.name)
    GPU_SECONDS.labels(*labels, "busy").inc(busy)
    GPU_SECONDS.labels(*labels, "waiting").inc(max(0.0, held - busy))
    ended = ("Done", "Failed")
    if new.state in ended and old.state not in ended and new.started_at and new.finished_at:
        seconds = datetime.fromisoformat(new.finished_at) - datetime.fromisoformat(new.started_at)
        STAGE_SECONDS.labels(key.kind, pipeline, new.name).observe(max(0.0, seconds.total_seconds()))


def _number(samples: SampleCounts, result: str) -> int:
    """The samples that ended so; ``skipped`` without those that a rule left out, which are ``rejected``."""
    number: int = getattr(samples, result)
    return number - samples.rejected if result == "skipped" else number


_ENDED = ("Succeeded", "Failed")
_CLASSES = {
    0: "success",
    int(ExitCode.CONFIGURATION): "config",
    int(ExitCode.SAMPLE_TIMEOUT): "timeout",
    int(ExitCode.STORAGE_FAULT): "storage",
}


def count_attempt(step: str, old: ObservedPod | None, new: ObservedPod) -> None:
    """Counts a Pod when it ends."""
    if new.phase in _ENDED and (old is None or old.phase not in _ENDED):
        ATTEMPTS.labels(step, ending_of(new)).inc()


def count_start(kind: str, old: ObservedPod | None, new: ObservedPod, job: ObservedJob, pods: Store[CachedPod]) -> None:
    """Observes how long a Job waited for its first Pod to start."""
    if new.started_at is None or (old is not None and old.started_at is not None):
        return
    others = (pod for pod in pods.of_owner(job.uid) if pod.uid != new.uid)
    if not any(pod.started_at for pod in others):
        STAGE_QUEUE_SECONDS.labels(kind, job.step).observe((new.started_at - job.created_at).total_seconds())


def ending_of(pod: ObservedPod) -> str:
    """The class of a Pod's end: one of `_CLASSES`, ``oom``, ``app``, or ``infra`` if the Pod was not the cause."""
    if pod.disrupted or (pod.exit_code is None and pod.phase == "Failed"):
        return "infra"
    if pod.exit_code == 137 and "OOM" in (pod.reason + pod.message):
        return "oom"
    return _CLASSES.get(pod.exit_code or 0, "app")
