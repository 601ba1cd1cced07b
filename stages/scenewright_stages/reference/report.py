"""The page of a reference-object data set: scenes, what was left out, and how the data is distributed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.photographs.overview import Measure, Overview, PairFiles
from scenewright_stages.photographs.page import DatasetData, render_dataset
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import stages
from scenewright_stages.report.charts import Distribution, distribution
from scenewright_stages.report.rows import job_name, parameter_rows

PAIR = PairFiles(("white", "white"), "the object", ("scenes", "image"), "in a scene")
MEASURES = (
    Measure("visible", "scenes", False, "Most hidden objects", "Share of the object that nothing hides"),
    Measure("area", "scenes", False, "Smallest objects", "Share of the image"),
)


class ReferenceReporter(Reporter):
    """Makes ``report.html`` of reference-object jobs."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """A data set of one sample."""
        return self.index_page([outcome], job)

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The page of all samples."""
        params = ReferenceObjectParams.model_validate(job.get("spec", {}).get("referenceObject") or {})
        overview = Overview(outcomes, stages(params), PAIR)
        return render_dataset(
            DatasetData(
                title=job_name(job),
                pipeline="Reference object",
                spec_hash=str(job.get("workHash", "")),
                duration=sum(record.seconds for record in overview.records),
                subtitle=_subtitle(overview),
                counts=tuple(overview.counts()),
                pairs=overview.pairs(_scene_facts),
                reasons=tuple(overview.reasons()),
                distributions=tuple(_distributions(overview)),
                gates=tuple(overview.gates(MEASURES)),
                stages=tuple(overview.stage_rows()),
                credits=tuple(overview.credits()),
                parameters=tuple(parameter_rows(params, ReferenceObjectParams())),
            )
        )


def _subtitle(overview: Overview) -> str:
    objects = len({each.sample.root.id for each in overview.done})
    splits = dict.fromkeys(("train", "val", "test"), 0)
    for outcome in overview.done:
        splits[outcome.sample.attributes["split"]] += 1
    counts = ", ".join(f"{count:,} {split}" for split, count in splits.items() if count)
    return f"{objects:,} object{'' if objects == 1 else 's'}; {counts}"


def _distributions(overview: Overview) -> Iterator[Distribution]:
    shown = (
        distribution("Object in the image", [100 * area for area in overview.metrics("scenes", "area")], "%", 1),
        distribution("Visible share", [100 * share for share in overview.metrics("scenes", "visible")], "%", 0),
        distribution("Other things", overview.metrics("scenes", "decoys"), "", 0),
    )
    yield from (each for each in shown if each is not None)


def _scene_facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["scenes"].metrics
    return outcome.sample.attributes["split"], metrics["place"], f"visible {metrics['visible']:.0%}"
