"""The new light: drawn as the spec says, never none, and in the pixels what its record says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from light_estimation import estimate_light
from synthetic_person import figure

from scenewright_stages.contract.keys import seed_for
from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes
from scenewright_stages.relight.caption import light_sentence
from scenewright_stages.relight.degrade import relit
from scenewright_stages.relight.lighting import Draw, drawn, normalised
from scenewright_stages.relight.params import DegradationParams, ShadowParams, WeightsParams

ALL_KINDS = WeightsParams(soft_shading=2.0, hard_shadow=1.0, specular=1.0, advanced_shading=0.0)
SEEDS = [seed_for(42, "degrade", f"s{number}") for number in range(600)]


def test_weights_are_normalised_and_what_has_none_is_never_drawn() -> None:
    shares = normalised(ALL_KINDS)
    assert sum(shares.values()) == pytest.approx(1.0)
    kinds = Counter(drawn(DegradationParams(weights=ALL_KINDS), seed).degradation for seed in SEEDS)
    assert set(kinds) == {"softShading", "hardShadow", "specular"}
    for kind, share in shares.items():
        assert kinds[kind] / len(SEEDS) == pytest.approx(share, abs=0.06)


def test_the_default_is_soft_shading_alone_although_its_weight_is_not_one() -> None:
    assert {drawn(DegradationParams(), seed).degradation for seed in SEEDS} == {"softShading"}


def test_no_weight_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one weight"):
        WeightsParams(soft_shading=0.0)


def test_draws_fill_their_ranges() -> None:
    params = DegradationParams(ambient_range=[0.2, 0.5], elevation_range=[20, 40], azimuth_range=[90, 180])
    lights = [drawn(params, seed).light for seed in SEEDS]
    for values, (low, high) in (
        ([light.ambient for light in lights], (0.2, 0.5)),
        ([light.elevation_degrees for light in lights], (20, 40)),
        ([light.azimuth_degrees for light in lights], (90, 180)),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high + 1e-9


def test_one_range_changes_nothing_but_its_own_value() -> None:
    one, other = DegradationParams(), DegradationParams(ambient_range=[0.1, 0.2])
    for seed in SEEDS[:50]:
        before, after = drawn(one, seed), drawn(other, seed)
        assert before.light.direction == after.light.direction
        assert before.shadow == after.shadow
        assert before.light.ambient != after.light.ambient


def test_shadows_come_as_often_as_asked_and_always_under_hard_shadow() -> None:
    often = [drawn(DegradationParams(), seed).shadow for seed in SEEDS]
    assert sum(shadow is not None for shadow in often) / len(SEEDS) == pytest.approx(0.5, abs=0.07)
    never = DegradationParams(shadow=ShadowParams(probability=0.0))
    assert {drawn(never, seed).shadow for seed in SEEDS} == {None}
    hard = DegradationParams(weights=WeightsParams(soft_shading=0.0, hard_shadow=1.0))
    assert all(0.7 <= shadow.opacity <= 1.0 for seed in SEEDS if (shadow := drawn(hard, seed).shadow) is not None)
    assert all(drawn(hard, seed).shadow is not None for seed in SEEDS)


@pytest.mark.parametrize("number", range(4))
def test_the_light_recovered_from_the_stored_files_is_the_one_in_the_record(number: int) -> None:
    person = figure(number, side=128)
    albedo, alpha = bytes_from_linear(person.albedo_linear), np.rint(person.alpha * 255).astype(np.uint8)
    params = DegradationParams(ambient_range=[0.3, 0.5], shadow=ShadowParams(probability=0.0))
    draw = drawn(params, SEEDS[number])
    degraded = relit(albedo, alpha, person.normals, draw)
    found = estimate_light(linear_from_bytes(degraded), linear_from_bytes(albedo), person.normals, person.mask)
    truth = Draw.from_dict(draw.as_dict()).light
    error = _degrees(found.direction, truth.direction)
    print(f"{error:.2f} degrees off; another sample's record {_degrees(found.direction, _other(params, number)):.0f}")
    assert error < 5
    assert found.ambient == pytest.approx(truth.ambient, abs=0.03)
    assert _degrees(found.direction, _other(params, number)) > 5, "another sample's record must lose"


def _other(params: DegradationParams, number: int) -> tuple[float, float, float]:
    return drawn(params, SEEDS[number + 10]).light.direction


def _degrees(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(one, other), -1, 1))))


@pytest.mark.parametrize("kind", ["soft_shading", "hard_shadow", "specular", "advanced_shading"])
def test_a_record_makes_the_same_pixels_again_and_its_shadow_only_darkens(kind: str) -> None:
    person = figure(3, side=96)
    albedo, alpha = bytes_from_linear(person.albedo_linear), np.rint(person.alpha * 255).astype(np.uint8)
    weights = WeightsParams(**{"soft_shading": 0.0, kind: 1.0})
    draw = drawn(DegradationParams(weights=weights, shadow=ShadowParams(probability=1.0)), SEEDS[5])
    degraded = relit(albedo, alpha, person.normals, draw)
    assert np.array_equal(degraded, relit(albedo, alpha, person.normals, Draw.from_dict(draw.as_dict())))
    assert draw.shadow is not None
    bare = relit(albedo, alpha, person.normals, Draw(draw.degradation, draw.light, None))
    assert (degraded <= bare).all()
    assert (degraded < bare).any()
    assert not degraded[alpha == 0].any()


def test_captions_name_the_true_side_of_every_light() -> None:
    words = {0: "right", 45: "upper right", 90: "top", 135: "upper left", 180: "left", 225: "lower left", 270: "bottom"}
    for seed in SEEDS:
        light = drawn(DegradationParams(elevation_range=[10, 60]), seed).light
        nearest = round(light.azimuth_degrees / 45) * 45 % 360
        assert f"from the {words.get(nearest, 'lower right')}" in light_sentence(light.as_dict(), None)
    frontal = drawn(DegradationParams(elevation_range=[80, 90]), SEEDS[0])
    assert "from the front" in light_sentence(frontal.light.as_dict(), None)
