"""The decision: from everything that is observed of an object to what is done about it, without any I/O."""

from __future__ import annotations

from datetime import datetime

from scenewright.api.status import Status
from scenewright.planning.plan import Plan
from scenewright.reconcile.actions import Decision, Inspect
from scenewright.reconcile.decide import chain, nodes
from scenewright.reconcile.decide.cautions import cautions
from scenewright.reconcile.decide.conditions import conditions_of
from scenewright.reconcile.decide.gates import own_jobs, refused, started, suspended
from scenewright.reconcile.decide.memory import begun_work, read_status, remembered, with_inputs
from scenewright.reconcile.decide.notices import notices
from scenewright.reconcile.decide.over import at_rest, awaits_choice, over
from scenewright.reconcile.decide.restarting import deletions
from scenewright.reconcile.decide.settings import DecideSettings
from scenewright.reconcile.decide.summary import is_urgent, status_of
from scenewright.reconcile.decide.times import soonest
from scenewright.reconcile.decide.turns import ENDS, Run, Situation, Turn
from scenewright.reconcile.observation import Observed, Refusal


def decide(observed: Observed, settings: DecideSettings, now: datetime) -> Decision:
    """What to do now about one object.

    The same observation at the same moment gives the same decision, whatever was decided before: all memory is in
    the status and in the Jobs.

    Args:
        observed: the object, its Jobs, its Pods, and what else was asked for.
        settings: durations and bounds.
        now: the moment, with a time zone.
    """
    situation = Situation(observed, settings, now, read_status(observed.object.status))
    released, again_after = nodes.releases(situation)
    if observed.object.deleting:
        return Decision(tuple(released), again_after=again_after)
    if isinstance(observed.work, Refusal) and _has_ended(situation):
        # This version would refuse the spec, but the work has ended under another one: leave the status alone.
        turn = over(situation, situation.before).also(*released, again_after=again_after)
        return Decision(turn.actions, again_after=turn.again_after)
    turn = _turn(situation).also(*released, again_after=again_after)
    return _concluded(situation, turn)


def _has_ended(situation: Situation) -> bool:
    return situation.before.phase in ENDS and bool(begun_work(situation.observed.object))


def _turn(situation: Situation) -> Turn:
    """The part that looks at the work."""
    work = situation.observed.work
    if isinstance(work, Refusal):
        return refused(situation, situation.before, work)
    memory = remembered(situation.before, work)
    if memory.phase in ENDS:
        return over(situation, memory)
    if work.spec.suspend:
        return suspended(situation, memory)
    if awaits_choice(memory):
        return at_rest(situation, memory)
    if not memory.run:
        return started(situation, work, memory)
    return _continued(situation, work, memory)


def _continued(situation: Situation, plan: Plan, memory: Status) -> Turn:
    """Goes on with the run, and ends whatever belongs to another one."""
    own, others = own_jobs(situation.observed.jobs, memory.run, plan.work_hash)
    turn = chain.proceed(Run(situation, with_inputs(plan, memory), memory, own))
    return turn.also(*deletions(others, "it belongs to another run"))


def _concluded(situation: Situation, turn: Turn) -> Decision:
    """Conditions, Events and urgency."""
    observed, before = situation.observed, situation.before
    generation = observed.object.generation
    warning, asks = cautions(situation, observed.work) if isinstance(observed.work, Plan) else (None, [])
    conditions = conditions_of(turn.standing, warning, before.conditions, generation, situation.now)
    status = status_of(turn, conditions, generation)
    questions = [*asks, *(each for each in turn.actions if isinstance(each, Inspect))]
    if questions:
        # The status is left to the decision that has the answers, and so are its Events.
        others = [each for each in turn.actions if not isinstance(each, Inspect)]
        return Decision((*questions, *others), again_after=soonest(turn.again_after, situation.settings.answer_soon))
    return Decision(
        actions=(*turn.actions, *notices(before, status)),
        status=status,
        urgent=is_urgent(before, status),
        again_after=turn.again_after,
    )
