"""The whole status from what is remembered and how the object stands, and whether it must be written at once."""

from __future__ import annotations

from scenewright.api.status import Condition, StageStatus, Status, number_texts, rate_text
from scenewright.reconcile.decide import counts
from scenewright.reconcile.decide.turns import Turn
from scenewright_stages.contract.reports import cut

MAXIMUM_STATUS_BYTES = 32 * 1024
_IN_PARTS = ("conditions", "stages")
_PROGRESS = ("progress", "failed", "rate", "message")
_EXPLAINED = ("Waiting", "Suspended", "Failed")
LONGEST_LINE = 80
_ESSENTIAL = tuple(name for name in Status.model_fields if name not in (*_IN_PARTS, *_PROGRESS))


def status_of(turn: Turn, conditions: list[Condition], generation: int) -> Status:
    """The status that should be there, at most 32 KiB of JSON."""
    memory = turn.memory
    finished, total, failed = counts.finished_of_all(memory.stages)
    running = next((stage for stage in memory.stages if stage.name == memory.stage), None)
    rate = running.samples_per_minute if running is not None else 0.0
    standing = turn.standing
    explained = standing.phase in _EXPLAINED
    measured = ", ".join(number_texts(running.numbers)) if running is not None else ""
    status = memory.model_copy(
        update={
            "observed_generation": generation,
            "phase": standing.phase,
            "reason": standing.reason if explained else "",
            "message": cut(standing.message.partition("\n")[0] if explained else measured, LONGEST_LINE),
            "conditions": conditions,
            "progress": f"{finished}/{total}" if total else "",
            "failed": failed + memory.rejected,
            "rate": rate_text(rate) if rate else "",
        }
    )
    return bounded(status)


def bounded(status: Status) -> Status:
    """The status without what ended stages measured, and its last warnings and failures, as long as it is too large."""
    if any(stage.numbers for stage in status.stages) and size_of(status) > MAXIMUM_STATUS_BYTES:
        stages = [stage.model_copy(update={"numbers": {}}) if stage.finished_at else stage for stage in status.stages]
        status = status.model_copy(update={"stages": stages})
    while (status.warnings or status.failures) and size_of(status) > MAXIMUM_STATUS_BYTES:
        kept = {"warnings": []} if status.warnings else {"failures": status.failures[: len(status.failures) // 2]}
        status = status.model_copy(update=kept)
    return status


def size_of(status: Status) -> int:
    """Bytes of the status as JSON."""
    return len(status.model_dump_json(by_alias=True))


def is_urgent(before: Status, after: Status) -> bool:
    """Whether more than progress differs: then it is written at once."""
    return _essence(before) != _essence(after)


def _essence(status: Status) -> tuple[object, ...]:
    """What of a status may not be written a few seconds later; compared at every turn, so nothing is copied."""
    return (
        *(getattr(status, name) for name in _ESSENTIAL),
        [(each.type, each.status, each.reason, each.observed_generation) for each in status.conditions],
        [_essence_of_stage(stage) for stage in status.stages],
    )


def _essence_of_stage(stage: StageStatus) -> tuple[object, ...]:
    """A stage with its state; that a Job's first Pod has started is progress."""
    state = "Waiting" if stage.state == "Running" else stage.state
    return stage.name, state, stage.indexed, stage.shards.total, stage.finished_at
