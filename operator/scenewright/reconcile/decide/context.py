"""Data that the decide modules share: the context of a decision, its time limits, and the decision so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from scenewright.api.status import ENDS, Condition, Phase, StageStatus, Status
from scenewright.execution.jobs import PodSettings
from scenewright.execution.jobs.resources import needs_of
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Answer, Inspection, Observed, ObservedJob, ObservedPod
from scenewright.reconcile.decide.actions import Action, DeleteJob


def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> datetime | None:
    """The inverse of :func:`text_of`; None for an empty or invalid text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Seconds from one moment to another; never negative, since the clocks of two machines differ."""
    return max(0.0, (later - earlier).total_seconds())


def earliest(*waits: float | None) -> float | None:
    """The shortest of the given waits, but at least one second; None if all are None."""
    given = [wait for wait in waits if wait is not None]
    return max(1.0, min(given)) if given else None


@dataclass(frozen=True)
class DecideSettings:
    """Time limits in seconds, and counts.

    Attributes:
        notice: report an unschedulable Pod after this time.
        slow_start: report a scheduled Pod that has not started after this time.
        progress_after: report a stage's progress once its Job is this old, so that a short stage costs no write.
        configuration_grace: fail the run after this time if a Pod's configuration is wrong. A missing Secret or
            ConfigMap may be applied a moment after the object.
        pull_grace: fail the run after this time if an image cannot be pulled.
        without_pods: inspect a Job without Pods after this time.
        not_taken_up: report a Job that the Job controller has not picked up after this time. Longer than
            `queue_pending`, so that a Job that its queue has just admitted is not reported.
        back_off: inspect a pause without Pods after a failed attempt only if it is longer than this. The Job
            controller itself waits up to ten minutes between attempts.
        queue_pending: report a Job that its queue holds back after this time.
        queue_controller: report a queue that does not exist, or that no controller seems to serve, after this time.
        node_loss: ask about the node of a Pod that is still terminating this long after its grace period.
        sidecar_grace: report a container that still runs this long after the worker beside it has ended.
        report_grace: how much later than the Job's end the Pod's report may arrive.
        look_again: poll interval while waiting for deletions or other objects, in case an event was missed.
        answer_age: repeat an inspection after this time, while its answer matters.
        queue_answer_age: the same for a Job waiting in its queue. Longer, since many Jobs may wait for hours.
        refusal_age: how long a refusal to create a Job counts; creation is retried more often than that.
        answer_soon: look again after at most this time while an inspection is pending.
        repeat, repeats: first pause and number of repeats of a CPU step that failed for a cause that may pass, such
            as a storage outage. The pause doubles each time. No repeats with ``retries.passes: 0``.
        in_use: longest wait before another try at an output that somebody else has locked.
        restarts: how often a run may repeat something because a Job or its report was lost.
        pods: the operator's current Pod settings.
    """

    notice: float = 30.0
    slow_start: float = 300.0
    progress_after: float = 30.0
    configuration_grace: float = 60.0
    pull_grace: float = 300.0
    without_pods: float = 10.0
    not_taken_up: float = 90.0
    back_off: float = 660.0
    queue_pending: float = 60.0
    queue_controller: float = 300.0
    node_loss: float = 60.0
    sidecar_grace: float = 60.0
    report_grace: float = 15.0
    look_again: float = 120.0
    answer_age: float = 120.0
    queue_answer_age: float = 590.0
    refusal_age: float = 590.0
    answer_soon: float = 5.0
    repeat: float = 30.0
    repeats: int = 5
    in_use: float = 600.0
    restarts: int = 10
    pods: PodSettings = field(default_factory=PodSettings)


@dataclass(frozen=True)
class DecisionContext:
    """What stays the same during one decision; `before` is the status at its start."""

    observed: Observed
    settings: DecideSettings
    now: datetime
    before: Status

    @property
    def state_before(self) -> ObjectState:
        """The object's state before this decision."""
        return state_of(self.before)

    def pods_of(self, job: ObservedJob) -> list[ObservedPod]:
        """The Pods of this Job, not those of an earlier Job of the same name."""
        return self._pods_by_job.get(job.uid, [])

    @cached_property
    def _pods_by_job(self) -> dict[str, list[ObservedPod]]:
        found: dict[str, list[ObservedPod]] = {}
        for pod in self.observed.pods:
            found.setdefault(pod.owner_uid, []).append(pod)
        return found

    def answer(self, inspection: Inspection, age: float | None = None) -> Answer | None:
        """The answer to an inspection; None if missing or older than `age` (default: ``answer_age``)."""
        answer = self.observed.answers.get(inspection)
        oldest = self.settings.answer_age if age is None else age
        if answer is None or (self.now - answer.at).total_seconds() > oldest:
            return None
        return answer


@dataclass(frozen=True)
class ObjectState:
    """Phase of the object, with reason and message of the condition that explains it."""

    phase: Phase
    reason: str
    message: str = ""


@dataclass(frozen=True)
class PartialDecision:
    """A decision in progress.

    Attributes:
        memory: the part of the status that later decisions build on: run, pass, counts.
        state: phase, reason and message to report.
        actions: to carry out, in order.
        again_after: seconds until the next decision; None to wait for events only.
    """

    memory: Status
    state: ObjectState
    actions: tuple[Action, ...] = ()
    again_after: float | None = None

    def also(self, *actions: Action, again_after: float | None = None) -> PartialDecision:
        """A copy with more actions and an earlier `again_after`. Drops a second deletion of the same Job."""
        deleted = {action.uid for action in self.actions if isinstance(action, DeleteJob)}
        new = [each for each in actions if not (isinstance(each, DeleteJob) and each.uid in deleted)]
        return replace(self, actions=(*self.actions, *new), again_after=earliest(self.again_after, again_after))


@dataclass(frozen=True)
class Run:
    """One run of the object's work: its plan, what the status remembers of it, and its Jobs by step."""

    context: DecisionContext
    plan: Plan
    memory: Status
    jobs: Mapping[str, ObservedJob] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.context.now

    @property
    def settings(self) -> DecideSettings:
        return self.context.settings

    @cached_property
    def stages(self) -> dict[str, StageStatus]:
        """Status of the stages of this pass by name; empty until the index has counted."""
        return {stage.name: stage for stage in self.memory.stages}

    def gpus_of(self, stage: str) -> int:
        """GPUs that each Pod of the stage holds, by the plan: what a Job says of itself does not count."""
        return needs_of(self.plan, stage, self.settings.pods).gpus

    def remembering(self, **changes: Any) -> Run:
        """A copy with changed memory."""
        return replace(self, memory=self.memory.model_copy(update=changes))

    def with_stage(self, stage: StageStatus) -> Run:
        return self.remembering(stages=[stage if each.name == stage.name else each for each in self.memory.stages])

    def decided(self, state: ObjectState, *actions: Action, again_after: float | None = None) -> PartialDecision:
        """The decision about this run."""
        return PartialDecision(self.memory, state, actions, again_after)


def state_of(status: Status) -> ObjectState:
    """The object's state: its phase, with reason and message of the condition that matches the phase."""
    kind = status.phase if status.phase in (*ENDS, "Waiting", "Suspended") else "Progressing"
    condition = condition_of(status.conditions, kind)
    if condition is None:
        return ObjectState(status.phase, status.phase)
    return ObjectState(status.phase, condition.reason, condition.message)


def condition_of(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type; None if it was never set."""
    return next((condition for condition in conditions if condition.type == kind), None)
