"""What the parts of the planner hand to each other: what they see, their patience, and what is decided so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from scenewright.api.status import ENDS, Condition, Phase, StageStatus, Status
from scenewright.execution.jobs import PodSettings
from scenewright.planning.plan import Plan
from scenewright.reconcile.act.actions import Action, DeleteJob
from scenewright.reconcile.cache.observation import Answer, Inspection, Observed, ObservedJob, ObservedPod


def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> datetime | None:
    """The inverse of :func:`text_of`; None for an empty text or one that is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Seconds from one moment to another; never negative, for clocks of two machines differ."""
    return max(0.0, (later - earlier).total_seconds())


def soonest(*waits: float | None) -> float | None:
    """The shortest of the waits that there are, at least a second; None when there is none."""
    given = [wait for wait in waits if wait is not None]
    return max(1.0, min(given)) if given else None


@dataclass(frozen=True)
class DecideSettings:
    """Durations in seconds, and bounds.

    Attributes:
        notice: a Pod that cannot be scheduled becomes a condition after this time.
        slow_start: a scheduled Pod that has not started becomes a condition after this time.
        progress_after: progress of a stage is told once its Job is so old; a short stage costs no write for it.
        configuration_grace: a Pod whose configuration is wrong fails the run after this time; what it names may be
            applied a moment later than the object.
        pull_grace: an image that cannot be pulled fails the run after this time.
        without_pods: a Job without Pods is looked into after this time.
        not_taken_up: a Job that the Job controller has not looked at becomes a condition after this time. Longer than
            `queue_pending`, so that one that its queue has just let go is not told of.
        back_off: the Job controller waits for up to ten minutes between attempts at an index; only a longer pause
            without Pods is looked into.
        queue_pending, queue_controller: a Job that its queue holds back becomes a condition after the first, and
            nobody seems to serve the queue, or there is no such queue, after the second.
        node_loss: a Pod that terminates for this much longer than its grace period has perhaps lost its node.
        report_grace: how long the Pod's report may arrive later than the Job's end.
        look_again: what waits for others (deletions, other objects) is looked at after this time, whatever the events.
        answer_age: an inspection older than this is asked again, while its answer matters.
        queue_answer_age: the same of what a queue said of a Job that waits in it: many may wait for hours.
        refusal_age: for so long a refusal to create a Job is taken to hold; it is tried again more often than that.
        answer_soon: when to look again at the latest while an inspection is under way.
        repeat, repeats: a CPU step that failed for want of something that may come back, such as the storage, is
            repeated after this time, then after twice as long and so on, so often; never with ``retries.passes: 0``.
        in_use: an output that somebody else has is looked at after this time at the latest, and as often.
        restarts: how often a run repeats something because a Job or its report was gone.
        pods: the operator's current configuration of Pods.
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
    """What does not change within one decision; `before` is the status at its beginning."""

    observed: Observed
    settings: DecideSettings
    now: datetime
    before: Status

    @property
    def state_before(self) -> ObjectState:
        """How the object stood."""
        return state_of(self.before)

    def pods_of(self, job: ObservedJob) -> list[ObservedPod]:
        """The Pods of a Job, and none of an earlier Job of the same name."""
        return self._pods_by_job.get(job.uid, [])

    @cached_property
    def _pods_by_job(self) -> dict[str, list[ObservedPod]]:
        found: dict[str, list[ObservedPod]] = {}
        for pod in self.observed.pods:
            found.setdefault(pod.owner_uid, []).append(pod)
        return found

    def answer(self, inspection: Inspection, age: float | None = None) -> Answer | None:
        """The answer to an inspection, unless there is none or it is too old (``answer_age`` when none is given)."""
        answer = self.observed.answers.get(inspection)
        oldest = self.settings.answer_age if age is None else age
        if answer is None or (self.now - answer.at).total_seconds() > oldest:
            return None
        return answer


@dataclass(frozen=True)
class ObjectState:
    """How the object stands, in the words of its conditions."""

    phase: Phase
    reason: str
    message: str = ""


@dataclass(frozen=True)
class PartialDecision:
    """A decision so far.

    Attributes:
        memory: the status as far as later decisions build on it: run, pass, counts.
        state: what phase and conditions say.
        actions: what to do, in order.
        again_after: seconds until the next look, None when only events matter.
    """

    memory: Status
    state: ObjectState
    actions: tuple[Action, ...] = ()
    again_after: float | None = None

    def also(self, *actions: Action, again_after: float | None = None) -> PartialDecision:
        """The same with more actions and an earlier look. A Job is deleted once, for the first reason given."""
        deleted = {action.uid for action in self.actions if isinstance(action, DeleteJob)}
        new = [each for each in actions if not (isinstance(each, DeleteJob) and each.uid in deleted)]
        return replace(self, actions=(*self.actions, *new), again_after=soonest(self.again_after, again_after))


@dataclass(frozen=True)
class Run:
    """One run of the object's work: its plan, what is known of it, and its Jobs by step."""

    context: DecisionContext
    plan: Plan
    memory: Status
    jobs: Mapping[str, ObservedJob] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The moment of the decision."""
        return self.context.now

    @property
    def settings(self) -> DecideSettings:
        """Durations and bounds."""
        return self.context.settings

    @cached_property
    def stages(self) -> dict[str, StageStatus]:
        """What is known of the stages of this pass, by name; empty until the index has counted."""
        return {stage.name: stage for stage in self.memory.stages}

    def remembering(self, **changes: Any) -> Run:
        """The same run with other knowledge."""
        return replace(self, memory=self.memory.model_copy(update=changes))

    def with_stage(self, stage: StageStatus) -> Run:
        """The same run with other knowledge of one stage."""
        return self.remembering(stages=[stage if each.name == stage.name else each for each in self.memory.stages])

    def decided(self, state: ObjectState, *actions: Action, again_after: float | None = None) -> PartialDecision:
        """The end of a decision about this run."""
        return PartialDecision(self.memory, state, actions, again_after)


def state_of(status: Status) -> ObjectState:
    """How the object of a status stands: what the condition that its phase comes from says."""
    kind = status.phase if status.phase in (*ENDS, "Waiting", "Suspended") else "Progressing"
    condition = condition_of(status.conditions, kind)
    if condition is None:
        return ObjectState(status.phase, status.phase)
    return ObjectState(status.phase, condition.reason, condition.message)


def condition_of(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type, None when it was never set."""
    return next((condition for condition in conditions if condition.type == kind), None)
