"""Report page of a reference-object data set: views, labelled scenes, coverage, and leaks between splits.

Most of the page comes from `photographs.overview`. The additions need only the records, plus a few images shown with
their labels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.photographs.browse import Entry, entry, metrics_of
from scenewright_stages.photographs.overview import DatasetReporter, Measure, Overview, PairFiles
from scenewright_stages.photographs.page import Card, DatasetData, Gallery, Table
from scenewright_stages.photographs.pictures import read_rgb, unit_from_bytes
from scenewright_stages.reference.catalogue import SPLITS
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import stages
from scenewright_stages.report.charts import Distribution, distribution
from scenewright_stages.report.data import NextStep
from scenewright_stages.report.pictures import Picture, thumbnail
from scenewright_stages.vision.imaging.colour import turbo
from scenewright_stages.vision.types import Float32Array

PAIR = PairFiles(("white", "white"), "the object", ("scenes", "image"), "in a scene")
_SHOWN_VIEWS = 24
_SIDE = 360
_DEGRADATIONS = {
    "black_and_white": "black and white",
    "saturation": "saturation",
    "contrast": "contrast",
    "brightness": "brightness",
    "blur": "blur",
}
_GRID = 96


def _shows_object(outcome: SampleOutcome) -> bool:
    """Whether the object is in the scene."""
    return not outcome.sample.attributes["empty"]


MEASURES = (
    Measure("visible", "scenes", False, "Most hidden objects", "Share of the object that nothing hides", _shows_object),
    Measure("area", "scenes", False, "Smallest objects", "Share of the image", _shows_object),
    Measure("overlap", "annotate", False, "Least like the exact mask", "Intersection over union"),
    Measure("score", "annotate", False, "Least certain labels", "The method's own score", _shows_object),
)


class ReferenceReporter(DatasetReporter):
    """Makes ``report.html`` of reference-object jobs."""

    def data(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> DatasetData:
        """Everything that the page shows."""
        params = ReferenceObjectParams.model_validate(job.get("spec", {}).get("referenceObject") or {})
        overview = Overview(outcomes, stages(params), PAIR, self.results)
        images = _first_of_each(overview.done, "annotate" if params.annotate.enabled else "scenes")
        return overview.page(
            job,
            "Reference object",
            params,
            subtitle=_subtitle(overview, images),
            facts=_scene_facts,
            measures=MEASURES,
            distributions=_distributions(images),
            galleries=tuple(_galleries(images)),
            tables=tuple(_tables(images, params)) if params.annotate.enabled else (),
            describe=_cards,
            next_steps=_next_steps(params, bool(images)),
        )


def _first_of_each(outcomes: Sequence[SampleOutcome], stage: str) -> list[SampleOutcome]:
    """One outcome per record of a stage, ignoring differences in later stages."""
    found: dict[str, SampleOutcome] = {}
    for outcome in outcomes:
        found.setdefault(outcome.records[stage].sample, outcome)
    return list(found.values())


def _subtitle(overview: Overview, images: Sequence[SampleOutcome]) -> str:
    objects = len({each.sample.root.id for each in overview.done})
    counts = ", ".join(
        f"{count:,} {split}"
        for split in SPLITS
        if (count := sum(each.sample.attributes["split"] == split for each in images))
    )
    return f"{objects:,} object{'' if objects == 1 else 's'}; images: {counts}"


def _distributions(images: Sequence[SampleOutcome]) -> tuple[Distribution | None, ...]:
    shown = [each.records["scenes"].metrics for each in images if _shows_object(each)]
    # A model that paints object and scene together gives neither position nor companions.
    hidden = [100 * each["visible"] for each in shown if "visible" in each]
    others = [each.records["scenes"].metrics.get("decoys") for each in images]
    return (
        distribution("Object in the image", [100 * share for each in images if (share := _area(each)) > 0], "%", 1),
        distribution("Visible share", hidden, "%", 0) if hidden else None,
        distribution("Other things", [count for count in others if count is not None], "", 0) if hidden else None,
    )


def _area(outcome: SampleOutcome) -> float:
    """Share of the image that the object covers; 0 if it is absent or was not located."""
    scene = outcome.records["scenes"].metrics
    if not _shows_object(outcome):
        return 0.0
    if "area" in scene:
        return float(scene["area"])
    found = outcome.records.get("annotate")
    return 0.0 if found is None else float(found.metrics["area"]) / (scene["width"] * scene["height"])


def _placed(outcome: SampleOutcome) -> dict[str, Any]:
    """Box of the object and size of the image; the box is empty if the object was not located."""
    scene, found = outcome.records["scenes"].metrics, outcome.records.get("annotate")
    box = scene.get("box") or (found.metrics["box"] if found is not None else [])
    return {"box": box, "width": scene["width"], "height": scene["height"]}


def _scene_facts(outcome: SampleOutcome) -> tuple[str, ...]:
    metrics = outcome.records["scenes"].metrics
    visible = (f"visible {metrics['visible']:.0%}",) if "visible" in metrics else ()
    return outcome.sample.attributes["split"], metrics["place"], *visible


def _galleries(images: Sequence[SampleOutcome]) -> Iterator[Gallery]:
    if views := tuple(_view_cards(images)):
        yield Gallery("Views", "The object from its sides; angles are in degrees.", views)
    if any(_shows_object(each) for each in images):
        note = "How often the object's box covers a place of the image, over all images. Even is better."
        yield Gallery("Where the object is", note, tuple(_heat_cards(images)))


def _view_cards(images: Sequence[SampleOutcome]) -> Iterator[Card]:
    """The views of the first objects."""
    shown = 0
    for outcome in _first_of_each(images, "perspectives"):
        folder = outcome.files[("perspectives", "views")]()
        for view in outcome.records["perspectives"].metrics["views"]:
            if shown == _SHOWN_VIEWS:
                return
            shown += 1
            name = f"{outcome.sample.root.id}, {view['yaw']:+g}°"
            picture = thumbnail(unit_from_bytes(read_rgb(folder / view["file"])), _SIDE, name)
            facts = (f"tilt {view['elevation']:+g}°", *(("not seen by the photo",) if view["pseudo"] else ()))
            yield Card(name, picture, facts)


def _cards(outcome: SampleOutcome) -> Iterator[Entry]:
    """The image that a trainer gets, a degraded copy included, with the outline of its label."""
    attributes, label = outcome.sample.attributes, metrics_of(outcome, "annotate")
    stage = next((stage for stage in ("augment", "annotate", "scenes") if (stage, "image") in outcome.files), "white")
    degraded, variation, empty = attributes.get("copy"), attributes.get("variation"), attributes.get("empty")
    facets = {
        "Split": attributes.get("split"),
        "Class": "without the object" if empty else label.get("class") or attributes.get("class"),
        "Source": outcome.sample.root.id,
        "Augmentation": "degraded" if degraded else f"varied {variation}" if variation else "none",
        "Place": metrics_of(outcome, "scenes").get("place"),
    }
    name = "white" if stage == "white" else "image"
    title = str(attributes.get("picture_file") or attributes.get("picture") or outcome.sample.id)
    facts = tuple(_degradations(metrics_of(outcome, stage))) if degraded else ()
    files = ((stage, name, "input: degraded copy" if degraded else "input"),)
    yield entry(outcome, title, facets, files, None if empty else ("annotate", "mask"), facts)


def _degradations(metrics: Mapping[str, Any]) -> Iterator[str]:
    """What was done to a degraded copy."""
    for name, words in _DEGRADATIONS.items():
        if metrics.get(name) not in (None, False):
            value = metrics[name]
            yield words if value is True else f"{words} {value:.2g}" if isinstance(value, float) else f"{words} {value}"


def _next_steps(params: ReferenceObjectParams, labelled: bool) -> tuple[NextStep, ...]:
    folder = "07_cv_combined_dataset" if params.augment.enabled else "06_yolo_dataset"
    change = NextStep("Add to the same command; only what depends on it is made:", "--set prompts.count=20")
    if not (params.annotate.enabled and labelled):
        return (change,)
    return NextStep("Train with any YOLO trainer:", f"yolo segment train data={folder}/dataset.yaml"), change


def _heat_cards(images: Sequence[SampleOutcome]) -> Iterator[Card]:
    """One heat map per split."""
    for split in SPLITS:
        shown = [each for each in images if each.sample.attributes["split"] == split and _shows_object(each)]
        own = [placed for each in shown if (placed := _placed(each))["box"]]
        if own:
            heat = coverage(own)
            yield Card(
                split, _coloured(heat, f"Positions in {split}"), (f"{len(own):,} images", f"at most {heat.max():.0%}")
            )


def coverage(metrics: Sequence[Mapping[str, Any]]) -> Float32Array:
    """(96, 96) float32 heat map: the share of images whose object box covers each cell."""
    found = np.zeros((_GRID, _GRID), np.float32)
    for each in metrics:
        left, top, right, bottom = each["box"]
        across, down = _GRID / each["width"], _GRID / each["height"]
        found[round(top * down) : max(round(bottom * down), round(top * down) + 1),
              round(left * across) : max(round(right * across), round(left * across) + 1)] += 1  # fmt: skip
    return found / np.float32(max(len(metrics), 1))


def _coloured(heat: Float32Array, alt: str) -> Picture:
    colours = turbo(heat / max(float(heat.max()), 1e-6))
    pixels = np.asarray(colours, np.float32) / (255 if colours.dtype == np.uint8 else 1)
    enlarged = cv2.resize(pixels.astype(np.float32), (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    return thumbnail(np.clip(enlarged, 0, 1), _SIDE, alt)


def _tables(images: Sequence[SampleOutcome], params: ReferenceObjectParams) -> Iterator[Table]:
    splits = [split for split in SPLITS if any(each.sample.attributes["split"] == split for each in images)]
    counted: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(splits, 0))
    for each in images:
        metrics = each.records["annotate"].metrics
        counted["without the object" if metrics["empty"] else metrics["class"]][metrics["split"]] += 1
    rows = tuple(
        (name, *(f"{row[split]:,}" for split in splits), f"{sum(row.values()):,}") for name, row in counted.items()
    )
    yield Table("Images by class and split", "Degraded copies are not counted.", ("Class", *splits, "All"), rows)
    if found := [each.records["annotate"].metrics for each in images if "overlap" in each.records["annotate"].metrics]:
        yield _agreement(found, [each.records["annotate"].metrics for each in images])
    yield Table(
        "Do the splits leak?",
        f"annotate.group is {params.annotate.group}: what the split follows must not cross it. Everything else may.",
        ("What images share", "Groups", "In more than one split", "Must not cross"),
        tuple(leak_rows(images, params)),
    )


def _agreement(found: Sequence[Mapping[str, Any]], everything: Sequence[Mapping[str, Any]]) -> Table:
    """Agreement of located masks with the compositor's exact masks."""
    overlaps = [each["overlap"] for each in found]
    empty = [each["false_alarm"] for each in everything if "false_alarm" in each]
    rows = [
        ("Overlap, median", f"{float(np.median(overlaps)):.3f}"),
        ("Overlap, worst tenth below", f"{sorted(overlaps)[len(overlaps) // 10]:.3f}"),
        ("Labels with an overlap below 0.5", f"{sum(each < 0.5 for each in overlaps):,} of {len(overlaps):,}"),
        ("Found where the object is not", f"{sum(empty):,} of {len(empty):,}"),
    ]
    note = "Overlap is intersection over union with the mask that the compositor knows."
    return Table("Predicted against exact", note, ("", "Found"), tuple(rows))


def leak_rows(images: Sequence[SampleOutcome], params: ReferenceObjectParams) -> Iterator[tuple[str, str, str, str]]:
    """Per kind of group: the number of groups, how many span several splits, and whether that is allowed."""
    follows = {"background": params.needs_scenes(), "view": params.needs_views(), "same picture": True}
    kinds: dict[str, Callable[[SampleOutcome], object]] = {
        "background": lambda each: each.records["scenes"].metrics["place"],
        "view": lambda each: each.sample.attributes["view"],
        "same picture": lambda each: each.records["annotate"].outputs["image"].hash,
    }
    for kind, group_of in kinds.items():
        groups: dict[object, set[str]] = defaultdict(set)
        for each in images:
            groups[group_of(each)].add(each.sample.attributes["split"])
        crossing = len([splits for splits in groups.values() if len(splits) > 1])
        yield kind, f"{len(groups):,}", f"{crossing:,}", "yes" if follows[kind] else "no"
