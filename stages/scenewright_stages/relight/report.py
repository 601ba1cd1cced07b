"""The page of a relighting data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.photographs.page import (
    Credit,
    DatasetData,
    Distribution,
    Gate,
    LightPoint,
    Pair,
    Reason,
    StageRow,
)
from scenewright_stages.photographs.pictures import read_rgb
from scenewright_stages.relight.params import RelightParams
from scenewright_stages.relight.pipeline import stages
from scenewright_stages.report.charts import distribution
from scenewright_stages.report.data import Failure
from scenewright_stages.report.page import render_dataset
from scenewright_stages.report.parameters import parameter_rows
from scenewright_stages.report.pictures import Picture, thumbnail
from scenewright_stages.scenes.video import evenly_spaced

SHOWN_PAIRS = 12
SHOWN_WORST = 4
SHOWN_LIGHTS = 1500
NAMED_SAMPLES = 8
PICTURE_SIDE = 320
READERS = 4

GATES = (
    ("light_change", "degrade", False, "Least change of light", "Mean difference of the person, levels of 255"),
    ("edge_error", "segment", True, "Least certain outlines", "What foreground and background do not explain of the "
     "photograph's outline, levels of 255"),
    ("score", "segment", False, "Least certain persons", "Score of the segmentation"),
    ("area", "segment", False, "Smallest persons", "Share of the picture"),
)  # fmt: skip
"""Measure, stage that has it, whether much of it is bad, title and meaning."""


class RelightReporter(Reporter):
    """Makes ``report.html`` of relighting jobs."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """A data set of one sample."""
        return self.index_page([outcome], job)

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The page of all samples."""
        return render_dataset(dataset_report(outcomes, job))


@dataclass(frozen=True)
class Overview:
    """All samples of a publication, sorted by how they ended."""

    outcomes: Sequence[SampleOutcome]
    chain: tuple[StageSpec, ...]

    @cached_property
    def done(self) -> list[SampleOutcome]:
        """Samples that went through all stages."""
        names = [stage.name for stage in self.chain]
        return [
            outcome
            for outcome in self.outcomes
            if all(name in outcome.records and outcome.records[name].state == "done" for name in names)
        ]

    @cached_property
    def dropped(self) -> list[tuple[SampleOutcome, Failure]]:
        """All others, with the reason that their own records or the index give."""
        finished = {outcome.sample.id for outcome in self.done}
        return [(each, _why_dropped(each)) for each in self.outcomes if each.sample.id not in finished]

    def metrics(self, stage: str, name: str) -> list[float]:
        """One number of every sample of a stage that is done, once for each sample of that stage."""
        records = {outcome.records[stage].sample: outcome.records[stage] for outcome in self.done}
        return [float(record.metrics[name]) for record in records.values() if name in record.metrics]


def dataset_report(outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
    """Everything that the page shows."""
    params = RelightParams.model_validate(job.get("spec", {}).get("relight") or {})
    overview = Overview(outcomes, stages(params))
    records = list(_records(outcomes))
    lights = [outcome.records["degrade"].metrics["light"] for outcome in overview.done]
    return DatasetData(
        title=str(job.get("metadata", {}).get("name", "")),
        pipeline="Relighting",
        spec_hash=str(job.get("workHash", "")),
        duration=sum(record.seconds for record in records),
        subtitle=_subtitle(overview),
        counts=tuple(_counts(overview)),
        pairs=_pairs([overview.done[place] for place in evenly_spaced(len(overview.done), SHOWN_PAIRS)], _light_facts),
        reasons=tuple(_reasons(overview)),
        lights=tuple(_light_point(lights[place]) for place in evenly_spaced(len(lights), SHOWN_LIGHTS)),
        light_count=len(lights),
        distributions=tuple(_distributions(overview, lights)),
        gates=tuple(_gates(overview)),
        stages=tuple(_stage_row(stage, outcomes) for stage in overview.chain),
        credits=tuple(_credits(records)),
        parameters=tuple(parameter_rows(params, RelightParams())),
    )


def _subtitle(overview: Overview) -> str:
    photographs = len({each.sample.id_at(0) for each in overview.done})
    several = "" if photographs == 1 else "s"
    return f"{photographs:,} photograph{several}, {len(overview.done):,} pairs of before and after"


def _records(outcomes: Sequence[SampleOutcome]) -> Iterator[Record]:
    """Every record once, those too that several samples come from."""
    found = {(stage, record.sample): record for outcome in outcomes for stage, record in outcome.records.items()}
    yield from found.values()


def _why_dropped(outcome: SampleOutcome) -> Failure:
    sample = outcome.sample
    if sample.rejected is not None:
        return Failure(sample.id, "index", *sample.rejected)
    for stage, record in outcome.records.items():
        if record.state in ("failed", "rejected"):
            return Failure(sample.id, stage, record.reason, record.message)
    return Failure(sample.id, "", "Missing", "it has no record")


def _counts(overview: Overview) -> Iterator[tuple[str, int]]:
    yield "done", len(overview.done)
    rejected = sum(_is_rejection(outcome) for outcome, _ in overview.dropped)
    failed = len(overview.dropped) - rejected
    if rejected:
        yield "rejected", rejected
    if failed:
        yield "failed", failed


def _is_rejection(outcome: SampleOutcome) -> bool:
    return any(record.state == "rejected" for record in outcome.records.values())


def _reasons(overview: Overview) -> Iterator[Reason]:
    """Most frequent first."""
    counted = Counter((failure.reason, failure.stage) for _, failure in overview.dropped)
    for (reason, stage), count in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])):
        own = [failure for _, failure in overview.dropped if (failure.reason, failure.stage) == (reason, stage)]
        names = tuple(failure.sample for failure in own[:NAMED_SAMPLES])
        yield Reason(reason, stage, count, names, own[0].message)


