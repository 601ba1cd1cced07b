"""How long and how large a scene is trained by the number of its photographs, and what is said of a bad one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from scenewright_stages.captures import TrainingParams
from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.reconstruct.doubts import doubts
from scenewright_stages.reconstruct.params import ReconstructParams, SceneTrainingParams
from scenewright_stages.reconstruct.pipeline import PIPELINE
from scenewright_stages.reconstruct.schedule import Point, best, degree, set_aside
from scenewright_stages.reconstruct.stopping import curve_facts, curve_text
from scenewright_stages.reconstruct.train import scene_settings


def curve(*values: float) -> list[Point]:
    return [Point(100 * number, psnr) for number, psnr in enumerate(values, start=1)]


@pytest.mark.parametrize("views", [2, 4, 5, 6, 9, 15, 40, 59, 60, 120])
def test_some_views_decide_unless_there_are_too_few_or_enough(views: int) -> None:
    aside = set_aside(views)
    assert bool(aside) == (5 <= views < 60)
    assert len(set(aside)) == len(aside) <= -(-views // 5)
    assert all(0 <= number < views for number in aside)
    assert views - len(aside) >= min(views, 4)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ((15.0, 16.0, 17.0, 18.0, 19.0), 500),
        ((15.0, 17.9, 17.8, 17.6, 17.1), 200),
        ((15.0, 17.9, 17.895, 17.6, 17.1), 200),
        # Read on the beach, where held-out photographs gained until the end.
        ((18.13, 18.16, 18.02, 17.82, 17.92), 500),
        ((12.0,), 100),
    ],
)
def test_a_shorter_training_is_taken_only_where_the_whole_one_clearly_harms(
    values: Sequence[float], steps: int
) -> None:
    assert best(curve(*values)).steps == steps


def test_more_photographs_determine_more() -> None:
    degrees = [degree(views, 3) for views in range(2, 130)]
    assert degrees == sorted(degrees)
    assert (degrees[0], degrees[-1]) == (0, 3)
    sizes = [SceneTrainingParams(preset="quality").settled(views).maximum for views in (9, 59, 60, 120)]
    assert sizes == sorted(sizes)


def test_quality_does_no_more_than_preview_with_few_photographs() -> None:
    """On a beach with 15 views it had 0.3 dB less from elsewhere with 60,000 Gaussians and 2,500 steps."""
    preview, quality = (SceneTrainingParams.model_validate({"preset": name}) for name in ("preview", "quality"))
    assert quality.settled(59) == preview.settled(59)
    assert quality.settled(60).maximum > preview.settled(60).maximum


def test_without_a_preset_nothing_changes() -> None:
    for fields in ({}, {"steps": 30_000, "harmonics_degree": 3}, {"exploration": True}):
        block = SceneTrainingParams(**fields)
        assert block.settled(9) == TrainingParams(**fields)
        assert scene_settings(block, 9).harmonics_degree == block.harmonics_degree
        assert scene_settings(block, 9).largest_angle == math.inf
    plain, named = (ReconstructParams.model_validate({"training": each}) for each in ({}, {"preset": "preview"}))
    keys = [stage_keys(PIPELINE, each, {}, 0) for each in (plain, named)]
    assert keys[0]["train"] != keys[1]["train"]
    assert keys[0]["capture"] == keys[1]["capture"]


def test_only_few_photographs_limit_the_size_of_gaussians() -> None:
    block = SceneTrainingParams(preset="quality")
    assert scene_settings(block, 59).largest_angle < scene_settings(block, 60).largest_angle == math.inf


def test_a_stated_field_wins_over_the_preset() -> None:
    block = SceneTrainingParams(preset="quality", maximum=5000)
    assert block.settled(15).maximum == 5000
    assert block.settled(15).steps == SceneTrainingParams(preset="quality").settled(15).steps


def measured(train: float, held_out: float, warp: float | None, scene: float | None) -> dict[str, Any]:
    nearest = {"psnr": warp, "shown": 0.9, "psnr_shown": warp, "scene_psnr_shown": scene}
    return {
        "train": {"psnr": train, "views": ["a", "b"]},
        "held_out": {"psnr": held_out, "views": ["c"]},
        "nearest_photograph": nearest,
    }


@pytest.mark.parametrize("preset", ["", "quality"])
@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (measured(41.9, 16.5, 16.06, 16.55), ["by heart"]),
        (measured(24.0, 19.0, 16.0, 18.0), []),
        (measured(28.0, 15.0, 16.0, 15.5), ["by heart", "adds nothing"]),
        (measured(20.0, 15.0, 16.0, 15.5), ["adds nothing"]),
        (measured(24.0, 19.0, None, None), []),
    ],
)
def test_a_scene_that_is_good_from_known_places_alone_is_named(
    metrics: dict[str, Any], said: list[str], preset: str
) -> None:
    found = doubts(metrics, SceneTrainingParams.model_validate({"preset": preset}))
    assert len(found) == len(said)
    for text, part in zip(sorted(found, key=lambda each: "adds" in each), said, strict=True):
        assert part in text
        assert ("exposure: matched" if preset else "training.preset") in text


def test_the_page_shows_the_curve_and_what_was_chosen() -> None:
    text = curve_text(curve_facts(curve(15.0, 17.0, 16.2), ["b.jpg"]))
    assert "b.jpg" in text
    assert "17.00 dB after 200 steps: all photographs train for so long" in text
    assert curve_text({}) == ""
