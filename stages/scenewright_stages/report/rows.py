"""Converts a run's records to rows of a page: parameters, failures, backends, times and links.

The reporters of all pipelines call these functions on the outcomes of their samples; `data` defines the row types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from scenewright_stages.backends.runtime.registry import find_backend
from scenewright_stages.contract.backends import Evidence
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.results import stage_time
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.report.data import Failure, Link, Parameter, Provenance, StageTiming, State


def job_name(job: Mapping[str, Any]) -> str:
    """The name in a job's manifest."""
    return str(job.get("metadata", {}).get("name", ""))


def parameter_rows(value: BaseModel, default: BaseModel, prefix: str = "") -> Iterator[Parameter]:
    """Every leaf of a block by its manifest path, with its default."""
    for name, info in type(value).model_fields.items():
        own, usual = getattr(value, name), getattr(default, name)
        path = f"{prefix}{info.alias or name}"
        if isinstance(own, BaseModel):
            yield from parameter_rows(own, usual, f"{path}.")
        else:
            yield Parameter(path, shown(own), shown(usual), info.description or "")


def shown(value: Any) -> str:
    """A value as written in a manifest."""
    if isinstance(value, list):
        return f"[{', '.join(shown(each) for each in value)}]"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def failures_of(outcome: SampleOutcome) -> Iterator[Failure]:
    """Why a sample has no result, according to the index or its stages."""
    sample = outcome.sample
    if sample.rejected is not None:
        yield Failure(sample.id, "index", *sample.rejected)
    for stage, record in outcome.records.items():
        if record.state == "failed":
            yield Failure(sample.id, stage, record.reason, record.message)


def warnings_of(outcome: SampleOutcome) -> tuple[str, ...]:
    """The notes on a sample's input, then all warnings of its stages."""
    return (
        *outcome.sample.root.notes,
        *(warning for record in outcome.records.values() for warning in record.warnings),
    )


_WORST_FIRST: tuple[State, ...] = ("failed", "missing", "rejected", "skipped", "warning")


def state_of(outcome: SampleOutcome) -> State:
    """How a sample ended, by the account of publish; done with warnings is a state of its own."""
    if outcome.end != "done":
        return outcome.end
    return "warning" if warnings_of(outcome) else "done"


def timings(outcome: SampleOutcome, order: Sequence[str] = ()) -> Iterator[StageTiming]:
    """How long each stage took, samples below this one included, and how it ended; in `order` as far as it goes."""
    records = outcome.all_records()
    place = {name: position for position, name in enumerate(order)}
    for name in sorted(records, key=lambda name: place.get(name, len(place))):
        time = stage_time(records[name])
        states = [_timing_state(record) for record in records[name]]
        worst: State = next((state for state in _WORST_FIRST if state in states), "done")
        yield StageTiming(name, time.wall_seconds, worst, time.seconds)


def provenance_rows(records: Mapping[str, Record], own: Mapping[str, Evidence]) -> Iterator[Provenance]:
    """The backends of each stage, with the evidence that their facts state.

    Args:
        records: of one sample, by stage.
        own: basis of results by what is not a backend but a method of the pipeline, by its recorded name.
    """
    for stage, record in records.items():
        for use in record.backends:
            facts = find_backend(use["capability"], use["backend"])
            kind = facts.evidence if facts else own.get(use["backend"], "predicted")
            title = f"{stage}: {use['capability']}"
            yield Provenance(
                title, use["backend"], kind, use.get("licence", ""), weights_text(use), use.get("notes", "")
            )


def weights_text(use: Mapping[str, str]) -> str:
    """Id and revision of the weights of a recorded backend; empty without weights."""
    return " ".join(part for part in (use.get("model", ""), use.get("revision", "")) if part)


def links(outcome: SampleOutcome, stage: str, labels: Sequence[tuple[str, str]]) -> Iterator[Link]:
    """Links to the existing files of a stage, from (output, label) pairs."""
    record = outcome.records.get(stage)
    for name, label in labels:
        if record is not None and name in record.outputs:
            yield Link(label, record.outputs[name].path)


def _timing_state(record: Record) -> State:
    if record.state == "started":
        return "missing"
    return "warning" if record.state == "done" and record.warnings else record.state
