"""Summarises a publication over photographs for its page: samples and dropouts, stages, backends, worst samples.

A pipeline's reporter builds an `Overview` of the outcomes and calls `page` with its pipeline-specific parts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np

from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.results import Results, StageResults
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.photographs.browse import Entry, browser, entry
from scenewright_stages.photographs.page import (
    Credit,
    DatasetData,
    Gallery,
    Gate,
    Pair,
    Reason,
    StageRow,
    Table,
    render_dataset,
)
from scenewright_stages.photographs.pictures import read_rgb
from scenewright_stages.report.charts import Distribution, LightPoint
from scenewright_stages.report.data import NextStep
from scenewright_stages.report.pictures import Picture, thumbnail
from scenewright_stages.report.rows import job_name, parameter_rows, weights_text

SHOWN_WORST = 4
NAMED_SAMPLES = 8
PICTURE_SIDE = 320
READERS = 4

File = tuple[str, str]
"""A stage and one of its outputs."""
Facts = Callable[[SampleOutcome], tuple[str, ...]]


def _any_sample(outcome: SampleOutcome) -> bool:
    """Accepts every sample."""
    return True


@dataclass(frozen=True)
class Measure:
    """A metric in the records of a stage by which samples are ranked.

    Attributes:
        name: of the metric.
        stage: that records it.
        much_is_bad: whether large values are bad.
        title, meaning: texts for the page.
        among: selects the samples to rank.
    """

    name: str
    stage: str
    much_is_bad: bool
    title: str
    meaning: str
    among: Callable[[SampleOutcome], bool] = _any_sample

    def applies(self, outcome: SampleOutcome) -> bool:
        """Whether it ranks a sample: its record has the metric, and `among` selects it."""
        record = outcome.records.get(self.stage)
        return record is not None and self.name in record.metrics and self.among(outcome)

    def of(self, outcome: SampleOutcome) -> float:
        """The sample's value; call it only if :meth:`applies`."""
        value: float = outcome.records[self.stage].metrics[self.name]
        return value


@dataclass(frozen=True)
class PairFiles:
    """The before and after images of a sample, each with its alt text."""

    before: File
    before_words: str
    after: File
    after_words: str


