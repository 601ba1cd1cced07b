"""The page of a reference-object data set: scenes, what was left out, and how the data is distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.photographs.overview import DatasetReporter, Measure, Overview, PairFiles
from scenewright_stages.photographs.page import DatasetData
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import stages
from scenewright_stages.report.charts import Distribution, distribution

PAIR = PairFiles(("white", "white"), "the object", ("scenes", "image"), "in a scene")
MEASURES = (
    Measure("visible", "scenes", False, "Most hidden objects", "Share of the object that nothing hides"),
    Measure("area", "scenes", False, "Smallest objects", "Share of the image"),
)


class ReferenceReporter(DatasetReporter):
    """Makes ``report.html`` of reference-object jobs."""

    def data(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
        """Everything that the page shows."""
        params = ReferenceObjectParams.model_validate(job.get("spec", {}).get("referenceObject") or {})
        overview = Overview(outcomes, stages(params), PAIR)
        return overview.page(
            job,
            "Reference object",
            params,
            subtitle=_subtitle(overview),
            facts=_scene_facts,
            measures=MEASURES,
            distributions=_distributions(overview),
        )


def _subtitle(overview: Overview) -> str:
    objects = len({each.sample.root.id for each in overview.done})
    splits = dict.fromkeys(("train", "val", "test"), 0)
    for outcome in overview.done:
        splits[outcome.sample.attributes["split"]] += 1
    counts = ", ".join(f"{count:,} {split}" for split, count in splits.items() if count)
    return f"{objects:,} object{'' if objects == 1 else 's'}; {counts}"


def _distributions(overview: Overview) -> tuple[Distribution | None, ...]:
    return (
        distribution("Object in the image", [100 * area for area in overview.metrics("scenes", "area")], "%", 1),
        distribution("Visible share", [100 * share for share in overview.metrics("scenes", "visible")], "%", 0),
        distribution("Other things", overview.metrics("scenes", "decoys"), "", 0),
    )


def _scene_facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["scenes"].metrics
    return outcome.sample.attributes["split"], metrics["place"], f"visible {metrics['visible']:.0%}"
