"""Decides what to do about one object, without any I/O. The reconciler calls :func:`decide`.

A decision has actions and the complete new status, which is limited in size. The status is urgent when more than
progress has changed.
"""

from __future__ import annotations

from datetime import datetime

from scenewright.api.names import MANAGER
from scenewright.api.status import ENDS, Condition, StageStatus, Status, number_texts, rate_text
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Observed, ObservedObject, Refusal
from scenewright.reconcile.decide import admission, blockers, budget, chain, counts, sweeps
from scenewright.reconcile.decide.actions import Decision, Inspect
from scenewright.reconcile.decide.conditions import conditions_of, events_of, warning_of
from scenewright.reconcile.decide.context import (
    DecideSettings,
    DecisionContext,
    ObjectState,
    PartialDecision,
    Run,
    earliest,
    state_of,
)
from scenewright.reconcile.decide.endings import deletions
from scenewright.reconcile.decide.finished import keep_waiting, over
from scenewright.reconcile.decide.memory import remembered, with_inputs
from scenewright.reconcile.decide.preconditions import own_jobs, refused, started, suspended
from scenewright_stages.contract.layout import SUMMARY
from scenewright_stages.contract.reports import AWAITING, cut


def decide(observed: Observed, settings: DecideSettings, now: datetime) -> Decision:
    """What to do now about one object.

    Deterministic: the same observation at the same time gives the same decision. The only memory is the object's
    status and its Jobs.
    """
    context = DecisionContext(observed, settings, now, observed.object.status)
    if observed.object.spec.get("managedBy") not in (None, MANAGER):
        return Decision()
    released, again_after = blockers.releases(context)
    if observed.object.deleting:
        return Decision(tuple(released), again_after=again_after)
    has_ended = context.before.phase in ENDS and bool(observed.object.begun_work)
    if isinstance(observed.work, Refusal) and has_ended:
        # This version refuses the spec, but the work ended under an earlier version: keep its status.
        partial = over(context, context.before).also(*released, again_after=again_after)
        return Decision(partial.actions, again_after=partial.again_after)
    partial = admission.released(context, _about_work(context)).also(*released, again_after=again_after)
    return _concluded(context, partial)


def _about_work(context: DecisionContext) -> PartialDecision:
    """Decides about the object's work: the branch for its current state."""
    work = context.observed.work
    if isinstance(work, Refusal):
        return refused(context, context.before, work)
    memory = remembered(context.before, work)
    if memory.phase in ENDS:
        return over(context, memory)
    if work.children:
        return sweeps.swept(context, work, memory)
    if work.spec.suspend:
        spent = budget.without_run(work, memory, context.now)
        return suspended(context, memory.model_copy(update={"spent": spent}))
    if (memory.phase, state_of(memory).reason) == ("Waiting", AWAITING):
        return keep_waiting(context, memory)
    return _about_run(context, work, memory)


def _about_run(context: DecisionContext, work: Plan, memory: Status) -> PartialDecision:
    """Starts a run or moves it forward, unless its budget is used up."""
    if budget.reached(work, memory):
        return budget.resting(context, work, memory)
    if not memory.run:
        return started(context, work, memory)
    own, others = own_jobs(context.observed.jobs, memory.run, work.work_hash)
    run = budget.measured(Run(context, with_inputs(work, memory), memory, own))
    partial = budget.exhausted(run) or chain.proceed(run).also(again_after=budget.seconds_left(run))
    return partial.also(*deletions(others, "it belongs to another run"))


def _concluded(context: DecisionContext, partial: PartialDecision) -> Decision:
    """Adds conditions, Events and urgency."""
    observed, before = context.observed, context.before
    generation = observed.object.generation
    warning, asks = warning_of(context, observed.work) if isinstance(observed.work, Plan) else (None, [])
    conditions = conditions_of(partial.state, warning, before.conditions, generation, context.now)
    status = status_of(partial, conditions, generation)
    questions = [*asks, *(each for each in partial.actions if isinstance(each, Inspect))]
    if questions:
        # The next decision, which has the answers, writes the status and posts the Events.
        others = [each for each in partial.actions if not isinstance(each, Inspect)]
        return Decision((*questions, *others), again_after=earliest(partial.again_after, context.settings.answer_soon))
    return Decision(
        actions=(*partial.actions, *events_of(before, status)),
        status=status,
        urgent=is_urgent(before, status),
        again_after=partial.again_after,
    )


