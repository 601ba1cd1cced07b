"""Whether a sample is up to date in a stage, judged from records alone: pure functions.

Paths of outputs contain no key, so a run under other parameters writes over what an earlier run stored. A ``done``
record therefore counts only while it is the last that may have written its paths: a ``started`` or ``done`` record of
the same sample and stage, under whatever key, that is younger than it ends its worth. (``started`` is stored before
the first output is, and record times of one sample never go backwards: see :class:`Todo.after
<scenewright_stages.worker.worklists.Todo>`.) Going from parameter A to B and back to A thus makes A's files again.
Files that somebody deleted or cut are noticed by the listing of the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scenewright_stages.contract.expansion import ancestor
from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample

NO_RECORD = "no record"
PARAMETERS_CHANGED = "parameters changed"
INPUT_CHANGED = "input changed"
UPSTREAM_CHANGED = "upstream changed"
UPSTREAM_RUNS = "upstream runs again"
OUTPUTS_MISSING = "outputs missing"
OVERWRITTEN = "overwritten by other parameters"
INTERRUPTED = "interrupted"
FAILED_BEFORE = "failed before"

UPSTREAM_FAILED = "UpstreamFailed"
UPSTREAM_MISSING = "UpstreamMissing"

Histories = Mapping[str, Mapping[str, Sequence[Record]]]
"""Records by stage and sample, of all keys."""


@dataclass(frozen=True)
class Standing:
    """How a sample stands in a stage.

    Attributes:
        state: ``done`` (up to date), ``failed`` (and nothing changed since), ``skipped`` (cannot run, or was rejected:
            then there is a record), or ``todo``.
        record: the record that says so; of a ``todo`` sample there is none.
        reason: why it is to run, failed or was skipped.
        message: details of a failure or a skip.
    """

    state: Literal["done", "failed", "skipped", "todo"]
    record: Record | None = None
    reason: str = ""
    message: str = ""


def chain_standings(
    stages: Sequence[StageSpec],
    keys: Mapping[str, str],
    sample: Sample,
    histories: Histories,
    sizes: Mapping[str, int] | None,
) -> dict[str, Standing]:
    """How one sample stands in every stage of a chain, in order.

    In stages below an expansion that the sample comes from, it is the sample that was expanded that counts.

    Args:
        stages: a chain that is closed under `reads`, in the order in which it runs.
        keys: current key by stage.
        sample: as the last stages work on it.
        histories: its records, possibly among others.
        sizes: size by path of everything in the output, None to trust the records.
    """
    standings: dict[str, Standing] = {}
    levels: dict[str, int] = {}
    for stage in stages:
        levels[stage.name] = max((levels[name] for name in stage.upstream()), default=0) + bool(stage.expands)
        own = ancestor(sample, levels[stage.name])
        history = histories.get(stage.name, {}).get(own.id, ())
        standings[stage.name] = _standing(stage, keys[stage.name], own, history, standings, sizes)
    return standings


def blocked(stage: StageSpec, standings: Mapping[str, Standing]) -> Standing | None:
    """The skip that follows from upstream stages in which the sample failed or was skipped, None when it can run."""
    for name in stage.upstream():
        above = standings[name]
        if above.state == "failed":
            return Standing("skipped", None, UPSTREAM_FAILED, f"{name} failed: {above.reason}")
        if above.state == "skipped":
            return Standing("skipped", None, above.reason, above.message)
    return None


def current_upstream(stage: StageSpec, standings: Mapping[str, Standing]) -> dict[str, dict[str, str]]:
    """Hashes of the upstream outputs that the stage reads now, as a record stores them."""
    hashes: dict[str, dict[str, str]] = {}
    for read in stage.reads:
        record = standings[read.stage].record if read.stage != INPUT else None
        if record is not None:
            names = read.outputs or tuple(record.outputs)
            hashes[read.stage] = {name: record.outputs[name].hash for name in names if name in record.outputs}
    return hashes


def input_fingerprint(stage: StageSpec, sample: Sample) -> str:
    """Fingerprint of what the stage reads of the job's input: empty for a stage that reads none of it."""
    return sample.fingerprint() if any(read.stage == INPUT for read in stage.reads) else ""


def latest_time(history: Iterable[Record]) -> float:
    """Time of the youngest record, 0 when there is none."""
    return max((record.at for record in history), default=0.0)


def _standing(
    stage: StageSpec,
    key: str,
    sample: Sample,
    history: Sequence[Record],
    standings: Mapping[str, Standing],
    sizes: Mapping[str, int] | None,
) -> Standing:
    if skip := blocked(stage, standings):
        return skip
    ended = [record for record in history if record.key == key and record.state in ("done", "failed", "rejected")]
    last = max(ended, key=lambda record: record.at, default=None)
    if any(standings[name].state == "todo" for name in stage.upstream()):
        # A sample without its files runs again whatever comes of those above it.
        lost = last is not None and last.state == "done" and _are_missing(stage, last, sizes)
        return Standing("todo", None, OUTPUTS_MISSING if lost else UPSTREAM_RUNS)
    if last is None:
        return Standing("todo", None, _why_none(key, history))
    reason = _why_stale(stage, sample, last, history, standings, sizes)
    if reason:
        return Standing("todo", None, reason)
    if last.state == "done":
        return Standing("done", last)
    return Standing("skipped" if last.state == "rejected" else "failed", last, last.reason, last.message)


def _why_none(key: str, history: Sequence[Record]) -> str:
    if any(record.key == key and record.state == "started" for record in history):
        return INTERRUPTED
    return PARAMETERS_CHANGED if any(record.state != "skipped" for record in history) else NO_RECORD


def _why_stale(
    stage: StageSpec,
    sample: Sample,
    last: Record,
    history: Sequence[Record],
    standings: Mapping[str, Standing],
    sizes: Mapping[str, int] | None,
) -> str:
    if last.fingerprint != input_fingerprint(stage, sample):
        return INPUT_CHANGED
    if last.upstream != current_upstream(stage, standings):
        return UPSTREAM_CHANGED
    later = [record for record in history if record.at > last.at and record.state in ("started", "done")]
    if any(record.key == last.key for record in later):
        return INTERRUPTED
    if last.state != "done":
        return ""
    if later:
        return OVERWRITTEN
    return OUTPUTS_MISSING if _are_missing(stage, last, sizes) else ""


def _are_missing(stage: StageSpec, done: Record, sizes: Mapping[str, int] | None) -> bool:
    """Whether a file that the stage declares was not made, was made elsewhere, or is not there in its size.

    What it declares may grow and shrink without another key: parameters that only decide what is kept are in none.
    """
    for output in stage.outputs:
        file = done.outputs.get(output.name)
        if file is None:
            if not output.optional:
                return True
        elif file.path != output.path_for(done.sample) or (sizes is not None and sizes.get(file.path) != file.size):
            return True
    return False
