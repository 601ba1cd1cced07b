"""What the planner may ask for. Every action is idempotent: carrying it out twice is as good as once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scenewright.api.status import Status
from scenewright.planning.inputs import ResolvedInput
from scenewright.reconcile.observation import Inspection


@dataclass(frozen=True)
class CreateJob:
    """Create the Job of one step of a run; on 409 the owner's uid and the work hash decide whether it is ours.

    Attributes:
        step: ``models``, ``index``, a stage's name or ``publish``.
        run: id of the run.
        shards: completions.
        fold_index, fold_publish, retry_failed, plan_only: as in the worker's task.
        resolved: what the named inputs of the run were at its start.
    """

    step: str
    run: str
    shards: int = 1
    fold_index: bool = False
    fold_publish: bool = False
    retry_failed: bool = False
    plan_only: bool = False
    resolved: Mapping[str, ResolvedInput] = field(default_factory=dict, hash=False)


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
