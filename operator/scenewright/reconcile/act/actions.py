"""What the planner may ask for. Every action is idempotent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenewright.api.status import Status
from scenewright.execution.jobs import CreateJob
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
    """Patch a Pod's status to Failed with DisruptionTarget: its node is gone and nobody else will."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeleteObject:
    """Delete the object itself: its TTL has passed."""

    uid: str


@dataclass(frozen=True)
class Inspect:
    """Ask the API server a question; the answer is there at the next planning."""

    inspection: Inspection


@dataclass(frozen=True)
class EmitEvent:
    """A Kubernetes Event on the object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


Action = CreateJob | DeleteJob | SetParallelism | ReleasePod | DeleteObject | Inspect | EmitEvent


@dataclass(frozen=True)
class Decision:
    """What to do now.

    Attributes:
        actions: in the order in which to carry them out; when one fails, the rest waits for the next planning.
        status: the whole status that should be there; the writer skips it when nothing differs.
        urgent: a condition, phase or stage changed: write at once. Otherwise the writer may hold it back for 10 s.
        again_after: seconds after which to plan again even if nothing happens; None when only events matter.
    """

    actions: tuple[Action, ...] = ()
    status: Status | None = None
    urgent: bool = False
    again_after: float | None = None
