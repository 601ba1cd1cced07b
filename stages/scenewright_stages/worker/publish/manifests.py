"""What publish reports about a run: how samples ended, manifest, dropped samples, summary. Pure functions.

The units of a publication are the samples of the final stages, after all expanding and gathering. Everything here is
deterministic: no times, no run ids, no absolute paths.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.reports import StageCounts
from scenewright_stages.contract.samples import WHOLE_LEVEL, Sample
from scenewright_stages.contract.tables import table
from scenewright_stages.contract.task import INDEX_STEP
from scenewright_stages.worker.chain import WHOLE, Chain, Population
from scenewright_stages.worker.states import PROVIDED, SampleState, States, ancestor

End = Literal["done", "failed", "skipped", "missing", "awaiting", "rejected"]


@dataclass(frozen=True)
class SampleEnd:
    """How a unit of the publication ended over all selected stages.

    Attributes:
        sample: the unit, as the final stages see it.
        state: how it ended; ``missing`` if an expected record does not exist.
        states: by stage, of itself and its ancestors; empty if the index rejected it.
        below: stage, sample and state of the samples that were expanded from it and gathered again.
        stage, reason, message: where and why it is not done.
    """

    sample: Sample
    state: End
    states: Mapping[str, SampleState]
    below: Sequence[tuple[str, Sample, SampleState]] = ()
    stage: str = ""
    reason: str = ""
    message: str = ""

    @property
    def left_out(self) -> bool:
        """Whether a rule of the pipeline left it out. That is a valid result, unlike a bad input."""
        return self.state == "rejected" and bool(self.states)

    def records(self) -> dict[str, Record]:
        """Current records by stage."""
        return {name: state.record for name, state in self.states.items() if state.record is not None}

    def all_records(self) -> list[Record]:
        """Current records of itself and of all below it."""
        return [*self.records().values(), *(state.record for _, _, state in self.below if state.record is not None)]


def unit_level(chain: Chain) -> int:
    """Level of the publication's units: the lowest level of a stage whose outputs no other stage reads."""
    read = {name for stage in chain.stages for name in stage.upstream()}
    return max(0, *(chain.levels[stage.name] for stage in chain.stages if stage.name not in read))


def sample_ends(chain: Chain, samples: Sequence[Sample], population: Population, states: States) -> list[SampleEnd]:
    """The ends of all units, in the order of the indexed samples; a rejected sample is a unit itself."""
    level = unit_level(chain)
    units: dict[str, list[Sample]] = {}
    for unit in population.get(level, ()):
        units.setdefault(unit.root.id, []).append(unit)
    below = _below(chain, population, states, level)
    ends: list[SampleEnd] = []
    for sample in samples:
        if sample.rejected is not None:
            ends.append(SampleEnd(sample, "rejected", {}, (), INDEX_STEP, *sample.rejected))
        else:
            ends += [_end(chain, unit, states, below.get(unit.id, ()), level) for unit in units[sample.id]]
    if WHOLE_LEVEL in chain.levels.values():
        ends.append(_end(chain, WHOLE, states, (), WHOLE_LEVEL))
    return ends


def _below(
    chain: Chain, population: Population, states: States, level: int
) -> dict[str, list[tuple[str, Sample, SampleState]]]:
    """The samples below each unit, by the unit's id."""
    found: dict[str, list[tuple[str, Sample, SampleState]]] = {}
    for stage in chain.stages:
        if chain.levels[stage.name] > level:
            for sample in population[chain.levels[stage.name]]:
                entry = (stage.name, sample, states[stage.name][sample.id])
                found.setdefault(ancestor(sample, level).id, []).append(entry)
    return found


def _end(
    chain: Chain, unit: Sample, states: States, below: Sequence[tuple[str, Sample, SampleState]], level: int
) -> SampleEnd:
    own = {
        stage.name: states[stage.name][ancestor(unit, chain.levels[stage.name]).id]
        for stage in chain.stages
        if _on_the_way(chain.levels[stage.name], level)
    }
    waiting = {name: state for name, _, state in below if state.state == "todo"}
    for stage in chain.selected_stages():
        state = waiting.get(stage.name) or own.get(stage.name)
        if state is None or state.state == "done":
            continue
        if state.state == "todo":
            return SampleEnd(unit, "missing", own, below, stage.name, "Missing", "it has no record of this run")
        rejected = state.record is not None and state.state == "skipped"
        end: End = "rejected" if rejected else state.state
        return SampleEnd(unit, end, own, below, stage.name, state.reason, state.message)
    return SampleEnd(unit, "done", own, below)


def _on_the_way(stage_level: int, level: int) -> bool:
    """Whether a unit of that level has a state in the stage, either its own or an ancestor's."""
    return stage_level == level if level == WHOLE_LEVEL else WHOLE_LEVEL < stage_level <= level


def stage_counts(stage: StageSpec, states: States) -> StageCounts:
    """Counts of one stage over all of its samples, with the total time of its current records."""
    own = states[stage.name].values()
    counts = Counter(state.state for state in own)
    records = [state.record for state in own if state.record is not None]
    return StageCounts(
        total=counts.total(),
        done=counts["done"],
        failed=counts["failed"],
        skipped=counts["skipped"],
        awaiting=counts["awaiting"],
        missing=counts["todo"],
        seconds=round(sum(record.seconds for record in records), 3),
        gpu_seconds=round(sum(record.gpu_seconds for record in records), 3),
        gpu_wait_seconds=round(sum(record.gpu_wait_seconds for record in records), 3),
    )


