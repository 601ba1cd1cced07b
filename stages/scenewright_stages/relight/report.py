"""Report page of a relighting data set: adds lights and their directions to the shared overview."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.photographs.browse import Entry, entry, metrics_of
from scenewright_stages.photographs.overview import DatasetReporter, Measure, Overview, PairFiles
from scenewright_stages.photographs.page import DatasetData
from scenewright_stages.relight.params import RelightParams
from scenewright_stages.relight.pipeline import stages
from scenewright_stages.report.charts import Distribution, LightPoint, distribution
from scenewright_stages.report.data import NextStep
from scenewright_stages.report.pictures import evenly_spaced

SHOWN_LIGHTS = 1500
PAIR = PairFiles(("segment", "input"), "as photographed", ("recombine", "output"), "in the new light")

_NEXT_STEPS = (
    NextStep("Train with the pairs:", 'datasets.load_dataset("imagefolder", data_dir="FOLDER OF THIS PAGE")'),
    NextStep(
        "Add to the same command for more lights; photographs and outlines are kept:",
        "--set variants=8",
    ),
)
MEASURES = (
    Measure("light_change", "degrade", False, "Least change of light", "Mean difference of the person, levels of 255"),
    Measure("edge_error", "segment", True, "Least certain outlines", "What foreground and background do not explain of "
            "the photograph's outline, levels of 255"),
    Measure("score", "segment", False, "Least certain persons", "Score of the segmentation"),
    Measure("area", "segment", False, "Smallest persons", "Share of the picture"),
)  # fmt: skip


class RelightReporter(DatasetReporter):
    """Makes ``report.html`` of relighting jobs."""

    def data(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
        """Everything that the page shows."""
        params = RelightParams.model_validate(job.get("spec", {}).get("relight") or {})
        overview = Overview(outcomes, stages(params), PAIR, self.results)
        lights = [outcome.records["degrade"].metrics["light"] for outcome in overview.done]
        return overview.page(
            job,
            "Relighting",
            params,
            subtitle=_subtitle(overview),
            facts=_light_facts,
            measures=MEASURES,
            distributions=_distributions(overview, lights),
            lights=tuple(_light_point(lights[place]) for place in evenly_spaced(len(lights), SHOWN_LIGHTS)),
            light_count=len(lights),
            describe=_cards,
            next_steps=_NEXT_STEPS if overview.done else _NEXT_STEPS[1:],
        )


def _cards(outcome: SampleOutcome) -> Iterator[Entry]:
    """A pair as a trainer gets it: the picture in new light, and the photograph as its target."""
    combined, degraded = metrics_of(outcome, "recombine"), metrics_of(outcome, "degrade")
    files = (("recombine", "output", "input: new light"), ("segment", "input", "target: photograph"))
    facets = {
        "Split": combined.get("split"),
        "Source": combined.get("photograph", outcome.sample.root.id),
        "Augmentation": degraded.get("degradation"),
        "Person": combined.get("person"),
    }
    facts = _light_facts(outcome)[1:] if degraded else ()
    yield entry(outcome, outcome.sample.id, facets, files, ("segment", "alpha"), facts)


def _subtitle(overview: Overview) -> str:
    photographs = len({each.sample.at_level(0).id for each in overview.done})
    several = "" if photographs == 1 else "s"
    return f"{photographs:,} photograph{several}, {len(overview.done):,} pairs of before and after"


def _light_point(light: Mapping[str, Any]) -> LightPoint:
    x, y, _ = light["direction"]
    return LightPoint(x, -y, light["ambient"])


def _distributions(overview: Overview, lights: Sequence[Mapping[str, Any]]) -> tuple[Distribution | None, ...]:
    widths, heights = overview.metrics("segment", "width"), overview.metrics("segment", "height")
    sizes = [max(size) for size in zip(widths, heights, strict=True)]
    return (
        distribution("Ambient light", [light["ambient"] for light in lights], note="Share of all light"),
        distribution("Person in the picture", [100 * area for area in overview.metrics("segment", "area")], "%", 1),
        distribution("Longer side", sizes, "px", 0),
        distribution("Height of the light", [light["elevation_degrees"] for light in lights], "°", 0),
        distribution(
            "Brightness", overview.metrics("degrade", "luminance_ratio"), "", 2, "Of the photographed person's"
        ),
        distribution("Change of light", overview.metrics("degrade", "light_change"), "levels", 1),
        distribution(
            "Photograph kept in the albedo", [100 * blend for blend in overview.metrics("albedo", "blend")], "%", 1
        ),
    )


def _light_facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["degrade"].metrics
    light = metrics["light"]
    return metrics["degradation"], f"ambient {light['ambient']:.2f}", f"from {light['azimuth_degrees']:.0f}°"
