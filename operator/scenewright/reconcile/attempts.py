"""How Pods ended and how long they waited, as metrics."""

from __future__ import annotations

from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.observation import ObservedJob, ObservedPod
from scenewright.reconcile.projection import CachedPod
from scenewright.telemetry.metrics import ATTEMPTS, STAGE_QUEUE_SECONDS
from scenewright_stages.contract.errors import ExitCode

_ENDED = ("Succeeded", "Failed")
_CLASSES = {
    0: "success",
    int(ExitCode.CONFIGURATION): "config",
    int(ExitCode.SAMPLE_TIMEOUT): "timeout",
}


def count_attempt(step: str, old: ObservedPod | None, new: ObservedPod) -> None:
    """Counts a Pod when it ends."""
    if new.phase in _ENDED and (old is None or old.phase not in _ENDED):
        ATTEMPTS.labels(step, ending_of(new)).inc()


def count_start(kind: str, old: ObservedPod | None, new: ObservedPod, job: ObservedJob, pods: Store[CachedPod]) -> None:
    """Observes how long a Job has waited for its first Pod to start."""
    if new.started_at is None or (old is not None and old.started_at is not None):
        return
    others = (pod for pod in pods.of_owner(job.uid) if pod.uid != new.uid)
    if not any(pod.started_at for pod in others):
        STAGE_QUEUE_SECONDS.labels(kind, job.step).observe((new.started_at - job.created_at).total_seconds())


def ending_of(pod: ObservedPod) -> str:
    """``success``, ``config``, ``timeout``, ``oom``, ``app``, or ``infra`` for what was not the Pod's own doing."""
    if pod.disrupted or (pod.exit_code is None and pod.phase == "Failed"):
        return "infra"
    if pod.exit_code == 137 and "OOM" in (pod.reason + pod.message):
        return "oom"
    return _CLASSES.get(pod.exit_code or 0, "app")
