"""What a stage process does with each line of its worklist, judged from the records there are: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.records import OutputFile, Record, crashes
from scenewright_stages.worker.fetching import Assignment
from scenewright_stages.worker.standing import (
    UPSTREAM_MISSING,
    UPSTREAM_RUNS,
    Histories,
    Standing,
    blocked,
    chain_standings,
    current_upstream,
    input_fingerprint,
)
from scenewright_stages.worker.worklists import Todo

CRASHED = "Crashed"


@dataclass
class Agenda:
    """What is to be done with the lines of a worklist.

    Attributes:
        assignments: samples to run, those first that ran when an earlier process died.
        records: ends that need no run: skipped and crashed samples.
        ended: records of samples that an earlier attempt of this run ended, or that turn out to be up to date.
    """

    assignments: list[Assignment] = field(default_factory=list)
    records: list[tuple[Record, float]] = field(default_factory=list)
    ended: list[Record] = field(default_factory=list)


def make_agenda(
    stages: Sequence[StageSpec],
    keys: Mapping[str, str],
    todos: Iterable[Todo],
    histories: Histories,
    run: str,
    allowed_crashes: int,
) -> Agenda:
    """Sorts the lines of a worklist of the last of `stages`.

    Args:
        stages: the stage and all that it depends on, in order.
        keys: by stage.
        todos: lines of the worklist.
        histories: records of the stages.
        run: the run's id: crashes of other runs do not count.
        allowed_crashes: a sample that took this many attempts down, at least one of them when it ran alone, is not
            tried again.
    """
    agenda = Agenda()
    stage = stages[-1]
    for todo in todos:
        every = histories.get(stage.name, {}).get(todo.sample.id, ())
        history = counting_records(todo, every)
        relevant = {**histories, stage.name: {todo.sample.id: history}}
        standings = chain_standings(stages, keys, todo.sample, relevant, None)
        # All of this run's crashes: a folded process lists the work anew each time that it is started again.
        crashed = crashes(every, run).get(todo.sample.id, 0)
        blamed = crashed >= allowed_crashes and crashes(every, run, alone=True).get(todo.sample.id, 0) > 0
        _sort_line(agenda, stage, keys[stage.name], todo, standings, (crashed, blamed))
    agenda.assignments.sort(key=lambda assignment: not assignment.suspected)
    return agenda


def counting_records(todo: Todo, history: Sequence[Record]) -> list[Record]:
    """The records that count against a line of a worklist.

    A sample that was listed for itself counts as ended only by records that are younger than the list. One that was
    listed because something upstream runs again may still be up to date, if what it reads came out the same.
    """
    if todo.reason == UPSTREAM_RUNS:
        return [record for record in history if record.at > todo.after or record.state != "failed"]
    return [record for record in history if record.at > todo.after]


def _sort_line(
    agenda: Agenda, stage: StageSpec, key: str, todo: Todo, standings: Mapping[str, Standing], crashed: tuple[int, bool]
) -> None:
    base: dict[str, Any] = {
        "sample": todo.sample.id,
        "stage": stage.name,
        "key": key,
        "fingerprint": input_fingerprint(stage, todo.sample),
        "upstream": current_upstream(stage, standings),
    }
    skip = blocked(stage, standings) or _upstream_missing(stage, standings)
    standing = standings[stage.name]
    if skip is not None:
        record = Record(state="skipped", reason=skip.reason, message=skip.message, **base)
        agenda.records.append((record, todo.after))
    elif standing.record is not None:
        agenda.ended.append(standing.record)
    elif crashed[1]:
        message = f"the process died {crashed[0]} times while it worked on this sample"
        agenda.records.append((Record(state="failed", reason=CRASHED, message=message, **base), todo.after))
    else:
        agenda.assignments.append(Assignment(todo, _upstream_files(stage, standings), crashed[0] > 0))


def _upstream_missing(stage: StageSpec, standings: Mapping[str, Standing]) -> Standing | None:
    missing = [name for name in stage.upstream() if standings[name].state == "todo"]
    if not missing:
        return None
    return Standing("skipped", None, UPSTREAM_MISSING, f"{' and '.join(missing)} has no record of this sample")


def _upstream_files(stage: StageSpec, standings: Mapping[str, Standing]) -> dict[str, dict[str, OutputFile]]:
    files: dict[str, dict[str, OutputFile]] = {}
    for read in stage.reads:
        record = standings[read.stage].record if read.stage != INPUT else None
        if record is not None:
            names = read.outputs or tuple(record.outputs)
            files[read.stage] = {name: record.outputs[name] for name in names if name in record.outputs}
    return files
