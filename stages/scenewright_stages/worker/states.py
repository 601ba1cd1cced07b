"""Decides from records and files whether samples are up to date: the single rule behind resume, retry and caching.

Output paths contain no key, so a run with other parameters overwrites earlier results. A ``done`` record is therefore
valid only while no later record of the same sample and stage, ``started`` or ``done`` under any key, may have written
its paths. (``started`` is stored before the first output, and record times of a sample never go backwards: see
:class:`~scenewright_stages.worker.worklists.WorkItem`.) Changing a parameter from A to B and back to A thus makes A's
files again. Deleted or truncated files are noticed in the listing of the output.

The index step, the stages and publish all call :func:`judge`. All functions here are pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scenewright_stages.contract.keys import input_fingerprint, same_fingerprint, short_hash
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.pipeline import INPUT, Read, StageSpec
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.reports import AWAITING
from scenewright_stages.contract.samples import WHOLE_LEVEL, Sample
from scenewright_stages.worker.chain import WHOLE, Chain, Population

NO_RECORD = "no record"
PARAMETERS_CHANGED = "parameters changed"
INPUT_CHANGED = "input changed"
UPSTREAM_CHANGED = "upstream changed"
UPSTREAM_RUNS = "upstream runs again"
OUTPUTS_MISSING = "outputs missing"
OVERWRITTEN = "overwritten by other parameters"
INTERRUPTED = "interrupted"
FAILED_BEFORE = "failed before"
FORCED = "forced"

UPSTREAM_FAILED = "UpstreamFailed"
UPSTREAM_MISSING = "UpstreamMissing"
TOO_FEW = "TooFewUpstream"
PROVIDED = "provided"
"""Run of the records that stand for outputs which came with the input."""

NOT_SELECTED = "NotSelected"

State = Literal["done", "failed", "skipped", "awaiting", "unselected", "todo"]
Histories = Mapping[str, Mapping[str, Sequence[Record]]]
"""Records by stage and sample, of all keys."""


@dataclass(frozen=True)
class SampleState:
    """The state of a sample in a stage.

    Attributes:
        state: ``done`` (up to date), ``failed`` (and nothing changed since), ``skipped`` (cannot run, or was rejected
            and has a record), ``awaiting`` (a person's answer), ``unselected`` (not up to date, and its stage may not
            run), or ``todo``.
        record: the record behind the state; a ``todo`` sample has none.
        reason: why it must run, failed or was skipped.
        message: details of a failure or a skip.
        rejected: whether a rule of the pipeline left it out, or what it reads.
        follows: whether the state only follows from that of a sample above or below, which has the cause.
    """

    state: State
    record: Record | None = None
    reason: str = ""
    message: str = ""
    rejected: bool = False
    follows: bool = False


States = dict[str, dict[str, SampleState]]
"""By stage and sample."""


@dataclass(frozen=True)
class Evidence:
    """Everything that determines states.

    Attributes:
        histories: records, possibly of other samples too.
        sizes: size by path of everything in the output; None to trust the records.
        inputs: hashes of the named inputs.
        answers: hashes of people's answers by path.
    """

    histories: Histories = field(default_factory=dict)
    sizes: Mapping[str, int] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)

    def history(self, stage: str, sample: str) -> Sequence[Record]:
        """Records of one sample in one stage."""
        return self.histories.get(stage, {}).get(sample, ())


@dataclass(frozen=True)
class Upstream:
    """What a sample reads through one of its stage's reads.

    Attributes:
        reader: the sample that reads.
        read: the stage's declaration.
        members: the samples that are read, in order, each with its state in the upstream stage.
    """

    reader: Sample
    read: Read
    members: tuple[tuple[Sample, SampleState], ...]

    def outputs(self) -> list[tuple[Sample, dict[str, OutputFile]]]:
        """The outputs to read, by name, of every member that is done."""
        return [
            (sample, self._read(state.record))
            for sample, state in self.members
            if state.state == "done" and state.record
        ]

    def needed(self) -> int:
        """How many members must be done."""
        total = len(self.members)
        return total if self.read.at_least is None else min(self.read.at_least, total)

    def is_short(self) -> bool:
        """Whether fewer members are done than needed."""
        done = sum(state.state == "done" for _, state in self.members)
        return done < max(1, self.needed())

    def lacks_part(self) -> bool:
        """Whether the one file that the sample reads was not made."""
        return bool(self.read.part) and any(not files for _, files in self.outputs())

    def _read(self, record: Record) -> dict[str, OutputFile]:
        names = self.read.outputs or tuple(record.outputs)
        files = {name: record.outputs[name] for name in names if name in record.outputs}
        if not self.read.part:
            return files
        wanted = str(self.reader.attributes.get(self.read.part, ""))
        return {name: parts[wanted] for name, file in files.items() if wanted in (parts := file.files())}


class Relatives:
    """Finds the samples that a stage reads for a sample.

    Args:
        chain: gives the levels of stages.
        population: all samples that take part.
    """

    def __init__(self, chain: Chain, population: Population) -> None:
        self._levels, self._population = chain.levels, population
        self._descendants: dict[tuple[int, int], dict[str, list[Sample]]] = {}

    def upstream(self, stage: StageSpec, sample: Sample, states: States) -> list[Upstream]:
        """Everything that the stage reads for the sample, except the job's input."""
        return [
            Upstream(
                sample, read, tuple((one, states[read.stage][one.id]) for one in self._members(stage, sample, read))
            )
            for read in stage.reads
            if read.stage != INPUT
        ]

    def _members(self, stage: StageSpec, sample: Sample, read: Read) -> Sequence[Sample]:
        own, level = self._levels[stage.name], self._levels[read.stage]
        if read.of == "own":
            return [ancestor(sample, level)]
        top = own - 1 if read.of == "siblings" else own
        return self._below(top, level).get(ancestor(sample, top).id, [])

    def _below(self, top: int, level: int) -> dict[str, list[Sample]]:
        if (top, level) not in self._descendants:
            found: dict[str, list[Sample]] = {}
            for each in self._population[level]:
                found.setdefault(ancestor(each, top).id, []).append(each)
            self._descendants[top, level] = found
        return self._descendants[top, level]


