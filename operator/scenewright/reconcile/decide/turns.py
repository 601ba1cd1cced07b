"""What the parts of the planner hand to each other: what they look at, and where a decision has got to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from scenewright.api.status import Condition, Phase, StageStatus, Status
from scenewright.planning.plan import Plan
from scenewright.reconcile.actions import Action, DeleteJob
from scenewright.reconcile.decide.settings import DecideSettings
from scenewright.reconcile.decide.times import soonest
from scenewright.reconcile.observation import Answer, Inspection, Observed, ObservedJob, ObservedPod

ENDS: tuple[Phase, ...] = ("Complete", "Failed")
"""Phases that are left only for other work."""


@dataclass(frozen=True)
class Situation:
    """What does not change within one decision; `before` is the status at its beginning."""

    observed: Observed
    settings: DecideSettings
    now: datetime
    before: Status

    @property
    def standing_before(self) -> Standing:
        """How the object stood."""
        return standing_of(self.before)

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
class Standing:
    """How the object stands, in the words of its conditions."""

    phase: Phase
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Turn:
    """Where a decision has got to.

    Attributes:
        memory: the status as far as later decisions build on it: run, pass, counts.
        standing: what phase and conditions say.
        actions: what to do, in order.
        again_after: seconds until the next look, None when only events matter.
    """

    memory: Status
    standing: Standing
    actions: tuple[Action, ...] = ()
    again_after: float | None = None

    def also(self, *actions: Action, again_after: float | None = None) -> Turn:
        """The same with further actions and an earlier look; a Job is deleted once, for the first reason given."""
        deleted = {action.uid for action in self.actions if isinstance(action, DeleteJob)}
        new = [each for each in actions if not (isinstance(each, DeleteJob) and each.uid in deleted)]
        return replace(self, actions=(*self.actions, *new), again_after=soonest(self.again_after, again_after))


@dataclass(frozen=True)
class Run:
    """One run of the object's work: its plan, what is known of it, and its Jobs by step."""

    situation: Situation
    plan: Plan
    memory: Status
    jobs: Mapping[str, ObservedJob] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The moment of the decision."""
        return self.situation.now

    @property
    def settings(self) -> DecideSettings:
        """Durations and bounds."""
        return self.situation.settings

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

    def turn(self, standing: Standing, *actions: Action, again_after: float | None = None) -> Turn:
        """The end of a decision about this run."""
        return Turn(self.memory, standing, actions, again_after)


def standing_of(status: Status) -> Standing:
    """How the object of a status stands: what the condition that its phase comes from says."""
    kind = status.phase if status.phase in (*ENDS, "Waiting", "Suspended") else "Progressing"
    condition = condition_of(status.conditions, kind)
    if condition is None:
        return Standing(status.phase, status.phase)
    return Standing(status.phase, condition.reason, condition.message)


def condition_of(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of a type, None when it was never set."""
    return next((condition for condition in conditions if condition.type == kind), None)