@dataclass(frozen=True)
class Overview:
    """All samples of a publication, grouped by how they ended.

    Attributes:
        outcomes: of all samples.
        chain: the pipeline's stages.
        shown: selects the images of a sample to compare.
        results: how the job ended: every count, reason, warning and time of the page.
    """

    outcomes: Sequence[SampleOutcome]
    chain: tuple[StageSpec, ...]
    shown: PairFiles
    results: Results

    def page(
        self,
        job: Mapping[str, Any],
        pipeline: str,
        parameters: Params,
        *,
        subtitle: str,
        facts: Facts,
        measures: Sequence[Measure],
        distributions: Iterable[Distribution | None],
        lights: tuple[LightPoint, ...] = (),
        light_count: int = 0,
        galleries: tuple[Gallery, ...] = (),
        tables: tuple[Table, ...] = (),
        describe: Callable[[SampleOutcome], Iterable[Entry]] | None = None,
        next_steps: tuple[NextStep, ...] = (),
    ) -> DatasetData:
        """Everything that the page shows.

        Args:
            job: the object as in ``job.json``.
            pipeline: its display name.
            parameters: the effective parameters.
            subtitle: one line on what the data set holds.
            facts: returns the facts shown with a sample.
            measures: for finding the worst samples.
            distributions: histograms of metrics; None if there are too few values.
            lights, light_count, galleries, tables, next_steps: see `DatasetData`.
            describe: returns the cards of a done sample; without it, one card with the two pictures of `shown`.
        """
        found = [each for each in distributions if each is not None]
        cards = browser(self.entries(describe or partial(self._entries, facts)))
        return DatasetData(
            title=job_name(job),
            pipeline=pipeline,
            spec_hash=str(job.get("workHash", "")),
            duration=self.results.time.wall_seconds,
            subtitle=subtitle,
            counts=tuple(self.counts()),
            browser=cards,
            reasons=tuple(self.reasons()),
            lights=lights,
            light_count=light_count,
            distributions=tuple(each for each in found if each.is_worth_drawing),
            ranges=tuple((each.title, each.text) for each in found if not each.is_worth_drawing),
            galleries=galleries,
            tables=tables,
            gates=tuple(self.gates(measures)),
            stages=tuple(self.stage_rows()),
            credits=tuple(self.credits()),
            parameters=tuple(parameter_rows(parameters, type(parameters)())),
            next_steps=next_steps,
            warnings=tuple(self.results.warnings),
        )

    @cached_property
    def done(self) -> list[SampleOutcome]:
        """Samples that have the results of all stages, selected by this run or not."""
        names = [stage.name for stage in self.chain]
        return [
            outcome
            for outcome in self.outcomes
            if all(name in outcome.records and outcome.records[name].state == "done" for name in names)
        ]

    @cached_property
    def others(self) -> list[SampleOutcome]:
        """Samples that lack results: not done, or done as far as this run selected."""
        finished = {outcome.sample.id for outcome in self.done}
        return [outcome for outcome in self.outcomes if outcome.sample.id not in finished]

    @cached_property
    def records(self) -> list[Record]:
        """Every record once, even if several samples share it."""
        return list(
            {(s, record.sample): record for each in self.outcomes for s, record in each.records.items()}.values()
        )

    def metrics(self, stage: str, name: str) -> list[float]:
        """One metric of every done sample of a stage, counted once per sample of that stage."""
        records = {outcome.records[stage].sample: outcome.records[stage] for outcome in self.done}
        return [float(record.metrics[name]) for record in records.values() if name in record.metrics]

    def counts(self) -> Iterator[tuple[str, int]]:
        """Number of samples by how they ended, as (word, number)."""
        return iter(self.results.counted() or [("done", 0)])

    def reasons(self) -> Iterator[Reason]:
        """Why samples are missing, each cause once, most frequent reason first."""
        counted = Counter((cause.reason, cause.stage) for cause in self.results.causes)
        for (reason, stage), count in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0])):
            own = [cause for cause in self.results.causes if (cause.reason, cause.stage) == (reason, stage)]
            names = tuple(cause.sample for cause in own[:NAMED_SAMPLES])
            yield Reason(reason, stage, count, names, own[0].message)

    def stage_rows(self) -> Iterator[StageRow]:
        """What each stage did and how long it took."""
        return (_stage_row(stage, self.outcomes) for stage in self.results.stages)

    def credits(self) -> Iterator[Credit]:
        """Which backends served, and for how many samples."""
        counted: Counter[tuple[str, ...]] = Counter()
        for record in self.records:
            for use in record.backends if record.state == "done" else ():
                key = (
                    use["capability"],
                    use["backend"],
                    weights_text(use),
                    use.get("licence", ""),
                    use.get("notes", ""),
                )
                counted[key] += 1
        for (capability, backend, weights, licence, note), count in sorted(counted.items()):
            yield Credit(capability, backend, weights, licence, count, note)

    def entries(self, describe: Callable[[SampleOutcome], Iterable[Entry]]) -> Iterator[Entry]:
        """The cards of all samples: what `describe` says of the done ones, and why the others are not there."""
        for outcome in self.done:
            for card in describe(outcome):
                yield replace(card, facets={"State": "done", **card.facets})
        for outcome in self.others:
            facets = {"State": outcome.end, "Source": outcome.sample.root.id}
            made = [stage.title for stage in self.results.stages if _is_done(outcome, stage.name)]
            so_far = f"made so far: {', '.join(made)}" if made else ""
            why = f"{outcome.reason}: {outcome.message}" if outcome.reason else ""
            yield Entry(outcome.sample.id, facets, facts=tuple(text for text in (why, so_far) if text))

    def _entries(self, facts: Facts, outcome: SampleOutcome) -> Iterator[Entry]:
        pair = self.shown
        files = [(*pair.before, pair.before_words), (*pair.after, pair.after_words)]
        yield entry(outcome, outcome.sample.id, {"Source": outcome.sample.root.id}, files, None, facts(outcome))

    def gates(self, measures: Sequence[Measure]) -> Iterator[Gate]:
        """The worst samples by each measure that varies, among more samples than are shown."""
        for measure in measures:
            ranked = sorted(
                (outcome for outcome in self.done if measure.applies(outcome)),
                key=lambda outcome: (measure.of(outcome), outcome.sample.id),
                reverse=measure.much_is_bad,
            )
            distinct = _first_of_each(ranked, measure.stage)
            if len(distinct) <= SHOWN_WORST:
                continue  # all of them would be shown: that ranks nothing
            pairs = self._pairs(distinct[:SHOWN_WORST], partial(_measured, measure))
            if measure.of(ranked[0]) != measure.of(ranked[-1]):
                yield Gate(measure.title, measure.meaning, pairs)

    def _pairs(self, outcomes: Sequence[SampleOutcome], facts: Facts) -> tuple[Pair, ...]:
        """Fetches and reads several samples in parallel."""
        with ThreadPoolExecutor(READERS) as pool:
            return tuple(pool.map(lambda outcome: self._pair(outcome, facts(outcome)), outcomes))

    def _pair(self, outcome: SampleOutcome, facts: tuple[str, ...]) -> Pair:
        before = _picture(outcome, self.shown.before, self.shown.before_words)
        return Pair(outcome.sample.id, before, _picture(outcome, self.shown.after, self.shown.after_words), facts)


