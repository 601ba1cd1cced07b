"""The actions that a decision may contain. Every action is idempotent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenewright.api.raw import RawJson
from scenewright.api.status import Status
from scenewright.execution.jobs import CreateJob
from scenewright.execution.jobs.workload import HoldQuota
from scenewright.reconcile.cache.observation import Inspection


@dataclass(frozen=True)
class DeleteJob:
    """Delete a Job in the foreground, with its uid as precondition."""

    name: str
    uid: str
    why: str


@dataclass(frozen=True)
class SetParallelism:
    """Patch the parallelism of a live Job."""

    name: str
    uid: str
    parallelism: int


@dataclass(frozen=True)
class ReleasePod:
    """Set a Pod's status to Failed with DisruptionTarget: its node is lost, and nothing else would do it."""

    name: str
    uid: str


@dataclass(frozen=True)
class ReleaseQuota:
    """Delete the object's Workload, which gives its quota back."""

    name: str
    uid: str


@dataclass(frozen=True)
class ApplyChild:
    """Create a child of a sweep, or bring its spec up to date."""

    document: RawJson


@dataclass(frozen=True)
class DeleteObject:
    """Delete the object itself because its TTL has passed, or a child that the sweep's matrix no longer has."""

    name: str
    uid: str


@dataclass(frozen=True)
class Inspect:
    """Ask the API server a question; the next decision has the answer."""

    inspection: Inspection


@dataclass(frozen=True)
class EmitEvent:
    """A Kubernetes Event on the object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


OfJobs = CreateJob | DeleteJob | SetParallelism | ReleasePod | HoldQuota | ReleaseQuota
Action = OfJobs | ApplyChild | DeleteObject | Inspect | EmitEvent


@dataclass(frozen=True)
class Decision:
    """What to do now.

    Attributes:
        actions: to carry out in this order; if one fails, the next decision repeats the rest.
        status: the complete new status; the writer skips it if nothing differs.
        urgent: more than progress changed: write at once. Otherwise the writer may delay the write.
        again_after: seconds until the next decision even if nothing happens; None to wait for events only.
    """

    actions: tuple[Action, ...] = ()
    status: Status | None = None
    urgent: bool = False
    again_after: float | None = None
