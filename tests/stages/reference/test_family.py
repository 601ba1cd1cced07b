"""Names, seeds and splits of a family: groups never cross, and more prompts move nothing."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scenewright_stages.contract.samples import Child, Sample
from scenewright_stages.reference.family import augmented_children, scene_children, split_of_group, views
from scenewright_stages.reference.params import ReferenceObjectParams


def block(prompts: int = 5, angles: int = 6, **more: object) -> ReferenceObjectParams:
    spec = {"prompts": {"count": prompts}, "perspectives": {"angles": [float(n - angles) for n in range(angles)]}}
    return ReferenceObjectParams.model_validate({**spec, **more})


def scenes(params: ReferenceObjectParams, name: str = "cup", home: str = "") -> list[Child]:
    return scene_children(params, Sample(name, attributes={"home": home}))


def test_a_full_set_is_views_times_prompts_times_iterations_and_a_few_empty_ones() -> None:
    found = scenes(block())
    empty = [each for each in found if each.attributes["empty"]]
    assert len(found) - len(empty) == 6 * 5 * 3
    assert len(empty) == round(0.08 * 90)
    assert all(each.attributes["file"].startswith("empty_") for each in empty)
    assert found[0].ending.startswith("/perspective_0_prompt_0_seed_")


@settings(max_examples=60, deadline=None)
@given(
    prompts=st.integers(2, 24),
    ratio=st.floats(0.3, 0.9),
    test=st.sampled_from([0.0, 0.05, 0.09]),
    group=st.sampled_from(["scene", "view", "scene-view"]),
    angles=st.integers(2, 12),
)
def test_no_group_crosses_a_split(prompts: int, ratio: float, test: float, group: str, angles: int) -> None:
    params = block(prompts, angles, annotate={"splitRatio": ratio, "testShare": test, "group": group})
    splits: dict[tuple[str, object], set[str]] = defaultdict(set)
    for child in scenes(params):
        if child.attributes["split"] != "mixed":
            if group != "view":
                splits["place", child.attributes["place"]].add(child.attributes["split"])
            if group != "scene":
                splits["view", child.attributes["view"]].add(child.attributes["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {"train", "val"} <= set().union(*splits.values()), "two groups are enough for both"
    if group == "scene-view":
        assert any(child.attributes["split"] == "mixed" for child in scenes(params))


@given(prompts=st.integers(2, 20))
@settings(max_examples=20, deadline=None)
def test_one_more_prompt_moves_nothing(prompts: int) -> None:
    before = {each.ending: each.attributes for each in scenes(block(prompts))}
    after = {each.ending: each.attributes for each in scenes(block(prompts + 1))}
    assert before.items() <= after.items()
    assert {each["prompt"] for name, each in after.items() if name not in before} == {prompts}


@pytest.mark.parametrize(("ratio", "test"), [(0.8, 0.0), (0.5, 0.0), (0.7, 0.15)])
def test_shares_are_met_as_closely_as_groups_allow(ratio: float, test: float) -> None:
    params = block(annotate={"splitRatio": ratio, "testShare": test})
    for count in (5, 10, 20, 40):
        found = [split_of_group(number, params, "scene") for number in range(count)]
        assert abs(found.count("train") - ratio * count) <= 1.5
        assert abs(found.count("test") - test * count) <= 1.0


def test_which_later_groups_validate_follows_their_hashes() -> None:
    """At regular distances, validation would always fall on the same of the places that the prompts take in turn."""
    params = block()
    for kind in ("scene", "view"):
        found = [number for number in range(60) if split_of_group(number, params, kind) == "val"]
        assert len({later - earlier for earlier, later in pairwise(found)}) >= 3
    scenes_first, views_first = (
        [split_of_group(number, params, kind) for number in range(60)] for kind in ("scene", "view")
    )
    assert scenes_first != views_first


def test_a_degraded_copy_stays_in_the_split_of_its_image() -> None:
    params = block(augment={"count": 2})
    for split, copies in (("train", 3), ("val", 1)):
        image = Sample("cup/a", attributes={"picture": "a", "split": split})
        children = augmented_children(params, image)
        assert len(children) == copies
        assert all("split" not in child.attributes for child in children)


def test_names_of_several_objects_do_not_collide() -> None:
    names = [each.attributes["picture"] for name in ("cup", "mug") for each in scenes(block(), name, f"objects/{name}")]
    assert len(set(names)) == len(names)


def test_views_beyond_what_the_photo_shows_are_refused_or_named() -> None:
    with pytest.raises(ValidationError, match="allowPseudoViews"):
        ReferenceObjectParams.model_validate({"perspectives": {"angles": [60.0]}, "annotate": {"group": "scene"}})
    allowed = {"perspectives": {"angles": [60.0, -12.5, 0.0], "allowPseudoViews": True}}
    assert [view.file for view in views(ReferenceObjectParams.model_validate(allowed))] == [
        "perspective_00_right_60_pseudo__eye_level.png",
        "perspective_01_left_12p5__raised_6.png",
        "perspective_02_front__eye_level.png",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"prompts": {"count": 1}},
        {"scenes": {"places": ["city"]}},
        {"annotate": {"group": "view"}, "perspectives": {"angles": [0.0]}},
        {"scenes": {"background": "own"}, "perspectives": {"angles": [0.0]}},
    ],
)
def test_a_single_group_cannot_be_split(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="one group cannot be split"):
        ReferenceObjectParams.model_validate(spec)
