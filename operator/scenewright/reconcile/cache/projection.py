"""Builds the projections that decisions see from raw API objects.

Only owner references establish ownership. Labels and annotations are hints that :mod:`scenewright.execution.jobs`
wrote and that anybody in the namespace may change. A malformed object is skipped, counted and logged once: it must not
stop a loop that serves all other objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import TypeVar

from scenewright.api.names import GROUP, PLURALS
from scenewright.api.raw import Json, RawJson
from scenewright.api.status import read_status
from scenewright.execution.jobs import names
from scenewright.execution.jobs.pod import CONTAINER
from scenewright.reconcile.cache.observation import ObservedJob, ObservedObject, ObservedPod, ObservedWorkload
from scenewright.telemetry.metrics import MALFORMED
from scenewright_stages.contract.reports import Report

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
JOB_LABEL = "batch.kubernetes.io/job-name"
_UNINFORMATIVE = ("Completed", "Error")
"""Reasons of terminated containers that say no more than the exit code; others, such as OOMKilled, do."""
_OWN_FINALIZERS = ("foregroundDeletion", "orphan", "batch.kubernetes.io/job-tracking")
ONLY_WAITING = ("", "ContainerCreating", "PodInitializing")
"""Reasons of waiting containers that do not say why."""
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_LONGEST_MESSAGE = 1024


def observed_object(raw: RawJson, kind: str) -> ObservedObject:
    """An object of one of our kinds."""
    metadata = raw["metadata"]
    found = ObservedObject(
        kind=intern(kind),
        namespace=intern(metadata["namespace"]),
        name=intern(metadata["name"]),
        uid=intern(metadata["uid"]),
        generation=_number(metadata, "generation"),
        resource_version=metadata["resourceVersion"],
        created_at=moment(metadata["creationTimestamp"]),
        deleting="deletionTimestamp" in metadata,
        spec=_block(raw, "spec"),
        status=read_status(_block(raw, "status")),
        # The last applied configuration only repeats the spec.
        annotations={name: value for name, value in _texts(metadata, "annotations") if name != _APPLIED},
        labels=dict(_texts(metadata, "labels")),
        owner_uid=intern(owner["uid"]) if (owner := _controller(metadata)).get("kind") in PLURALS else "",
    )
    # Loops read these properties of every object: fail here if they cannot be read.
    _ = found.version, found.ended, found.rests
    return found


def observed_job(raw: RawJson) -> ObservedJob | None:
    """A Job owned by one of our objects; None for any other Job."""
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    owner = _controller(metadata)
    if not owner.get("apiVersion", "").startswith(f"{GROUP}/"):
        return None
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    # FailureTarget and SuccessCriteriaMet do not count: Pods may still run then.
    end = next(filter(_holds, (condition(status, kind) for kind in ("Complete", "Failed"))), {})
    return ObservedJob(
        namespace=intern(metadata["namespace"]),
        name=intern(metadata["name"]),
        uid=intern(metadata["uid"]),
        owner_uid=intern(owner["uid"]),
        step=intern(labels.get(names.STEP, "")),
        run=intern(labels.get(names.RUN, "")),
        work_hash=intern(labels.get(names.WORK_HASH, "")),
        created_at=moment(metadata["creationTimestamp"]),
        template=intern(annotations.get(names.TEMPLATE, "")),
        queue=intern(labels.get(names.QUEUE, "")),
        completions=_number(spec, "completions", 1),
        parallelism=_number(spec, "parallelism", 1),
        suspended=bool(spec.get("suspend", False)),
        deleting="deletionTimestamp" in metadata,
        held_by=_foreign_finalizers(metadata),
        active=_number(status, "active"),
        ready=_number(status, "ready"),
        terminating=_number(status, "terminating"),
        succeeded=_number(status, "succeeded"),
        failed=_number(status, "failed"),
        completed_indexes=count_indexes(status.get("completedIndexes", "")),
        failed_indexes=count_indexes(status.get("failedIndexes", "")),
        ended=end.get("type", ""),
        reason=_text(end, "reason"),
        message=_text(end, "message"),
        started_at=_moment_or_none(status.get("startTime")),
        ended_at=_moment_or_none(end.get("lastTransitionTime")),
    )


@dataclass(frozen=True, slots=True)
class CachedPod(ObservedPod):
    """A Pod in the store, with its report as text: a parsed report takes ten times as much memory."""

    report_text: str = ""

    def unpacked(self) -> ObservedPod:
        """The Pod with its report parsed, as decisions use it."""
        return replace(self, report=parsed_report(self.report_text)) if self.report_text else self


def observed_workload(raw: RawJson) -> ObservedWorkload | None:
    """A Workload owned by one of our objects; None for any other."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    owner = _controller(metadata)
    if not owner.get("apiVersion", "").startswith(f"{GROUP}/"):
        return None
    evicted, waits = condition(status, "Evicted"), condition(status, "QuotaReserved")
    is_evicted = _holds(evicted)
    sets = (status.get("admission") or {}).get("podSetAssignments") or ()
    flavors = {str(flavor) for each in sets for flavor in (each.get("flavors") or {}).values()}
    return ObservedWorkload(
        namespace=intern(metadata["namespace"]),
        name=intern(metadata["name"]),
        uid=intern(metadata["uid"]),
        owner_uid=intern(owner["uid"]),
        created_at=moment(metadata["creationTimestamp"]),
        admitted=_holds(condition(status, "Admitted")) and not is_evicted,
        evicted=is_evicted,
        deleting="deletionTimestamp" in metadata,
        message=_text(evicted if is_evicted else waits, "message"),
        flavors=tuple(sorted(flavors)),
        template=(metadata.get("annotations") or {}).get(names.TEMPLATE, ""),
    )


