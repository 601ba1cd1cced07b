"""The page of a data set of pairs: renders beside photographs, how far apart they are, and why pairs were dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.pipeline import pairs_stages
from scenewright_stages.photographs.overview import Measure, Overview, PairFiles
from scenewright_stages.photographs.page import DatasetData, render_dataset
from scenewright_stages.report.charts import Distribution, distribution
from scenewright_stages.report.rows import job_name, parameter_rows

PAIR = PairFiles(("pair", "image"), "as the spoilt scene renders it", ("pair", "target"), "as photographed")
MEASURES = (
    Measure("psnr", "pair", False, "Farthest from the photograph", "PSNR of the render, dB"),
    Measure("shift_gain", "pair", True, "Least certain registration", "What a shift by up to two pixels gains, dB"),
    Measure("coverage", "pair", False, "Least covered", "Share of the render that is covered"),
)


class PairsReporter(Reporter):
    """Makes ``report.html`` of data sets of pairs."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """A data set of one pair."""
        return self.index_page([outcome], job)

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The page of all pairs."""
        return render_dataset(dataset_report(outcomes, job))


def dataset_report(outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
    """Everything that the page shows."""
    params = PairsParams.model_validate(job.get("spec", {}).get("difixPairs") or {})
    overview = Overview(outcomes, pairs_stages(params), PAIR)
    return DatasetData(
        title=job_name(job),
        pipeline="Pairs of artefact and truth",
        spec_hash=str(job.get("workHash", "")),
        duration=sum(record.seconds for record in overview.records),
        subtitle=_subtitle(overview),
        counts=tuple(overview.counts()),
        pairs=overview.pairs(_facts),
        reasons=tuple(overview.reasons()),
        distributions=tuple(_distributions(overview)),
        gates=tuple(overview.gates(MEASURES)),
        stages=tuple(overview.stage_rows()),
        credits=tuple(overview.credits()),
        parameters=tuple(parameter_rows(params, PairsParams())),
    )


def _subtitle(overview: Overview) -> str:
    groups = {str(each.records["pair"].metrics["group_id"]) for each in overview.done}
    several = "" if len(groups) == 1 else "s"
    return f"{len(overview.done):,} pairs of {len(groups):,} group{several}"


def _distributions(overview: Overview) -> Iterator[Distribution]:
    shown = (
        distribution("PSNR of the renders", overview.metrics("pair", "psnr"), "dB", 1),
        distribution("Covered", [100 * share for share in overview.metrics("pair", "coverage")], "%", 1),
        distribution("Sharpness of the photographs", overview.metrics("pair", "sharpness"), "", 2),
    )
    yield from (each for each in shown if each is not None)


def _facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["pair"].metrics
    return f"{metrics['strategy']} {metrics['level']}", f"{metrics['psnr']:.1f} dB", str(metrics["split"])