def ancestor(sample: Sample, level: int) -> Sample:
    """The sample of that level in the sample's lineage, or the sample that represents the whole job."""
    return WHOLE if level == WHOLE_LEVEL else sample.at_level(level)


def judge(
    chain: Chain,
    population: Population,
    evidence: Evidence,
    *,
    stages: Sequence[StageSpec] | None = None,
    selected: frozenset[str] | None = None,
    retry_failed: bool = False,
    forced_by: str = "",
) -> States:
    """The state of every sample in every stage.

    Args:
        chain: the pipeline and its keys.
        population: samples that take part, as whole families.
        evidence: records, files, inputs and answers.
        stages: a part of the chain that is closed under `reads`; None for all of it.
        selected: stages that may run; samples of other stages are skipped unless up to date. None: all may run.
        retry_failed: whether failed samples run again.
        forced_by: id of the run that remakes everything in the selected stages once; empty if none does.
    """
    states: States = {}
    relatives = Relatives(chain, population)
    for stage in chain.stages if stages is None else stages:
        states[stage.name] = {}
        for sample in population[chain.levels[stage.name]]:
            upstream = relatives.upstream(stage, sample, states)
            state = _provided(stage, sample) or _judged(stage, chain.keys[stage.name], sample, upstream, evidence)
            if selected is not None and stage.name not in selected:
                state = _outside_selection(stage, state)
            elif state.state == "failed" and retry_failed:
                state = SampleState("todo", None, FAILED_BEFORE)
            elif forced_by and _is_older(state, forced_by):
                state = SampleState("todo", None, FORCED)
            states[stage.name][sample.id] = state
    return states


