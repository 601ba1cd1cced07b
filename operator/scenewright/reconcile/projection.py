"""Raw API objects to the projections that the planner sees; pure.

Labels are the interface to the builders of Jobs (:mod:`scenewright.execution.jobs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import Any

from pydantic import ValidationError

from scenewright.api.kinds import GROUP
from scenewright.execution.jobs import labels as names
from scenewright.reconcile.observation import ObservedJob, ObservedObject, ObservedPod
from scenewright_stages.contract.reports import Report

Raw = Mapping[str, Any]

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
JOB_LABEL = "batch.kubernetes.io/job-name"
_DISRUPTED = "DisruptionTarget"
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_NOT_GPUS = frozenset({"cpu", "memory", "ephemeral-storage"})
_LONGEST_MESSAGE = 1024


def observed_object(raw: Raw, kind: str) -> ObservedObject:
    """An object of one of our kinds."""
    metadata = raw["metadata"]
    annotations = metadata.get("annotations") or {}
    return ObservedObject(
        kind=intern(kind),
        namespace=intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        created_at=moment(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        spec=raw.get("spec") or {},
        status=raw.get("status") or {},
        # The applied configuration is the spec once more.
        annotations={name: value for name, value in annotations.items() if name != _APPLIED},
        labels=metadata.get("labels") or {},
    )


def observed_job(raw: Raw) -> ObservedJob | None:
    """A Job of ours; None when it has no owner of ours."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    owner = _owner_uid(metadata, f"{GROUP}/")
    if not owner:
        return None
    labels = metadata.get("labels") or {}
    end = _terminal(status)
    return ObservedJob(
        namespace=intern(metadata["namespace"]),
        name=intern(metadata["name"]),
        uid=metadata["uid"],
        owner_uid=intern(owner),
        step=intern(labels.get(names.STEP, "")),
        run=intern(labels.get(names.RUN, "")),
        work_hash=intern(labels.get(names.WORK_HASH, "")),
        created_at=moment(metadata["creationTimestamp"]),
        completions=spec.get("completions", 1),
        parallelism=spec.get("parallelism", 1),
        suspended=spec.get("suspend", False),
        deleting="deletionTimestamp" in metadata,
        active=status.get("active", 0),
        ready=status.get("ready", 0),
        terminating=status.get("terminating", 0),
        succeeded=status.get("succeeded", 0),
        failed=status.get("failed", 0),
        completed_indexes=count_indexes(status.get("completedIndexes", "")),
        failed_indexes=count_indexes(status.get("failedIndexes", "")),
        ended=end.get("type", ""),
        reason=end.get("reason", ""),
        message=end.get("message", "")[:_LONGEST_MESSAGE],
        started_at=_moment_or_none(status.get("startTime")),
        ended_at=_moment_or_none(end.get("lastTransitionTime")),
    )


@dataclass(frozen=True, slots=True)
class CachedPod(ObservedPod):
    """A Pod as it is kept: with its report as text, for a parsed one takes ten times as much memory."""

    report_text: str = ""

    def unpacked(self) -> ObservedPod:
        """The Pod as the planner takes it."""
        return replace(self, report=parsed_report(self.report_text)) if self.report_text else self


def observed_pod(raw: Raw) -> CachedPod | None:
    """A Pod of one of our Jobs, its report not yet parsed; None when it names no object of ours."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    labels = metadata.get("labels") or {}
    owner = labels.get(names.OWNER_UID, "")
    if not owner:
        return None
    container: Raw = next(iter(status.get("containerStatuses") or ()), {})
    state = container.get("state") or {}
    ended = state.get("terminated") or {}
    waiting = state.get("waiting") or _waiting_to_initialise(status)
    return CachedPod(
        namespace=intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        job=intern(labels.get(JOB_LABEL, "")),
        step=intern(labels.get(names.STEP, "")),
        owner_uid=intern(owner),
        index=int(labels.get(INDEX_LABEL, 0)),
        phase=intern(status.get("phase", "Pending")),
        created_at=moment(metadata["creationTimestamp"]),
        node=intern(spec.get("nodeName", "")),
        reason=intern(status.get("reason") or _own_reason(ended)),
        message=status.get("message", "")[:_LONGEST_MESSAGE],
        waiting_reason=intern(waiting.get("reason", "")),
        waiting_message=waiting.get("message", "")[:_LONGEST_MESSAGE],
        unschedulable=_unschedulable(status),
        started_at=_started(state),
        finished_at=_moment_or_none(ended.get("finishedAt")),
        deleted_at=_moment_or_none(metadata.get("deletionTimestamp")),
        grace_seconds=metadata.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30)),
        exit_code=ended.get("exitCode"),
        disrupted=_condition(status, _DISRUPTED).get("status") == "True",
        scheduled_at=_scheduled(status),
        report_text=_report_text(ended),
        gpus=_gpus(spec),
    )


def _report_text(ended: Raw) -> str:
    text = str(ended.get("message", ""))
    return text if text.startswith("{") else ""


@lru_cache(maxsize=1024)
def parsed_report(text: str) -> Report | None:
    """The report in a termination message; None when there is none or it does not parse."""
    try:
        return Report.from_bytes(text.encode())
    except ValidationError:
        return None


def count_indexes(text: str) -> int:
    """How many indexes a list such as ``0-3,7`` names."""
    total = 0
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


@lru_cache(maxsize=4096)
def moment(text: str) -> datetime:
    """A time of the API server (RFC 3339, UTC); equal texts share one object."""
    return datetime.fromisoformat(text)


def _moment_or_none(text: str | None) -> datetime | None:
    return moment(text) if text else None


def _owner_uid(metadata: Raw, group: str) -> str:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner["apiVersion"].startswith(group):
            return str(owner["uid"])
    return ""


def _terminal(status: Raw) -> Raw:
    """The terminal condition; FailureTarget and SuccessCriteriaMet come while Pods still run and are no ends."""
    for condition in status.get("conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            found: Raw = condition
            return found
    return {}


def _condition(status: Raw, kind: str) -> Raw:
    return next((each for each in status.get("conditions") or () if each["type"] == kind), {})


def _unschedulable(status: Raw) -> str:
    condition = _condition(status, "PodScheduled")
    if condition.get("status") != "False":
        return ""
    return str(condition.get("message") or condition.get("reason", "Unschedulable"))[:_LONGEST_MESSAGE]


def _scheduled(status: Raw) -> datetime | None:
    condition = _condition(status, "PodScheduled")
    return _moment_or_none(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _waiting_to_initialise(status: Raw) -> Raw:
    for container in status.get("initContainerStatuses") or ():
        waiting: Raw | None = (container.get("state") or {}).get("waiting")
        if waiting:
            return waiting
    return {}


def _own_reason(ended: Raw) -> str:
    """Why the container ended where its exit code does not tell, such as OOMKilled."""
    reason = str(ended.get("reason", ""))
    return "" if reason in ("Completed", "Error") else reason


def _started(state: Raw) -> datetime | None:
    """When the container started; a Pod's own startTime is when the kubelet took it, pulling included."""
    running = state.get("running") or state.get("terminated") or {}
    return _moment_or_none(running.get("startedAt"))


def _gpus(spec: Raw) -> int:
    """Extended resources of the container: whatever is not CPU, memory or disk and has a domain."""
    container: Raw = next(iter(spec.get("containers") or ()), {})
    limits = (container.get("resources") or {}).get("limits") or {}
    return sum(int(amount) for name, amount in limits.items() if name not in _NOT_GPUS and "/" in name)