def observed_pod(raw: RawJson) -> CachedPod | None:
    """A Pod of a Job, with its report not yet parsed; None if no Job owns it.

    The caller checks whether the Job is one of the operator's.
    """
    metadata, spec, status = raw["metadata"], raw["spec"], raw.get("status") or {}
    labels = metadata.get("labels") or {}
    owner = _controller(metadata)
    if (owner.get("apiVersion"), owner.get("kind")) != ("batch/v1", "Job"):
        return None
    state = _state_of_worker(status)
    ended = state.get("terminated") or {}
    message, reason = str(ended.get("message", "")), _text(ended, "reason")
    scheduled = condition(status, "PodScheduled")
    why = _text(scheduled, "message") or _text(scheduled, "reason")
    waiting = _waiting(status, state)
    return CachedPod(
        namespace=intern(metadata["namespace"]),
        name=intern(metadata["name"]),
        uid=intern(metadata["uid"]),
        job=intern(owner["name"]),
        step=intern(labels.get(names.STEP, "")),
        owner_uid=intern(owner["uid"]),
        # Somebody may have changed the label; the Pod must still be seen.
        index=int(shard) if (shard := labels.get(INDEX_LABEL, "")).isdecimal() else 0,
        phase=intern(_text(status, "phase") or "Pending"),
        created_at=moment(metadata["creationTimestamp"]),
        node=intern(_text(spec, "nodeName")),
        reason=intern(_text(status, "reason") or ("" if reason in _UNINFORMATIVE else reason)),
        message=_text(status, "message"),
        waiting_reason=intern(_text(waiting, "reason")),
        waiting_message=_text(waiting, "message"),
        unschedulable=(why or "Unschedulable") if scheduled.get("status") == "False" else "",
        # Not the Pod's own startTime, which is before the image pull.
        started_at=_moment_or_none((state.get("running") or ended).get("startedAt")),
        finished_at=_moment_or_none(ended.get("finishedAt")),
        deleted_at=_moment_or_none(metadata.get("deletionTimestamp")),
        exit_code=_number(ended, "exitCode") if "exitCode" in ended else None,
        disrupted=_holds(condition(status, "DisruptionTarget")),
        scheduled_at=_moment_or_none(scheduled.get("lastTransitionTime")) if _holds(scheduled) else None,
        held_by=_foreign_finalizers(metadata),
        still_running=_others_running(status) if ended else "",
        report_text=message if message.startswith("{") else "",
    )