def _is_older(state: SampleState, run: str) -> bool:
    """Whether a sample can run and has not ended in this run."""
    if state.state == "todo":
        return state.reason == UPSTREAM_RUNS
    return state.record is not None and state.record.run not in (run, PROVIDED)


def blocked(upstream: Sequence[Upstream]) -> SampleState | None:
    """The state that follows from missing upstream outputs; None if the sample can run."""
    return next((state for each in upstream if (state := _blocked_by(each)) is not None), None)


def current_upstream(stage: StageSpec, upstream: Sequence[Upstream]) -> dict[str, dict[str, str]]:
    """Hashes of the upstream outputs that a stage reads now, by stage and output, as a record stores them.

    The hash of a family also covers those attributes of its members that the stage reads.
    """
    hashes: dict[str, dict[str, str]] = {}
    # A family's hash covers the sample's own output, so it must win if a stage reads both.
    for each in sorted(upstream, key=lambda each: each.read.of != "own"):
        found = each.outputs()
        if not found:
            continue
        names = sorted({name for _, files in found for name in files})
        if each.read.of == "own":
            read = {name: found[0][1][name].hash for name in names}
        else:
            read = {
                name: short_hash(
                    [
                        [one.id, files[name].hash, one.with_only(stage.attributes).attributes]
                        for one, files in found
                        if name in files
                    ]
                )
                for name in names
            }
        hashes.setdefault(each.read.stage, {}).update(read)
    return hashes


def latest_time(history: Iterable[Record]) -> float:
    """Time of the latest record, 0 if there is none."""
    return max((record.at for record in history), default=0.0)


def _provided(stage: StageSpec, sample: Sample) -> SampleState | None:
    """Done, if the input came with the stage's outputs."""
    files = sample.provided.get(stage.name)
    if not files:
        return None
    outputs = {name: OutputFile(file.uri, file.size, file.fingerprint) for name, file in files.items()}
    return SampleState("done", Record(sample.id, stage.name, "", "done", run=PROVIDED, outputs=outputs))


def _outside_selection(stage: StageSpec, state: SampleState) -> SampleState:
    if state.state not in ("todo", "awaiting") and state.reason != UPSTREAM_MISSING:
        return state
    said = f"{stage.name} is not selected and not up to date: select it too, or run it first"
    return SampleState("unselected", None, NOT_SELECTED, said)


def _blocked_by(upstream: Upstream) -> SampleState | None:
    if upstream.read.of != "own":
        return _too_few(upstream)
    above = upstream.members[0][1]
    following = {
        "failed": SampleState(
            "skipped", None, UPSTREAM_FAILED, f"{upstream.read.stage} failed: {above.reason}", follows=True
        ),
        "skipped": SampleState("skipped", None, above.reason, above.message, above.rejected, follows=True),
        "awaiting": SampleState("awaiting", None, above.reason, above.message, follows=True),
        # The cause is here: what is not selected has not failed.
        "unselected": SampleState("skipped", None, UPSTREAM_MISSING, above.message),
    }
    if above.state in following:
        return following[above.state]
    if upstream.lacks_part():
        part = upstream.reader.attributes.get(upstream.read.part)
        return SampleState("skipped", None, UPSTREAM_MISSING, f"{upstream.read.stage} made no {part}")
    return None


def _too_few(upstream: Upstream) -> SampleState | None:
    """The state if too few members of a family are done or can run now; None if there are enough."""
    counts = Counter(state.state for _, state in upstream.members)
    needed = max(1, upstream.needed())
    if counts["done"] + counts["todo"] >= needed:
        return None
    if counts["done"] + counts["todo"] + counts["awaiting"] >= needed:
        return SampleState("awaiting", None, AWAITING, f"{upstream.read.stage} waits for an answer", follows=True)
    if counts["done"] + counts["todo"] + counts["awaiting"] + counts["unselected"] >= needed:
        said = next(state.message for _, state in upstream.members if state.state == "unselected")
        return SampleState("skipped", None, UPSTREAM_MISSING, said)
    reasons = "; ".join(sorted({state.reason for _, state in upstream.members if state.reason})[:3])
    found = f"{counts['done']} of {counts.total()} are done in {upstream.read.stage}, {needed} are needed"
    lacking = [state for _, state in upstream.members if state.state != "done"]
    rejected = bool(lacking) and all(state.rejected for state in lacking)
    return SampleState(
        "skipped", None, TOO_FEW, f"{found}: {reasons}" if reasons else found, rejected, follows=bool(lacking)
    )


