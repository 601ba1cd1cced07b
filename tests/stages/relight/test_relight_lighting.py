"""The new light: drawn as the spec says, never none, and in the pixels what its record says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from synthetic_person import Figure, figure

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.contract.keys import seed_for
from scenewright_stages.photographs.pictures import (
    bytes_from_linear,
    bytes_from_unit,
    linear_from_bytes,
    unit_from_bytes,
)
from scenewright_stages.relight.caption import light_sentence
from scenewright_stages.relight.degrade import Surface, arriving, check_gate, exposed, measures, relit
from scenewright_stages.relight.light_params import DegradationParams, SecondLightParams, ShadowParams, WeightsParams
from scenewright_stages.relight.lighting import Draw, drawn, normalised
from scenewright_stages.relight.params import HeldOutParams, PairGatesParams
from scenewright_stages.relight.recombine import split_of
from scenewright_stages.relight.segment import check_gates
from scenewright_stages.relight.shading import Light, direction_of, estimate_light

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


def surface_of(person: Figure) -> Surface:
    """A figure as the stage gets it."""
    alpha = np.rint(person.alpha * 255).astype(np.uint8)
    return Surface(bytes_from_linear(person.albedo_linear), alpha, person.normals)


@pytest.mark.parametrize("number", range(4))
def test_the_light_recovered_from_the_stored_files_is_the_one_in_the_record(number: int) -> None:
    person = figure(number, side=128)
    surface = surface_of(person)
    params = DegradationParams(ambient_range=[0.3, 0.5], shadow=ShadowParams(probability=1.0))
    draw = drawn(params, SEEDS[number])
    arrives = arriving(surface, draw)
    draw = exposed(draw, surface, surface.albedo, arrives)
    degraded = relit(surface, draw, arrives)
    stored = unit_from_bytes(bytes_from_unit(surface.normals * np.float32(0.5) + np.float32(0.5))) * 2 - 1
    seen = unit_from_bytes(bytes_from_unit(arrives))
    unclipped = person.mask & (degraded.max(axis=2) < 255)
    found = estimate_light(linear_from_bytes(degraded), linear_from_bytes(surface.albedo), stored, unclipped, seen)
    truth = Draw.from_dict(draw.as_dict()).light
    error = _degrees(found.direction, truth.direction)
    print(f"{error:.2f} degrees off; another sample's record {_degrees(found.direction, _other(params, number)):.0f}")
    assert error < 5
    assert found.ambient / (found.ambient + found.direct) == pytest.approx(truth.ambient, abs=0.03)
    assert _degrees(found.direction, _other(params, number)) > 5, "another sample's record must lose"


def _other(params: DegradationParams, number: int) -> tuple[float, float, float]:
    return drawn(params, SEEDS[number + 10]).light.direction


def _degrees(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(one, other), -1, 1))))


@pytest.mark.parametrize("kind", ["soft_shading", "hard_shadow", "specular", "advanced_shading"])
def test_a_record_makes_the_same_pixels_again_and_its_shadow_only_darkens(kind: str) -> None:
    surface = surface_of(figure(3, side=96))
    weights = WeightsParams(**{"soft_shading": 0.0, kind: 1.0})
    draw = drawn(DegradationParams(weights=weights, shadow=ShadowParams(probability=1.0)), SEEDS[5])
    degraded = relit(surface, draw, arriving(surface, draw))
    again = Draw.from_dict(draw.as_dict())
    assert np.array_equal(degraded, relit(surface, again, arriving(surface, again)))
    assert draw.shadow is not None
    bare = relit(surface, draw, np.ones(surface.alpha.shape, np.float32))
    assert (degraded <= bare).all()
    assert (degraded < bare).any()
    assert not degraded[surface.alpha == 0].any()


def _ratios(params: DegradationParams) -> list[float]:
    """Luminance of a figure in 200 new lights over that in its own."""
    surface = surface_of(figure(2, side=64))
    own = Draw("softShading", Light(direction_of(60, 45), 0.3), None)
    photograph = relit(surface, own, np.ones(surface.alpha.shape, np.float32))
    found = []
    for seed in SEEDS[:200]:
        draw = drawn(params, seed)
        arrives = arriving(surface, draw)
        draw = exposed(draw, surface, photograph, arrives)
        found.append(measures(photograph, relit(surface, draw, arrives), surface)["luminance_ratio"])
    return found


def test_as_many_pairs_are_brighter_as_darker_so_that_brightness_tells_nothing() -> None:
    ratios = _ratios(DegradationParams())
    brighter = float(np.mean([ratio > 1 for ratio in ratios]))
    print(f"mean ratio {np.mean(ratios):.3f}, {brighter:.0%} brighter")
    assert 0.95 <= np.mean(ratios) <= 1.05
    assert 0.4 <= brighter <= 0.6
    as_lit = _ratios(DegradationParams(exposure="asLit"))
    assert not 0.95 <= np.mean(as_lit) <= 1.05, "the light as it is must lose"


def test_ratios_fill_their_range_and_are_reported() -> None:
    params = DegradationParams(luminance_ratio_range=[0.5, 0.8])
    wanted = [drawn(params, seed).luminance_ratio for seed in SEEDS[:200]]
    assert max(abs(one - other) for one, other in zip(_ratios(params), wanted, strict=True)) < 0.02
    assert 0.5 <= min(wanted) < 0.53 and 0.77 < max(wanted) <= 0.8
    assert drawn(DegradationParams(exposure="asLit"), SEEDS[0]).luminance_ratio is None


def test_advanced_light_is_coloured_and_harder_and_soft_shading_is_neither() -> None:
    advanced = DegradationParams(weights=WeightsParams(soft_shading=0.0, advanced_shading=1.0))
    lights = [drawn(advanced, seed).light for seed in SEEDS[:100]]
    soft = [drawn(DegradationParams(), seed).light for seed in SEEDS[:100]]
    assert max(light.ambient for light in lights) < min(light.ambient for light in soft)
    for colours in ("colour_linear", "ambient_colour_linear"):
        tints = [max(getattr(light, colours)) - min(getattr(light, colours)) for light in lights]
        assert np.median(tints) > 0.15
        assert all(max(getattr(light, colours)) - min(getattr(light, colours)) < 0.02 for light in soft)


def test_a_second_light_comes_as_often_as_asked_and_leaves_the_first_as_it_was() -> None:
    with_second = DegradationParams(second_light=SecondLightParams(probability=0.5))
    lights = [drawn(with_second, seed).light for seed in SEEDS]
    assert sum(light.second_strength > 0 for light in lights) / len(lights) == pytest.approx(0.5, abs=0.07)
    assert all(0.2 <= light.second_strength <= 0.6 for light in lights if light.second_strength)
    assert [light.direction for light in lights] == [drawn(DegradationParams(), seed).light.direction for seed in SEEDS]
    surface = surface_of(figure(1, side=64))
    draw = next(draw for seed in SEEDS if (draw := drawn(with_second, seed)).light.second_strength > 0)
    alone = replace(draw, light=replace(draw.light, second_strength=0.0))
    everywhere = np.ones(surface.alpha.shape, np.float32)
    assert (relit(surface, draw, everywhere) > relit(surface, alone, everywhere)).any()


def _told(light: Light, shadow: dict[str, object] | None = None, ratio: float = 1.0) -> str:
    return light_sentence({"light": light.as_dict(), "shadow": shadow, "luminance_ratio": ratio})


def test_captions_name_the_true_side_of_every_light() -> None:
    words = {0: "right", 45: "upper right", 90: "top", 135: "upper left", 180: "left", 225: "lower left", 270: "bottom"}
    for seed in SEEDS:
        light = drawn(DegradationParams(elevation_range=[10, 60]), seed).light
        nearest = round(light.azimuth_degrees / 45) * 45 % 360
        assert f"light from the {words.get(nearest, 'lower right')}" in _told(light)
    assert "from the front" in _told(drawn(DegradationParams(elevation_range=[80, 90]), SEEDS[0]).light)


def test_captions_say_what_is_true_of_softness_colour_and_brightness() -> None:
    light = Light(direction_of(180, 30), 0.3, hardness=0.1, colour_linear=(1.0, 0.8, 0.6))
    assert _told(light, ratio=1.2) == (
        "A person in contrasty, soft, warm light from the left, brighter than photographed."
    )
    hard = replace(light, hardness=1.0, ambient=0.8, colour_linear=(1.0, 1.0, 1.0), specular=0.3)
    assert _told(hard, ratio=0.8) == (
        "A person in even, hard light from the left, with a highlight, darker than photographed."
    )
    shadow = {"pattern": "perlin", "softness": 0.03}
    assert "under clear-edged dappled shadow" in _told(hard, shadow)
    assert "under soft-edged dappled shadow" in _told(hard, {**shadow, "softness": 0.1})
    both = replace(hard, second_strength=0.4, second_direction=direction_of(0, 20))
    assert "with a weaker light from the right" in _told(both)


def test_gates_let_through_what_reaches_them_and_say_what_does_not() -> None:
    open_gates, gates = PairGatesParams(), PairGatesParams(least_score=0.6, largest_edge_error=4, least_light_change=3)
    check_gates(open_gates, 0.0, 200.0)
    check_gate(open_gates, 0.0)
    check_gates(gates, 0.6, 4.0)
    check_gate(gates, 3.0)
    for reason, refused in (
        ("low-score", lambda: check_gates(gates, 0.59, 1.0)),
        ("rough-outline", lambda: check_gates(gates, 0.9, 4.1)),
        ("same-light", lambda: check_gate(gates, 2.9)),
    ):
        with pytest.raises(SampleRejected) as rejected:
            refused()
        assert rejected.value.reason == reason


def test_splits_are_as_large_as_asked_and_grow_without_moving_anybody() -> None:
    people = [f"person {number}" for number in range(2000)]
    shares = HeldOutParams(validation=0.1, test=0.2)
    splits = {person: split_of(person, shares) for person in people}
    counts = Counter(splits.values())
    assert counts["test"] / 2000 == pytest.approx(0.2, abs=0.03)
    assert counts["validation"] / 2000 == pytest.approx(0.1, abs=0.03)
    larger = {person: split_of(person, HeldOutParams(test=0.3)) for person in people}
    assert all(larger[person] == "test" for person in people if splits[person] == "test")
    assert {split_of(person, HeldOutParams()) for person in people} == {"train"}