def dropped(ends: Iterable[SampleEnd]) -> Iterator[tuple[Sample, str, str, str]]:
    """Sample, stage, reason and message of everything that is not done, including samples below units."""
    for end in ends:
        for stage, sample, state in end.below:
            if state.state in ("failed", "skipped") and state.reason:
                yield sample, stage, state.reason, state.message
        if end.state != "done":
            yield end.sample, end.stage, end.reason, end.message


def manifest_lines(chain: Chain, ends: Iterable[SampleEnd]) -> bytes:
    """``manifest.jsonl``: one line per done sample, with its result files, metrics and backends."""
    entries = (_manifest_entry(chain, end) for end in ends if end.state == "done")
    lines = (json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n" for entry in entries)
    return "".join(lines).encode()


def dropped_table(ends: Iterable[SampleEnd]) -> bytes:
    """``dropped.csv``: every sample that is not done, with stage, reason and message."""
    rows = ((sample.id, *why) for sample, *why in dropped(ends))
    return table(("sample", "stage", "reason", "message"), rows)


def summary(chain: Chain, name: str, ends: Sequence[SampleEnd], states: States) -> bytes:
    """``summary.json``: counts, keys, backends, reasons of failures, and all warnings."""
    ended = Counter(end.state for end in ends)
    stages = {
        stage.name: {
            "key": chain.keys[stage.name],
            "backends": stage.backends,
            **_shown_counts(stage_counts(stage, states)),
        }
        for stage in chain.stages
    }
    content = {
        "name": name,
        "pipeline": chain.pipeline.name,
        "samples": {
            "total": len(ends),
            **{state: ended[state] for state in get_args(End) if state != "awaiting" or ended[state]},
        },
        "stages": stages,
        "reasons": dict(sorted(Counter(end.reason for end in ends if end.reason).items())),
        "leftOut": left_out(ends),
        "backends": _backends(ends),
        "warnings": warnings_of(ends),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _shown_counts(counts: StageCounts) -> dict[str, int]:
    shown = counts.model_dump(include={"total", "done", "failed", "skipped", "missing"})
    return {**shown, "awaiting": counts.awaiting} if counts.awaiting else shown


def left_out(ends: Iterable[SampleEnd]) -> dict[str, int]:
    """How many input samples the pipeline's rules left out, by reason; all children of a sample count once."""
    found = {(end.sample.root.id, end.reason) for end in ends if end.left_out}
    return dict(sorted(Counter(reason for _, reason in found).items()))


def warnings_of(ends: Sequence[SampleEnd]) -> list[str]:
    """Counts of samples left out by rules, then all warnings of current records, each with its sample."""
    samples = len({end.sample.root.id for end in ends if end.states})
    rejected = [f"{count} of {samples} samples rejected: {reason}" for reason, count in left_out(ends).items()]
    found = (
        f"{record.sample}: {warning}"
        for end in ends
        for record in end.all_records()
        if record.state == "done"
        for warning in record.warnings
    )
    return [*rejected, *dict.fromkeys(found)]


def result_files(chain: Chain, states: States) -> dict[str, dict[str, Any]]:
    """Every stored file of a current record by path, with size and hash; intermediates are marked."""
    files: dict[str, dict[str, Any]] = {}
    for stage in chain.stages:
        contracts = {contract.name: contract for contract in stage.outputs}
        for state in states[stage.name].values():
            if state.state != "done" or state.record is None or state.record.run == PROVIDED:
                continue
            for output, stored in state.record.outputs.items():
                if output not in contracts:
                    # Made when the job kept more files than now.
                    continue
                contract = contracts[output]
                kind = {} if contract.result else {"intermediate": True}
                if contract.offered and not contract.result:
                    kind["offered"] = True
                if not contract.reproducible:
                    kind["volatile"] = True
                for file in stored.files().values():
                    files[file.path] = {"size": file.size, "hash": file.hash, **kind}
    return files


def _manifest_entry(chain: Chain, end: SampleEnd) -> dict[str, Any]:
    records = end.records()
    source = end.sample.source
    entry: dict[str, Any] = {"id": end.sample.id}
    if source is not None:
        entry["source"] = source.uri.rpartition("/")[2]
    if end.sample.attributes:
        entry["attributes"] = end.sample.attributes
    entry["files"] = {
        f"{stage.name}/{contract.name}": _shown_file(contract, record.outputs[contract.name])
        for stage in chain.stages
        if (record := records.get(stage.name)) is not None and record.run != PROVIDED
        for contract in stage.outputs
        if contract.result and contract.name in record.outputs
    }
    entry["metrics"] = {name: record.metrics for name, record in records.items() if record.metrics}
    entry["backends"] = {name: record.backends for name, record in records.items() if record.backends}
    entry["warnings"] = [warning for record in records.values() for warning in record.warnings]
    return entry


def _shown_file(contract: OutputContract, file: OutputFile) -> dict[str, Any]:
    """A file's manifest entry, without anything that differs between runs."""
    return file.summary() if contract.reproducible else {"path": file.path}


def _backends(ends: Iterable[SampleEnd]) -> list[dict[str, str]]:
    used = {
        json.dumps(use, sort_keys=True): use for end in ends for record in end.all_records() for use in record.backends
    }
    return [used[name] for name in sorted(used)]
