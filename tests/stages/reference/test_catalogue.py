"""The index files of a data set: the state in the words of the script that this pipeline replaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_reference_reruns import everything_done
from toy_chains import chain_of, photo

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry, Dropped
from scenewright_stages.pipelines import pipeline
from scenewright_stages.reference.catalogue import index_files

KEYS = {
    "completed_steps", "input_image", "object_name", "white_bg_image", "perspective_generator", "perspective_images",
    "perspective_view_info", "prompts", "classes", "generated_images", "failed_images", "qwen_combined_images_path",
    "qwen_augmentation_summary", "failed_qwen_augmentations", "yolo_dataset_path", "annotation_summary",
    "cv_augmented_dataset_path", "cv_augmentation_summary", "failed_cv_augmentations",
}  # fmt: skip
"""Of the script's own file."""
BLOCK: dict[str, Any] = {
    "objectName": "cup",
    "perspectives": {"angles": [-20.0, 20.0]},
    "prompts": {"count": 2},
    "scenes": {"iterations": 1, "emptyShare": 0.0},
    "vary": {"enabled": True},
}
FACTS: dict[str, dict[str, Any]] = {
    "perspectives": {"views": [{"yaw": -20.0}]},
    "prompts": {"prompts": ["A photo of a cup"]},
    "vary": {"weather": "fog"},
    "annotate": {"split": "train", "class": "cup", "class_number": 0, "empty": False, "box": [], "area": 4},
    "augment": {
        "copy": 1, "split": "train", "long_blur": True, "black_and_white": True, "saturation": None, "contrast": None,
        "brightness": 1.2, "blur": 9, "qualities": [20],
    },
}  # fmt: skip


def cup(name: str, home: str = "") -> Sample:
    roster = [["cup", name], ["cup", name]]
    return photo(name, attributes={"class": "cup", "title": name, "home": home, "roster": roster})


def state(objects: Sequence[Sample], dropped: Sequence[Dropped] = (), **changes: Any) -> dict[str, Any]:
    """``pipeline_state.json`` of a finished run."""
    block = {**BLOCK, **changes}
    chain = chain_of(pipeline("referenceObject"), block)
    population = chain.population(objects)
    records = everything_done(block, objects)
    entries = []
    for leaf in population[chain.levels[chain.stages[-1].name]]:
        lineage = [each.id for each in leaf.lineage()]
        found = {
            stage: replace(of[sample], metrics=FACTS.get(stage, {}))
            for stage, of in records.items()
            for sample in lineage
            if sample in of
        }
        entries.append(CatalogueEntry(leaf, found))
    job = {"spec": {"referenceObject": block}}
    files = index_files(Catalogue("cups", entries, job, dropped, read=lambda path: PIXEL))
    found_state: dict[str, Any] = json.loads(files["pipeline_state.json"])
    return found_state


def _pixel() -> bytes:
    import cv2
    import numpy as np

    return bytes(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1])


PIXEL = _pixel()


def test_the_state_has_the_keys_of_the_script_and_says_what_was_made() -> None:
    found = state([cup("mug")])
    assert found.keys() == KEYS
    assert found["completed_steps"] == [1, 2, 3, 4, 5, 6, 7]
    assert found["input_image"] == "mug.png" and found["object_name"] == "cup"
    assert found["white_bg_image"] == "01_white_background.png"
    assert len(found["generated_images"]) == 4
    assert found["qwen_combined_images_path"] == "05_qwen_combined_images"
    assert found["qwen_augmentation_summary"] == {"augmented": 4}
    assert found["yolo_dataset_path"] == "06_yolo_dataset"
    assert found["annotation_summary"]["images"] == 8
    assert found["cv_augmented_dataset_path"] == "07_cv_augmented_dataset"
    assert found["cv_augmentation_summary"]["applied"]["blur"] == found["cv_augmentation_summary"]["long_blurs"] > 0


def test_paths_of_several_objects_are_those_of_their_folders() -> None:
    found = state([cup("mug", "objects/mug"), cup("pot", "objects/pot")])
    assert found["qwen_combined_images_path"] == [
        "objects/mug/05_qwen_combined_images", "objects/pot/05_qwen_combined_images",
    ]  # fmt: skip
    assert found["white_bg_image"] == ["objects/mug/01_white_background.png", "objects/pot/01_white_background.png"]


@pytest.mark.parametrize(
    ("stage", "key"),
    [("scenes", "failed_images"), ("vary", "failed_qwen_augmentations"), ("augment", "failed_cv_augmentations")],
)
def test_what_failed_in_a_step_is_listed_under_its_name(stage: str, key: str) -> None:
    lost = cup("mug")
    found = state([lost], [Dropped(lost, stage, "ObjectHidden", "less than half shows")])
    listed = {name: found[name] for name in KEYS if name.startswith("failed_")}
    assert listed.pop(key) == [{"sample": "mug", "reason": "ObjectHidden", "message": "less than half shows"}]
    assert not any(listed.values())


def test_what_is_switched_off_or_not_kept_has_no_path() -> None:
    without = {"annotate": {"enabled": False}, "augment": {"enabled": False}, "vary": {"enabled": False}}
    found = state([cup("mug")], **without)
    assert found.keys() == KEYS and found["completed_steps"] == [1, 2, 3, 4]
    for key in ("qwen_combined_images_path", "yolo_dataset_path", "cv_augmented_dataset_path", "annotation_summary"):
        assert found[key] is None
    assert state([cup("mug")], keep=[])["generated_images"] == []
