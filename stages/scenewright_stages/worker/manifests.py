"""What publish says of a run, as pure functions: samples' ends, manifest, dropped samples, summary.

Everything here is deterministic: no times, no run ids, no absolute places.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import StageCounts
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.task import INDEX_STEP
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.standing import Histories, Standing, chain_standings
from scenewright_stages.worker.worklists import planned_standings

End = Literal["done", "failed", "skipped", "missing", "rejected"]


@dataclass(frozen=True)
class SampleEnd:
    """How a sample ended over all selected stages.

    Attributes:
        sample: as the last stages work on it.
        state: its end; ``missing`` has no record where it should have one.
        standings: by stage, empty for a sample that the index rejected.
        stage, reason, message: where and why it is not done.
    """

    sample: Sample
    state: End
    standings: Mapping[str, Standing]
    stage: str = ""
    reason: str = ""
    message: str = ""

    @property
    def left_out(self) -> bool:
        """Whether a rule of the pipeline found nothing for it in the sample: a result, where a bad input is a loss."""
        return self.state == "rejected" and bool(self.standings)

    def records(self) -> dict[str, Record]:
        """Current record by stage, of the stages that have one."""
        return {name: standing.record for name, standing in self.standings.items() if standing.record is not None}


def sample_end(chain: Chain, sample: Sample, histories: Histories, sizes: Mapping[str, int]) -> SampleEnd:
    """The end of one sample, judged by the current records and files."""
    if sample.rejected is not None:
        return SampleEnd(sample, "rejected", {}, INDEX_STEP, *sample.rejected)
    found = chain_standings(chain.stages, chain.keys, sample, histories, sizes)
    standings = planned_standings(chain.stages, chain.selected, found, retry_failed=False)
    for stage in chain.selected_stages():
        standing = standings[stage.name]
        if standing.state == "todo":
            return SampleEnd(sample, "missing", standings, stage.name, "Missing", "it has no record of this run")
        if standing.state != "done":
            state: End = "rejected" if standing.record is not None and standing.state == "skipped" else standing.state
            return SampleEnd(sample, state, standings, stage.name, standing.reason, standing.message)
    return SampleEnd(sample, "done", standings)


def stage_counts(chain: Chain, stage: StageSpec, ends: Iterable[SampleEnd]) -> StageCounts:
    """Counts of one stage over all of its samples that got so far, with the time its current records took."""
    states: Counter[str] = Counter()
    seconds, gpu_seconds, gpu_wait_seconds = 0.0, 0.0, 0.0
    level = chain.levels[stage.name]
    own = {end.sample.id_at(level): end for end in ends if end.standings}
    for end in own.values():
        standing = end.standings[stage.name]
        states[standing.state] += 1
        if standing.record is not None:
            seconds += standing.record.seconds
            gpu_seconds += standing.record.gpu_seconds
            gpu_wait_seconds += standing.record.gpu_wait_seconds
    return StageCounts(
        total=states.total(),
        done=states["done"],
        failed=states["failed"],
        skipped=states["skipped"],
        missing=states["todo"],
        seconds=round(seconds, 3),
        gpu_seconds=round(gpu_seconds, 3),
        gpu_wait_seconds=round(gpu_wait_seconds, 3),
    )


def manifest_lines(chain: Chain, ends: Iterable[SampleEnd]) -> bytes:
    """``manifest.jsonl``: one line for each sample that is done, with its result files, metrics and backends."""
    return b"".join(_json_line(_manifest_entry(chain, end)) for end in ends if end.state == "done")


def dropped_table(ends: Iterable[SampleEnd]) -> bytes:
    """``dropped.csv``: every sample that is not done, with stage, reason and message."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sample", "stage", "reason", "message"))
    for end in ends:
        if end.state != "done":
            writer.writerow((end.sample.id, end.stage, end.reason, end.message))
    return text.getvalue().encode()


def summary(chain: Chain, name: str, ends: Sequence[SampleEnd]) -> bytes:
    """``summary.json``: counts, keys, backends, why samples failed, and all warnings."""
    states = Counter(end.state for end in ends)
    stages = {
        stage.name: {
            "key": chain.keys[stage.name],
            "backends": stage.backends,
            **stage_counts(chain, stage, ends).model_dump(include={"total", "done", "failed", "skipped", "missing"}),
        }
        for stage in chain.stages
    }
    content = {
        "name": name,
        "pipeline": chain.pipeline.name,
        "samples": {"total": len(ends), **{state: states[state] for state in get_args(End)}},
        "stages": stages,
        "reasons": dict(sorted(Counter(end.reason for end in ends if end.reason).items())),
        "leftOut": left_out(ends),
        "backends": _backends(ends),
        "warnings": warnings_of(ends),
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def left_out(ends: Iterable[SampleEnd]) -> dict[str, int]:
    """How many samples rules of the pipeline left out, by reason."""
    return dict(sorted(Counter(end.reason for end in ends if end.left_out).items()))


def warnings_of(ends: Sequence[SampleEnd]) -> list[str]:
    """What rules left out, then all warnings of current records, each with its sample."""
    samples = sum(bool(end.standings) for end in ends)
    rejected = [f"{count} of {samples} samples rejected: {reason}" for reason, count in left_out(ends).items()]
    found = (
        f"{record.sample}: {warning}"
        for end in ends
        for record in end.records().values()
        if record.state == "done"
        for warning in record.warnings
    )
    return [*rejected, *dict.fromkeys(found)]


def result_files(chain: Chain, ends: Iterable[SampleEnd]) -> dict[str, dict[str, Any]]:
    """Every stored file of a current record by path, with size and hash; intermediates are marked as such."""
    files: dict[str, dict[str, Any]] = {}
    for end in ends:
        for name, record in end.records().items():
            contracts = {contract.name: contract for contract in chain.stage(name).outputs}
            for output, file in record.outputs.items() if record.state == "done" else ():
                if output not in contracts:
                    # Made when the job kept more than it does now.
                    continue
                entry: dict[str, Any] = {"size": file.size, "hash": file.hash}
                if not contracts[output].result:
                    entry["intermediate"] = True
                files[file.path] = entry
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
        f"{stage.name}/{contract.name}": vars(records[stage.name].outputs[contract.name])
        for stage in chain.stages
        for contract in stage.outputs
        if contract.result and stage.name in records and contract.name in records[stage.name].outputs
    }
    entry["metrics"] = {name: record.metrics for name, record in records.items() if record.metrics}
    entry["backends"] = {name: record.backends for name, record in records.items() if record.backends}
    entry["warnings"] = [warning for record in records.values() for warning in record.warnings]
    return entry


def _backends(ends: Iterable[SampleEnd]) -> list[dict[str, str]]:
    used = {
        json.dumps(use, sort_keys=True): use
        for end in ends
        for record in end.records().values()
        for use in record.backends
    }
    return [used[name] for name in sorted(used)]


def _json_line(value: Any) -> bytes:
    return (json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n").encode()
