"""Builds conditions, the warning among them, and Events. ``docs/reconciler.md`` lists the reasons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from scenewright.api.status import ENDS, Condition, Status
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.line import IN_LINE
from scenewright.reconcile.cache.observation import Inspection
from scenewright.reconcile.decide.actions import EmitEvent, Inspect
from scenewright.reconcile.decide.context import DecisionContext, ObjectState, condition_of, state_of, text_of
from scenewright.reconcile.decide.finished import refuses_expiry
from scenewright_stages.contract.reports import OUTPUT_IN_USE, cut

LONGEST_MESSAGE = 700
"""Bytes of a condition's message. The API server limits characters; the limit on the whole status is in bytes."""
SPEC_REFUSED = ("InvalidSpec", "NotSupported")

Truth = Literal["True", "False"]
Kind = Literal["Accepted", "Progressing", "Waiting", "Suspended", "Complete", "Failed", "Finished", "Warning"]


@dataclass(frozen=True)
class _Content:
    """One condition without its generation and transition time."""

    type: Kind
    holds: bool
    reason: str
    message: str = ""


def conditions_of(
    state: ObjectState, warning: tuple[str, str] | None, before: Iterable[Condition], generation: int, now: datetime
) -> list[Condition]:
    """All conditions. The transition time changes only when the condition's status does."""
    known = {condition.type: condition for condition in before}
    contents = _contents(state)
    if warning is not None:
        contents.append(_Content("Warning", True, *warning))
    elif "Warning" in known:
        contents.append(_Content("Warning", False, "NoWarning"))
    return [_condition(each, known.get(each.type), generation, now) for each in contents]


def _contents(state: ObjectState) -> list[_Content]:
    phase, reason, message = state.phase, state.reason, state.message
    refused = reason in SPEC_REFUSED
    over = phase in ENDS
    progressing = not over and phase not in ("Waiting", "Suspended")
    return [
        _Content("Accepted", not refused, reason if refused else "Accepted", message if refused else ""),
        _Content("Progressing", progressing, reason, message if progressing else ""),
        _if("Waiting", phase == "Waiting", state, "NotWaiting"),
        # True only once nothing runs any more; until then the message says what is still there.
        _Content("Suspended", reason == "Suspended", reason, message)
        if phase == "Suspended"
        else _Content("Suspended", False, "NotSuspended"),
        _if("Complete", phase == "Complete", state, reason if phase == "Failed" else "NotFinished"),
        _if("Failed", phase == "Failed", state, "NotFailed"),
        _Content("Finished", over, reason if over else "NotFinished"),
    ]


def _if(kind: Kind, holds: bool, state: ObjectState, otherwise: str) -> _Content:
    return _Content(kind, True, state.reason, state.message) if holds else _Content(kind, False, otherwise)


def _condition(content: _Content, before: Condition | None, generation: int, now: datetime) -> Condition:
    status: Truth = "True" if content.holds else "False"
    is_same = before is not None and before.status == status
    return Condition(
        type=content.type,
        status=status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and is_same else text_of(now),
        reason=content.reason,
        message=cut(content.message, LONGEST_MESSAGE),
    )


EXPIRY_REFUSED = "ExpiryRefused"
CACHE_NOT_SHARED = "ModelCacheNotShared"
DEPENDENCY_CHANGED = "DependencyChanged"


def warning_of(context: DecisionContext, plan: Plan) -> tuple[tuple[str, str] | None, list[Inspect]]:
    """Reason and message of the warning, and the inspections it still needs."""
    expiry = refuses_expiry(context.observed.object)
    unshared, asks = _unshared_cache(context, plan)
    found = {
        DEPENDENCY_CHANGED: _changed_inputs(context),
        EXPIRY_REFUSED: expiry,
        CACHE_NOT_SHARED: unshared,
    }
    texts = {reason: text for reason, text in found.items() if text}
    return ((next(iter(texts)), "; ".join(texts.values())) if texts else None), asks


def _changed_inputs(context: DecisionContext) -> str:
    """Warns that inputs were published again after the run started; only a retry picks them up."""
    now = {each.input: each.published for each in context.observed.dependencies}
    changed = [
        each.object
        for each in context.before.inputs
        if (latest := now.get(each.name)) is not None and latest.hash != each.hash
    ]
    if not changed:
        return ""
    return f"{', '.join(changed)} has published something else since this run started; a retry picks it up"


def _unshared_cache(context: DecisionContext, plan: Plan) -> tuple[str, list[Inspect]]:
    """Warns of a model cache claim that only one node at a time can mount, which keeps all Pods on that node."""
    claim = plan.spec.models.cache_claim
    if not claim or plan.spec.execution.max_parallelism == 1:
        return "", []
    text = (
        f"the claim {claim} can be mounted by one node at a time: the Pods of a stage share that node; "
        "use a ReadWriteMany or ReadOnlyMany claim, or maxParallelism 1"
    )
    inspection = Inspection("cache-claim", claim)
    answer = context.observed.answers.get(inspection)
    if answer is not None:
        return (text if answer.holds is False else ""), []
    before = condition_of(context.before.conditions, "Warning")
    was_so = before is not None and before.status == "True" and text in before.message
    is_over = context.before.phase in ENDS
    return (text if was_so else ""), ([] if was_so or is_over else [Inspect(inspection)])


EXPECTED = frozenset(
    {"Suspended", "OutputBusy", OUTPUT_IN_USE, "DependencyRunning", "QueuePending", "WaitingForCapacity", IN_LINE}
)
"""Reasons that need no action by anybody: Normal Events, not Warnings."""
_WORKING = {
    "Indexing": "the input is listed",
    "Running": "stage {stage} runs",
    "Publishing": "the results are published",
}
"""Event messages of the phases of a normal run."""


def events_of(before: Status, after: Status) -> list[EmitEvent]:
    """The Events for the change from one status to the next."""
    events: list[EmitEvent] = []
    if after.run and after.run != before.run:
        events.append(EmitEvent("Normal", "Started", f"run {after.run} has started"))
    elif after.phase in _WORKING and after.phase != before.phase:
        events.append(EmitEvent("Normal", after.phase, _WORKING[after.phase].format(stage=after.stage)))
    if after.passes > max(1, before.passes) or after.restarts > before.restarts:
        state = state_of(after)
        events.append(EmitEvent("Warning", state.reason, state.message))
    for kind in ("Suspended", "Warning", "Waiting", *ENDS):
        new, old = condition_of(after.conditions, kind), condition_of(before.conditions, kind)
        if new is None or new.status != "True" or (old and (old.status, old.reason) == (new.status, new.reason)):
            continue
        if kind == "Complete":
            events.append(EmitEvent("Normal", kind, new.message))
        else:
            events.append(EmitEvent("Normal" if new.reason in EXPECTED else "Warning", new.reason, new.message))
    return events