def _judged(
    stage: StageSpec, key: str, sample: Sample, upstream: Sequence[Upstream], evidence: Evidence
) -> SampleState:
    if state := blocked(upstream):
        return state
    history = evidence.history(stage.name, sample.id)
    ended = [record for record in history if record.key == key and record.state in ("done", "failed", "rejected")]
    last = max(ended, key=lambda record: record.at, default=None)
    wanted = answer_path(stage, sample)
    answer = evidence.answers.get(wanted, "")
    if stage.asks is not None and wanted and not answer:
        return SampleState("awaiting", None, AWAITING, stage.asks.text)
    if any(state.state == "todo" for each in upstream for _, state in each.members):
        # A sample whose files are missing runs again regardless of its upstream.
        lost = last is not None and last.state == "done" and _are_missing(stage, sample, last, evidence.sizes)
        return SampleState("todo", None, OUTPUTS_MISSING if lost else UPSTREAM_RUNS)
    if last is None:
        return SampleState("todo", None, _reason_without_record(key, history))
    fingerprint = input_fingerprint(stage, sample, evidence.inputs, answer)
    if reason := _why_stale(
        stage, sample, last, history, fingerprint, current_upstream(stage, upstream), evidence.sizes
    ):
        return SampleState("todo", None, reason)
    states: dict[str, State] = {"done": "done", "rejected": "skipped"}
    rejected = last.state == "rejected"
    return SampleState(states.get(last.state, "failed"), last, last.reason, last.message, rejected)


def answer_path(stage: StageSpec, sample: Sample) -> str:
    """Path of the answer to a stage's question; empty if it asks nothing about the sample."""
    if stage.asks is None or not stage.asks.options(sample):
        return ""
    return OutputContract("answer", stage.asks.path, "json").path_for(sample)


def _reason_without_record(key: str, history: Sequence[Record]) -> str:
    if any(record.key == key and record.state == "started" for record in history):
        return INTERRUPTED
    return PARAMETERS_CHANGED if any(record.state != "skipped" for record in history) else NO_RECORD


def _why_stale(
    stage: StageSpec,
    sample: Sample,
    last: Record,
    history: Sequence[Record],
    fingerprint: str,
    upstream: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, int] | None,
) -> str:
    if not same_fingerprint(last.fingerprint, fingerprint):
        return INPUT_CHANGED
    # The record may still contain stages that it no longer reads.
    if {name: last.upstream.get(name) for name in upstream} != upstream:
        return UPSTREAM_CHANGED
    later = [record for record in history if record.at > last.at and record.state in ("started", "done")]
    if any(record.key == last.key for record in later):
        return INTERRUPTED
    if last.state != "done":
        return ""
    if later:
        return OVERWRITTEN
    return OUTPUTS_MISSING if _are_missing(stage, sample, last, sizes) else ""


def _are_missing(stage: StageSpec, sample: Sample, done: Record, sizes: Mapping[str, int] | None) -> bool:
    """Whether a declared file was not made, was made elsewhere, or is missing or has the wrong size.

    The declared outputs may change under the same key, because parameters that only decide what is kept are in no key.
    """
    for output in stage.outputs:
        stored = done.outputs.get(output.name)
        if stored is None:
            if not output.optional:
                return True
        elif stored.path != output.path_for(sample) or (
            sizes is not None and any(sizes.get(file.path) != file.size for file in stored.files().values())
        ):
            return True
    return False
