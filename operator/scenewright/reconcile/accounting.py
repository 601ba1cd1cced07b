"""Metrics of the jobs themselves, counted from one written status to the next: a restart counts nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scenewright.api.status import StageStatus, Status
from scenewright.reconcile.objects import ENDED
from scenewright.reconcile.observation import ObjectKey
from scenewright.telemetry.metrics import FINISHED, GPU_SECONDS, OBJECT_SECONDS, SAMPLE_FAILURES, SAMPLES, STAGE_SECONDS

Raw = Mapping[str, Any]


def account(key: ObjectKey, old: Raw, new: Status, created_at: datetime) -> None:
    """Counts what has happened between two statuses of one object.

    Args:
        key: of the object.
        old: status as it was before the write.
        new: status that was written.
        created_at: of the object.
    """
    _count_end(key.kind, old, new, created_at)
    _count_failures(key.kind, old, new)
    same_run = old.get("run", "") == new.run
    before = {stage["name"]: stage for stage in old.get("stages") or ()} if same_run else {}
    for stage in new.stages:
        _count_stage(key, new.pipeline, before.get(stage.name), stage)


def _count_end(kind: str, old: Raw, new: Status, created_at: datetime) -> None:
    if new.phase not in ENDED or (old.get("phase") in ENDED and old.get("run", "") == new.run):
        return
    reason = next((each.reason for each in new.conditions if each.type == new.phase and each.status == "True"), "")
    FINISHED.labels(kind, new.pipeline, new.phase, reason).inc()
    if not any(condition.get("type") == "Finished" for condition in old.get("conditions") or ()):
        seconds = (datetime.now(UTC) - created_at).total_seconds()
        OBJECT_SECONDS.labels(kind, new.pipeline, new.phase).observe(max(0.0, seconds))


def _count_failures(kind: str, old: Raw, new: Status) -> None:
    known = {(each.get("sample"), each.get("stage")) for each in old.get("failures") or ()}
    for failure in new.failures:
        if (failure.sample, failure.stage) not in known:
            SAMPLE_FAILURES.labels(kind, new.pipeline, failure.stage, failure.reason).inc()


def _count_stage(key: ObjectKey, pipeline: str, old: Raw | None, new: StageStatus) -> None:
    """The first sight of a stage is what earlier runs have left, which is not this run's work."""
    if old is None or not (old.get("samples") or {}).get("total"):
        return
    for result in ("done", "failed", "skipped"):
        more = getattr(new.samples, result) - old["samples"].get(result, 0)
        if more > 0:
            SAMPLES.labels(key.namespace, key.kind, pipeline, new.name, result).inc(more)
    _count_gpu_time(key, pipeline, old, new)
    ended = ("Done", "Failed")
    if new.state in ended and old.get("state") not in ended and new.started_at and new.finished_at:
        seconds = datetime.fromisoformat(new.finished_at) - datetime.fromisoformat(new.started_at)
        STAGE_SECONDS.labels(key.kind, pipeline, new.name).observe(max(0.0, seconds.total_seconds()))


def _count_gpu_time(key: ObjectKey, pipeline: str, old: Raw, new: StageStatus) -> None:
    """What the status has learnt from pushes or, where none came through, from the reports of ended Pods."""
    held = new.gpu_seconds - old.get("gpuSeconds", 0.0)
    busy = new.gpu_busy_seconds - old.get("gpuBusySeconds", 0.0)
    labels = (key.namespace, key.kind, pipeline, new.name)
    GPU_SECONDS.labels(*labels, "busy").inc(max(0.0, busy))
    GPU_SECONDS.labels(*labels, "waiting").inc(max(0.0, held - max(0.0, busy)))