def stalled(observed: ObservedObject, reason: str, message: str, now: datetime) -> Decision:
    """Says that the operator cannot go on with an object for now; everything else in its status stays.

    The status stays about the generation that it was about: what is new in the object has not been looked at. A final
    status stays as it is.
    """
    before = observed.status
    if observed.deleting or observed.ended:
        return Decision()
    state = ObjectState("Waiting", reason, f"{message}; it is tried again, and the operator's log has more")
    conditions = conditions_of(state, None, before.conditions, observed.generation, now)
    status = status_of(PartialDecision(before, state), conditions, before.observed_generation)
    return Decision(tuple(events_of(before, status)), status, urgent=True)


MAXIMUM_STATUS_BYTES = 32 * 1024
_IN_PARTS = ("conditions", "stages", "sweep")
_PROGRESS = ("progress", "failed", "rate", "message")
_EXPLAINED = ("Waiting", "Suspended", "Failed")
LONGEST_LINE = 80
_ESSENTIAL = tuple(name for name in Status.model_fields if name not in (*_IN_PARTS, *_PROGRESS))


def status_of(partial: PartialDecision, conditions: list[Condition], generation: int) -> Status:
    """The complete new status, at most 32 KiB of JSON."""
    memory = partial.memory
    finished, total, failed = counts.finished_of_all(memory.stages)
    running = next((stage for stage in memory.stages if stage.name == memory.stage), None)
    rate = running.samples_per_minute if running is not None else 0.0
    state = partial.state
    explained = state.phase in _EXPLAINED
    measured = ", ".join(number_texts(running.numbers)) if running is not None else ""
    status = memory.model_copy(
        update={
            "observed_generation": generation,
            "phase": state.phase,
            "reason": state.reason if explained else "",
            "message": cut(state.message.partition("\n")[0] if explained else measured, LONGEST_LINE),
            "conditions": conditions,
            "progress": f"{finished}/{total}" if total else "",
            # Once publish has counted, its numbers are the ones to show.
            "failed": memory.samples.failed if memory.samples.total else failed + memory.rejected,
            "rate": rate_text(rate) if rate else "",
        }
    )
    return bounded(status)


def bounded(status: Status) -> Status:
    """Shrinks a status that is too large: drops the numbers of ended stages, then warnings, then the last failures."""
    if any(stage.numbers for stage in status.stages) and size_of(status) > MAXIMUM_STATUS_BYTES:
        stages = [stage.model_copy(update={"numbers": {}}) if stage.finished_at else stage for stage in status.stages]
        status = status.model_copy(update={"stages": stages})
    if len(status.warnings) > 1 and size_of(status) > MAXIMUM_STATUS_BYTES:
        status = status.model_copy(update={"warnings": [f"too long for the status: see {SUMMARY}"]})
    while status.failures and size_of(status) > MAXIMUM_STATUS_BYTES:
        status = status.model_copy(update={"failures": status.failures[: len(status.failures) // 2]})
    return status


def size_of(status: Status) -> int:
    """Bytes of the status as JSON."""
    return len(status.model_dump_json(by_alias=True))


def is_urgent(before: Status, after: Status) -> bool:
    """Whether more than progress differs, so that it must be written at once."""
    return _comparable_fields(before) != _comparable_fields(after)


def _comparable_fields(status: Status) -> tuple[object, ...]:
    """The part of a status whose change is urgent. Compared at each decision, so it makes no copies."""
    return (
        *(getattr(status, name) for name in _ESSENTIAL),
        [(each.type, each.status, each.reason, each.observed_generation) for each in status.conditions],
        [_comparable_stage_fields(stage) for stage in status.stages],
        [(row.name, row.phase) for row in status.sweep.children] if status.sweep is not None else (),
    )


def _comparable_stage_fields(stage: StageStatus) -> tuple[object, ...]:
    """The urgent part of a stage. Waiting and Running count as equal: the first Pod's start is only progress."""
    state = "Waiting" if stage.state == "Running" else stage.state
    return stage.name, state, stage.indexed, stage.shards.total, stage.finished_at
