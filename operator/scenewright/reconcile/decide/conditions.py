"""Conditions: how the object stands, in the form that `kubectl wait`, Argo CD and alerts read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from scenewright.api.status import Condition
from scenewright.reconcile.decide.times import text_of
from scenewright.reconcile.decide.turns import ENDS, Standing
from scenewright_stages.contract.reports import cut

LONGEST_MESSAGE = 700
"""Bytes of a condition's message; the API server counts characters, the status's limit counts bytes."""
SPEC_REFUSED = ("InvalidSpec", "NotSupported")

Truth = Literal["True", "False"]
Kind = Literal["Accepted", "Progressing", "Waiting", "Suspended", "Complete", "Failed", "Finished", "Warning"]


@dataclass(frozen=True)
class Told:
    """What one condition says, without its times."""

    type: Kind
    holds: bool
    reason: str
    message: str = ""


def conditions_of(
    standing: Standing, warning: tuple[str, str] | None, before: Iterable[Condition], generation: int, now: datetime
) -> list[Condition]:
    """All conditions; the time of a transition moves only when a condition's truth does.

    Args:
        standing: how the object stands.
        warning: reason and message of something that the user should know, None for nothing.
        before: conditions of the last status.
        generation: of the spec that they are about.
        now: time of the transitions of this moment.
    """
    known = {condition.type: condition for condition in before}
    told = [*_told(standing), *_warned(warning, "Warning" in known)]
    return [_condition(each, known.get(each.type), generation, now) for each in told]


def _told(standing: Standing) -> list[Told]:
    phase, reason, message = standing.phase, standing.reason, standing.message
    refused = reason in SPEC_REFUSED
    over = phase in ENDS
    progressing = not over and phase not in ("Waiting", "Suspended")
    return [
        Told("Accepted", not refused, reason if refused else "Accepted", message if refused else ""),
        Told("Progressing", progressing, reason, message if progressing else ""),
        _if("Waiting", phase == "Waiting", standing, "NotWaiting"),
        _if("Suspended", reason == "Suspended", standing, "Suspending" if phase == "Suspended" else "NotSuspended"),
        _if("Complete", phase == "Complete", standing, reason if phase == "Failed" else "NotFinished"),
        _if("Failed", phase == "Failed", standing, "NotFailed"),
        Told("Finished", over, reason if over else "NotFinished"),
    ]


def _if(kind: Kind, holds: bool, standing: Standing, otherwise: str) -> Told:
    return Told(kind, True, standing.reason, standing.message) if holds else Told(kind, False, otherwise)


def _warned(warning: tuple[str, str] | None, was_there: bool) -> list[Told]:
    """The warning; once it was there it stays, as no longer true."""
    if warning is not None:
        return [Told("Warning", True, *warning)]
    return [Told("Warning", False, "NoWarning")] if was_there else []


def _condition(told: Told, before: Condition | None, generation: int, now: datetime) -> Condition:
    status: Truth = "True" if told.holds else "False"
    is_same = before is not None and before.status == status
    return Condition(
        type=told.type,
        status=status,
        observed_generation=generation,
        last_transition_time=before.last_transition_time if before is not None and is_same else text_of(now),
        reason=told.reason,
        message=cut(told.message, LONGEST_MESSAGE),
    )