def _light_point(light: Mapping[str, Any]) -> LightPoint:
    x, y, _ = light["direction"]
    return LightPoint(x, -y, light["ambient"])


def _distributions(overview: Overview, lights: Sequence[Mapping[str, Any]]) -> Iterator[Distribution]:
    sizes = [
        max(width, height)
        for width, height in zip(
            overview.metrics("segment", "width"), overview.metrics("segment", "height"), strict=True
        )
    ]
    shown = (
        distribution("Ambient light", [light["ambient"] for light in lights], note="Share of all light"),
        distribution("Person in the picture", [100 * area for area in overview.metrics("segment", "area")], "%", 1),
        distribution("Longer side", sizes, "px", 0),
        distribution("Height of the light", [light["elevation_degrees"] for light in lights], "°", 0),
        distribution("Change of light", overview.metrics("degrade", "light_change"), "levels", 1),
        distribution(
            "Photograph kept in the albedo", [100 * blend for blend in overview.metrics("albedo", "blend")], "%", 1
        ),
    )
    yield from (each for each in shown if each is not None)


def _gates(overview: Overview) -> Iterator[Gate]:
    for name, stage, much_is_bad, title, note in GATES:
        ranked = sorted(
            (outcome for outcome in overview.done if name in outcome.records[stage].metrics),
            key=lambda outcome: (outcome.records[stage].metrics[name], outcome.sample.id),
            reverse=much_is_bad,
        )
        worst = _first_of_each(ranked, stage)[:SHOWN_WORST]
        pairs = _pairs(worst, partial(_measured, stage, name))
        if pairs and _differ(ranked, stage, name):
            yield Gate(title, note, pairs)


def _first_of_each(ranked: Sequence[SampleOutcome], stage: str) -> list[SampleOutcome]:
    """One sample for each record of a stage."""
    return list({outcome.records[stage].sample: outcome for outcome in reversed(ranked)}.values())[::-1]


def _differ(ranked: Sequence[SampleOutcome], stage: str, name: str) -> bool:
    """Whether there is a worst one at all."""
    first, last = ranked[0], ranked[-1]
    return len(ranked) == 1 or first.records[stage].metrics[name] != last.records[stage].metrics[name]


def _pairs(outcomes: Sequence[SampleOutcome], facts: Callable[[SampleOutcome], tuple[str, ...]]) -> tuple[Pair, ...]:
    """Before and after of samples, each another one: several are fetched and read at a time."""
    with ThreadPoolExecutor(READERS) as pool:
        return tuple(pool.map(lambda outcome: _pair(outcome, facts(outcome)), outcomes))


def _pair(outcome: SampleOutcome, facts: tuple[str, ...]) -> Pair:
    before = _picture(outcome, ("segment", "input"), "as photographed")
    return Pair(outcome.sample.id, before, _picture(outcome, ("recombine", "output"), "in the new light"), facts)


def _light_facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["degrade"].metrics
    light = metrics["light"]
    return metrics["degradation"], f"ambient {light['ambient']:.2f}", f"from {light['azimuth_degrees']:.0f}°"


def _measured(stage: str, name: str, outcome: SampleOutcome) -> tuple[str, ...]:
    return (f"{outcome.records[stage].metrics[name]:.3g}",)


def _picture(outcome: SampleOutcome, file: tuple[str, str], words: str) -> Picture:
    pixels = read_rgb(outcome.files[file]())
    scale = min(1.0, PICTURE_SIDE / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return thumbnail(np.asarray(small, np.float32) / np.float32(255), PICTURE_SIDE, f"{outcome.sample.id} {words}")


def _stage_row(stage: StageSpec, outcomes: Sequence[SampleOutcome]) -> StageRow:
    records = {
        outcome.records[stage.name].sample: outcome.records[stage.name]
        for outcome in outcomes
        if stage.name in outcome.records
    }
    states = Counter(record.state for record in records.values())
    done = [record for record in records.values() if record.state == "done"]
    latest = max((record.run for record in done), default="")
    ends = [record.at for record in done if record.run == latest]
    span = max(ends, default=0.0) - min(ends, default=0.0)
    return StageRow(
        stage.name,
        stage.title,
        done=len(done),
        failed=states["failed"],
        skipped=states["rejected"] + states["skipped"],
        seconds=sum(record.seconds for record in done),
        per_second=(len(ends) - 1) / span if span > 0 else None,
        gpu_seconds=sum(record.gpu_seconds for record in done),
    )


def _credits(records: Sequence[Record]) -> Iterator[Credit]:
    counted: Counter[tuple[str, ...]] = Counter()
    for record in records:
        for use in record.backends if record.state == "done" else ():
            weights = " ".join(part for part in (use.get("model", ""), use.get("revision", "")) if part)
            counted[use["capability"], use["backend"], weights, use.get("licence", ""), use.get("notes", "")] += 1
    for (capability, backend, weights, licence, note), count in sorted(counted.items()):
        yield Credit(capability, backend, weights, licence, count, note)
