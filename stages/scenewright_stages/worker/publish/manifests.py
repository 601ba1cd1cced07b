"""The files in which publish tells what it published: manifest, dropped samples, summary. Pure functions.

All numbers are those of the run's :class:`~scenewright_stages.contract.results.Results`. Everything is deterministic,
without run ids and absolute paths; the times in the summary are those of the records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.records import OutputFile
from scenewright_stages.contract.reports import MAXIMUM_FAILURES, Failure, StageCounts
from scenewright_stages.contract.results import Results, StageTime
from scenewright_stages.contract.tables import table
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.publish.ends import SampleEnd, left_out
from scenewright_stages.worker.states import PROVIDED, States

FAILURES = ("failed", "missing")
"""Ends of a cause that make a run fail."""

FOLLOWING = {
    "failed": ("UpstreamFailed", "failed"),
    "missing": ("UpstreamMissing", "has no record"),
    "rejected": ("UpstreamRejected", "was rejected"),
    "waiting": ("UpstreamWaiting", "waits"),
}
"""Reason of a unit that only follows from a cause, and the verb that tells it."""


def failures(results: Results) -> list[Failure]:
    """The first causes of failures, each once."""
    lost = [cause for cause in results.causes if cause.end in FAILURES]
    return [
        Failure(sample=cause.sample, stage=cause.stage, reason=cause.reason, message=cause.message)
        for cause in lost[:MAXIMUM_FAILURES]
    ]


def dropped(results: Results, ends: Iterable[SampleEnd]) -> Iterator[tuple[str, str, str, str]]:
    """Sample, stage, reason and message: every cause once, then the samples that miss something because of one."""
    causes = {(cause.stage, cause.sample): cause for cause in results.causes}
    for cause in results.causes:
        yield cause.sample, cause.stage, cause.reason, cause.message
    told = {sample for _, sample in causes}
    for end in ends:
        for stage, one, state in end.below:
            if state.follows and state.state == "skipped":
                yield one.id, stage, state.reason, state.message
        if end.state in ("done", "not selected") or end.sample.id in told:
            continue
        found = causes.get(end.cause)
        if found is None:
            yield end.sample.id, end.stage, end.reason, end.message
        else:
            reason, verb = FOLLOWING[end.state]
            yield end.sample.id, found.stage, reason, f"{found.sample} {verb} in {found.stage}: {found.reason}"


def manifest_lines(chain: Chain, ends: Iterable[SampleEnd]) -> bytes:
    """``manifest.jsonl``: one line per done unit, with its result files, metrics and backends."""
    entries = (_manifest_entry(chain, end) for end in ends if end.state == "done")
    lines = (json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n" for entry in entries)
    return "".join(lines).encode()


def dropped_table(results: Results, ends: Iterable[SampleEnd]) -> bytes:
    """``dropped.csv``: every sample that is not done, with stage, reason and message; causes come first."""
    return table(("sample", "stage", "reason", "message"), dropped(results, ends))


def summary(chain: Chain, name: str, results: Results, ends: Sequence[SampleEnd], states: States) -> bytes:
    """``summary.json``: counts, keys, backends, reasons, the first failures, all warnings, and times."""
    content = {
        "name": name,
        "pipeline": chain.pipeline.name,
        "selected": [stage.name for stage in chain.selected_stages()],
        "samples": _shown_units(results),
        "refused": results.refused,
        "stages": {
            stage.name: {
                "key": chain.keys[stage.name],
                "backends": stage.models.backends,
                **_shown_counts(found.counts),
            }
            for stage, found in zip(chain.stages, results.stages, strict=True)
        },
        "reasons": dict(sorted(Counter(cause.reason for cause in results.causes).items())),
        "failures": [failure.model_dump() for failure in failures(results)],
        "leftOut": left_out(chain, states),
        "backends": _backends(ends),
        "warnings": list(results.warnings),
        "times": {
            "total": _shown_time(results.time),
            "stages": {stage.name: _shown_time(stage.time) for stage in results.stages},
        },
    }
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def _shown_units(results: Results) -> dict[str, int]:
    shown = results.units.model_dump(by_alias=True)
    return shown if results.units.missing else {name: count for name, count in shown.items() if name != "missing"}


def _shown_counts(counts: StageCounts) -> dict[str, int]:
    always = {"total", "done", "failed", "skipped", "missing"}
    shown = counts.model_dump(include={*always, "rejected", "awaiting", "not_selected"}, by_alias=True)
    words = {"awaiting": "waiting"}
    return {words.get(name, name): number for name, number in shown.items() if number or name in always}


def _shown_time(time: StageTime) -> dict[str, float]:
    shown = {"wallSeconds": time.wall_seconds, "seconds": time.seconds}
    return {**shown, "gpuSeconds": time.gpu_seconds} if time.gpu_seconds else shown


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
    records = end.done_records()
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
