"""Curated sets as worlds: which entries become one, what each brings along, and what is said of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import Listed
from scenewright_stages.worker.index.curated import list_dataset
from scenewright_stages.worldexplorer.pipeline import PIPELINE

ENTRIES: list[dict[str, Any]] = [
    {"index": 0, "photorealistic": {"original_path": "a/0.png"}, "stylized": {"path": "./b/0.png"}},
    {"index": 1, "photorealistic": {"filename": "1.png"}, "stylized": {"filename": "lost.png"}},
    {"index": 2, "scaffold": {"scaffold_path": "scaffolds/2"}, "scene_type": "outdoor"},
    {"index": 3, "scaffold": {"scaffold_path": "scaffolds/3"}},
    {"index": 4, "scaffold": {"input_image": "own/4.png"}, "input_image": "own/5.png"},
    {"index": 5, "input_image": "own/5.png"},
    {"index": 17},
    {"index": 23},
    {"index": 8, "theme": "farm", "scaffold": {"mode": "manual"}},
    {"index": 9, "input_image": "own/5.png", "expansion": {"trajectory_order": ["left", "in"]}},
]
KEYS = [
    "metadata.json",
    "a/0.png",
    "b/0.png",
    "photorealistic/1.png",
    *(f"scaffolds/2/00{n}.png" for n in range(8)),
    *(f"scaffolds/3/00{n}.png" for n in range(7)),
    "own/4.png",
    "own/5.png",
    "images/17.png",
    "images/index_0023.jpg",
]


def listed(variants: tuple[str, ...] = ()) -> dict[str, Listed]:
    content = json.dumps({"samples": ENTRIES}).encode()
    return {each.id: each for each in list_dataset(content, "s3://d/set/", KEYS, PIPELINE.input, variants)}


def test_ten_entries_become_twelve_worlds_of_which_three_are_broken() -> None:
    found = listed()
    assert len(found) == 12
    reasons = {name: each.rejected[0] for name, each in found.items() if each.rejected is not None}
    assert reasons == {
        "stylized/index_0001": "InputMissing",
        "default/index_0003": "ScaffoldMissing",
        "default/index_0009": "BadEntry",
    }
    assert "has no 007" in str(found["default/index_0003"].rejected)
    assert "keep the order in, left, right, up; later motions see what earlier ones added" in str(
        found["default/index_0009"].rejected
    )
    assert found["default/index_0002"].overrides == {"expansion": {"scale": "outdoor"}}
    assert found["default/index_0002"].files["view_0"] == "scaffolds/2/000.png"


def test_pictures_are_found_in_order_and_by_the_entrys_own_index() -> None:
    pictures = {name: each.files.get("source") for name, each in listed().items()}
    assert pictures["photorealistic/index_0000"] == "a/0.png" and pictures["stylized/index_0000"] == "b/0.png"
    assert pictures["photorealistic/index_0001"] == "photorealistic/1.png"
    assert pictures["default/index_0004"] == "own/4.png" and pictures["default/index_0005"] == "own/5.png"
    assert pictures["default/index_0017"] == "images/17.png"
    assert pictures["default/index_0023"] == "images/index_0023.jpg"
    # A text stands for the picture that nobody named.
    assert pictures["default/index_0008"] is None and listed()["default/index_0008"].rejected is None


def test_an_entry_without_a_picture_says_where_it_was_looked_for() -> None:
    content = json.dumps([{"index": 31}]).encode()
    (found,) = list_dataset(content, "s3://d/set/", KEYS, PIPELINE.input, ())
    assert found.rejected is not None
    for place in ("original_path", "filename", "scaffold.input_image", "images/index_0031.*", "images/31.*"):
        assert place in found.rejected[1]


def test_variants_are_chosen_and_unknown_ones_refused_with_those_that_there_are() -> None:
    assert sorted(listed(("stylized",))) == ["stylized/index_0000", "stylized/index_0001"]
    with pytest.raises(ConfigurationError, match="have default, photorealistic, stylized"):
        listed(("painted",))