class DatasetReporter(Reporter):
    """Makes ``report.html`` of data sets: one page for all samples, or for a single one."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """A data set of one sample."""
        return self.index_page([outcome], job)

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The page of all samples."""
        return render_dataset(self.data(outcomes, job))

    @abstractmethod
    def data(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
        """Everything that the page shows."""


def _is_done(outcome: SampleOutcome, stage: str) -> bool:
    return stage in outcome.records and outcome.records[stage].state == "done"


def _first_of_each(ranked: Sequence[SampleOutcome], stage: str) -> list[SampleOutcome]:
    """One sample per record of a stage."""
    return list({outcome.records[stage].sample: outcome for outcome in reversed(ranked)}.values())[::-1]


def _measured(measure: Measure, outcome: SampleOutcome) -> tuple[str, ...]:
    return (f"{measure.of(outcome):.3g}",)


def _picture(outcome: SampleOutcome, file: File, words: str) -> Picture:
    pixels = read_rgb(outcome.files[file]())
    scale = min(1.0, PICTURE_SIDE / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return thumbnail(np.asarray(small, np.float32) / np.float32(255), PICTURE_SIDE, f"{outcome.sample.id} {words}")


def _stage_row(stage: StageResults, outcomes: Sequence[SampleOutcome]) -> StageRow:
    records = {
        outcome.records[stage.name].sample: outcome.records[stage.name]
        for outcome in outcomes
        if _is_done(outcome, stage.name)
    }
    latest = max((record.run for record in records.values()), default="")
    ends = [record.at for record in records.values() if record.run == latest]
    span = max(ends, default=0.0) - min(ends, default=0.0)
    return StageRow(
        stage.name,
        stage.title,
        done=stage.counts.done,
        failed=stage.counts.failed,
        rejected=stage.counts.rejected,
        skipped=stage.counts.skipped - stage.counts.rejected,
        seconds=stage.time.seconds,
        wall_seconds=stage.time.wall_seconds,
        not_selected=stage.counts.not_selected,
        per_second=(len(ends) - 1) / span if span > 0 else None,
        gpu_seconds=stage.time.gpu_seconds,
    )
