"""Report page of a pairs data set: renders beside photographs, their differences, and why pairs were dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.pipeline import pairs_stages
from scenewright_stages.photographs.browse import Entry, entry, metrics_of
from scenewright_stages.photographs.overview import DatasetReporter, Measure, Overview, PairFiles
from scenewright_stages.photographs.page import DatasetData
from scenewright_stages.report.charts import Distribution, distribution
from scenewright_stages.report.data import NextStep

PAIR = PairFiles(("pair", "image"), "as the spoilt scene renders it", ("pair", "target"), "as photographed")
_NEXT_STEPS = (
    NextStep(
        "Train a fixer with these pairs: a TuningRun that names this job, or upstream's trainer with", "difix/data.json"
    ),
    NextStep(
        "Add to the same command to spoil scenes in fewer ways; all else is kept:", "--set strategies.underfit=[]"
    ),
)
MEASURES = (
    Measure("psnr", "pair", False, "Farthest from the photograph", "PSNR of the render, dB"),
    Measure("shift_gain", "pair", True, "Least certain registration", "What a shift by up to two pixels gains, dB"),
    Measure("coverage", "pair", False, "Least covered", "Share of the render that is covered"),
)


class PairsReporter(DatasetReporter):
    """Makes ``report.html`` of data sets of pairs."""

    def data(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
        """Everything that the page shows."""
        params = PairsParams.model_validate(job.get("spec", {}).get("difixPairs") or {})
        overview = Overview(outcomes, pairs_stages(params), PAIR, self.results)
        return overview.page(
            job,
            "Pairs of artefact and truth",
            params,
            subtitle=_subtitle(overview),
            facts=_facts,
            measures=MEASURES,
            distributions=_distributions(overview),
            describe=_cards,
            next_steps=_NEXT_STEPS if overview.done else _NEXT_STEPS[1:],
        )


def _cards(outcome: SampleOutcome) -> Iterator[Entry]:
    """A pair as a trainer gets it: the spoilt render, the photograph as its target, and the reference."""
    metrics = metrics_of(outcome, "pair")
    files = (
        ("pair", "image", "input: spoilt render"),
        ("pair", "target", "target: photograph"),
        ("pair", "reference", "reference view"),
    )
    facets = {
        "Split": metrics.get("split"),
        "Source": metrics.get("group_id", outcome.sample.root.id),
        "Augmentation": f"{metrics['strategy']} {metrics['level']}" if metrics else None,
    }
    facts = (f"{metrics['psnr']:.1f} dB",) if metrics else ()
    yield entry(outcome, str(metrics.get("sample_id", outcome.sample.id)), facets, files, None, facts)


def _subtitle(overview: Overview) -> str:
    groups = {str(each.records["pair"].metrics["group_id"]) for each in overview.done}
    several = "" if len(groups) == 1 else "s"
    return f"{len(overview.done):,} pairs of {len(groups):,} group{several}"


def _distributions(overview: Overview) -> tuple[Distribution | None, ...]:
    return (
        distribution("PSNR of the renders", overview.metrics("pair", "psnr"), "dB", 1),
        distribution("Covered", [100 * share for share in overview.metrics("pair", "coverage")], "%", 1),
        distribution("Sharpness of the photographs", overview.metrics("pair", "sharpness"), "", 2),
    )


def _facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["pair"].metrics
    return f"{metrics['strategy']} {metrics['level']}", f"{metrics['psnr']:.1f} dB", str(metrics["split"])
