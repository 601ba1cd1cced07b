"""Kubernetes Events: one for each phase that a run comes to, and one for whatever people should look at."""

from __future__ import annotations

from collections.abc import Iterable

from scenewright.api.status import Condition, Status
from scenewright.reconcile.actions import EmitEvent
from scenewright.reconcile.decide.turns import ENDS, condition_of
from scenewright_stages.contract.reports import OUTPUT_IN_USE

EXPECTED = frozenset(
    {"Suspended", "OutputBusy", OUTPUT_IN_USE, "DependencyRunning", "QueuePending", "WaitingForCapacity"}
)
"""Reasons that ask nobody to do anything."""
_WORKING = {
    "Indexing": "the input is listed",
    "Running": "stage {stage} runs",
    "Publishing": "the results are published",
}
"""Phases that an object comes to by itself, and what is done in them."""


def notices(before: Status, after: Status) -> list[EmitEvent]:
    """The Events of the change from one status to the next."""
    events: list[EmitEvent] = []
    if after.run and after.run != before.run:
        events.append(EmitEvent("Normal", "Started", f"run {after.run} has started"))
    elif after.phase in _WORKING and after.phase != before.phase:
        events.append(EmitEvent("Normal", after.phase, _WORKING[after.phase].format(stage=after.stage)))
    for kind in ("Suspended", "Warning", "Waiting"):
        told = _became(kind, before.conditions, after.conditions)
        if told is not None:
            events.append(EmitEvent("Normal" if told.reason in EXPECTED else "Warning", told.reason, told.message))
    if after.passes > max(1, before.passes) or after.restarts > before.restarts:
        events.append(EmitEvent("Warning", *_progressing(after)))
    if after.phase in ENDS:
        events += _ended(before, after)
    return events


def _ended(before: Status, after: Status) -> list[EmitEvent]:
    told = condition_of(after.conditions, after.phase)
    known = condition_of(before.conditions, after.phase)
    if told is None or (known is not None and (known.status, known.reason) == (told.status, told.reason)):
        return []
    if after.phase == "Complete":
        return [EmitEvent("Normal", "Complete", told.message)]
    return [EmitEvent("Warning", told.reason, told.message)]


def _became(kind: str, before: Iterable[Condition], after: Iterable[Condition]) -> Condition | None:
    """The condition when it has come true, or is true for another reason than before."""
    told, known = condition_of(after, kind), condition_of(before, kind)
    if told is None or told.status != "True":
        return None
    if known is not None and (known.status, known.reason) == (told.status, told.reason):
        return None
    return told


def _progressing(status: Status) -> tuple[str, str]:
    told = condition_of(status.conditions, "Progressing")
    return (told.reason, told.message) if told is not None else ("NextPass", "")