@lru_cache(maxsize=1024)
def parsed_report(text: str) -> Report | None:
    """The report in a termination message; None if missing or invalid."""
    try:
        return Report.from_bytes(text.encode())
    except ValueError:
        return None


def count_indexes(text: str) -> int:
    """Number of indexes in a list such as ``0-3,7``."""
    total = 0
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


@lru_cache(maxsize=4096)
def moment(text: str) -> datetime:
    """Parses a time of the API server (RFC 3339); equal texts share one object."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return found


def _moment_or_none(text: str | None) -> datetime | None:
    return moment(text) if text else None


def _number(fields: RawJson, name: str, otherwise: int = 0) -> int:
    value = fields.get(name, otherwise)
    if not isinstance(value, int):
        raise TypeError(f"{name}: {value!r} is not a whole number")
    return value


def _text(fields: RawJson, name: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise TypeError(f"{name}: {value!r} is not a text")
    return value[:_LONGEST_MESSAGE]


def _block(fields: RawJson, name: str) -> Json:
    """A block; empty if it is something else, so that planning says what is missing."""
    found = fields.get(name)
    return found if isinstance(found, dict) else {}


def _texts(metadata: RawJson, name: str) -> Iterator[tuple[str, str]]:
    """Labels or annotations that are texts."""
    return ((key, value) for key, value in _block(metadata, name).items() if isinstance(value, str))


def _controller(metadata: RawJson) -> RawJson:
    """The owner reference to the controller; empty if there is none."""
    return next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), {})


def condition(status: RawJson, kind: str) -> RawJson:
    """The condition of that type in a raw status; empty if there is none."""
    return next((each for each in status.get("conditions") or () if each["type"] == kind), {})


def _holds(found: RawJson) -> bool:
    return bool(found.get("status") == "True")


def _foreign_finalizers(metadata: RawJson) -> str:
    """Finalizers of others that keep an object which is being deleted; Kubernetes removes its own."""
    if "deletionTimestamp" not in metadata:
        return ""
    found = metadata.get("finalizers") or ()
    return ", ".join(str(each) for each in found if each not in _OWN_FINALIZERS)[:200]


def _state_of_worker(status: RawJson) -> RawJson:
    """State of our own container: whatever else runs in the Pod, such as a mesh's proxy, was injected."""
    for container in status.get("containerStatuses") or ():
        if container.get("name") == CONTAINER:
            state: RawJson = container.get("state") or {}
            return state
    return {}


def _waiting(status: RawJson, worker: RawJson) -> RawJson:
    """Why the Pod does not start: the worker's own error, else that of a container that it waits for."""
    own: RawJson = worker.get("waiting") or {}
    if own.get("reason", "") not in ONLY_WAITING or worker.get("running") or worker.get("terminated"):
        return own
    for name in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(name) or ():
            waiting: RawJson = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason", "") not in ONLY_WAITING:
                return waiting
    return own


def _others_running(status: RawJson) -> str:
    """Names of containers that still run beside the worker. Kubernetes itself ends native sidecars."""
    others = (each for each in status.get("containerStatuses") or () if each.get("name") != CONTAINER)
    return ", ".join(str(each.get("name")) for each in others if (each.get("state") or {}).get("running"))[:200]


logger = logging.getLogger(__name__)

T = TypeVar("T")
_MOST_REMEMBERED = 10_000
_logged: set[str] = set()


def read(project: Callable[[Json], T | None], raw: Json, resource: str) -> T | None:
    """The projection of an object; None if it is not ours or cannot be read."""
    try:
        return project(raw)
    except Exception as error:
        skip(resource, raw, error)
        return None


def skip(resource: str, raw: object, error: Exception) -> None:
    """Counts an object that cannot be read and logs it once."""
    MALFORMED.labels(resource).inc()
    metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
    known = repr(raw)[:200]
    if isinstance(metadata, Mapping):
        known = " ".join(str(metadata.get(name))[:253] for name in ("namespace", "name", "uid"))
    if known in _logged:
        return
    if len(_logged) >= _MOST_REMEMBERED:
        _logged.clear()
    _logged.add(known)
    logger.warning("%s %s cannot be read and is skipped: %r", resource, known, error)
