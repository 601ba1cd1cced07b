"""The page of a data set: what it says of positions, counts, leaks and of masks that a method found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.reference.family import augmented_children, scene_children, views
from scenewright_stages.reference.files import write_png
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import stages
from scenewright_stages.reference.report import ReferenceReporter, coverage, leak_rows

BLOCK: dict[str, Any] = {
    "prompts": {"count": 4},
    "scenes": {"iterations": 1},
    "perspectives": {"angles": [-20.0, 30.0]},
}


def outcomes(folder: Path, params: ReferenceObjectParams, **judged: Any) -> list[SampleOutcome]:
    """A finished data set of one object, its pictures all alike."""
    picture = write_png(folder / "a.png", np.full((60, 80, 3), 90, np.uint8))
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:50] = 255
    masked = write_png(folder / "m.png", mask)
    turned = folder / "views"
    turned.mkdir(exist_ok=True)
    for view in views(params):
        write_png(turned / view.file, np.full((40, 40, 3), 250, np.uint8))
    files = {("white", "white"): picture, ("scenes", "image"): picture, ("perspectives", "views"): turned,
             ("annotate", "image"): picture, ("annotate", "mask"): masked}  # fmt: skip
    cup = Sample("cup", attributes={"class": "cup", "title": "cup", "home": "", "roster": [["cup", "cup"]]})
    found = []
    for number, scene in enumerate(cup.children(scene_children(params, cup))):
        empty = scene.attributes["empty"]
        sides = {"width": 80, "height": 60, "box": [] if empty else [30, 20, 50, 40], "area": 0.0 if empty else 0.08}
        place = {"place": scene.attributes["place"], "visible": 0.0 if empty else 0.9, "decoys": 1}
        label = {"empty": empty, "class": "cup", "split": scene.attributes["split"]}
        turns = [vars(view) | {"pseudo": view.pseudo} for view in views(params)]
        metrics = {
            "white": {},
            "perspectives": {"views": turns},
            "prompts": {},
            "scenes": {**sides, **place},
            "annotate": {**label, **({} if empty else judged)},
            "augment": {},
        }
        for leaf in scene.children(augmented_children(params, scene)):
            level = {"scenes": scene.id, "annotate": scene.id, "augment": leaf.id}
            records = {
                stage.name: Record(
                    level.get(stage.name, "cup"),
                    stage.name,
                    "k",
                    "done",
                    at=1.0,
                    metrics=metrics[stage.name],
                    outputs={"image": OutputFile("x.png", 1, f"hash{number}")},
                )
                for stage in stages(params)
            }
            fetch = {name: (lambda path=path: path) for name, path in files.items()}
            found.append(SampleOutcome(leaf, records, fetch))
    return found


def page(folder: Path, params: ReferenceObjectParams, **judged: Any) -> str:
    block = params.model_dump(mode="json", by_alias=True)
    job = {"metadata": {"name": "cups"}, "spec": {"referenceObject": block}, "workHash": "abc"}
    return ReferenceReporter().index_page(outcomes(folder, params, **judged), job)


def test_the_page_shows_views_labels_positions_counts_and_leaks(tmp_path: Path) -> None:
    params = ReferenceObjectParams.model_validate(BLOCK)
    text = page(tmp_path, params)
    for part in ("cup, -20°", "cup, +30°", "Where the object is", "Positions in train",
                 "Images by class and split", "without the object", "Do the splits leak?", "images: "):  # fmt: skip
        assert part in text, part
    assert "Predicted against exact" not in text
    assert text == page(tmp_path, params)


def test_masks_that_a_method_found_are_compared_with_those_that_are_known(tmp_path: Path) -> None:
    params = ReferenceObjectParams.model_validate(BLOCK)
    text = page(tmp_path, params, overlap=0.75, score=0.8)
    assert "Predicted against exact" in text
    assert "0.750" in text


def test_a_group_in_two_splits_is_counted(tmp_path: Path) -> None:
    params = ReferenceObjectParams.model_validate(BLOCK)
    images = outcomes(tmp_path, params)
    rows = {row[0]: row[1:] for row in leak_rows(images, params)}
    assert rows["background"] == ("4", "0", "yes")
    assert rows["view"] == ("2", "2", "no")
    assert rows["same picture"][1:] == ("0", "yes")
    moved = next(each for each in images if each.sample.attributes["split"] == "val")
    moved.sample.attributes["split"] = "train"  # type: ignore[index]
    assert {row[0]: row[2] for row in leak_rows(images, params)}["background"] == "1"


def test_positions_are_counted_as_shares_of_the_image() -> None:
    one = {"box": [0, 0, 40, 60], "width": 80, "height": 60}
    other = {"box": [20, 0, 80, 30], "width": 80, "height": 60}
    heat = coverage([one, other])
    assert heat.shape == (96, 96)
    assert (heat[10, 10], heat[10, 30], heat[10, 90], heat[90, 90]) == (0.5, 1.0, 0.5, 0.0)
