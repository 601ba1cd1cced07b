"""A person is taken off a background and put back in another light: exact inside, untouched outside, no old halo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.photographs.compositing import background_of, composite, plain_background, split_layers
from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes, linear_from_unit
from scenewright_stages.vision.imaging.colour import linear_from_srgb, srgb_from_linear, uint8_from_unit

Bytes = NDArray[np.uint8]
SIDE = 160


def layers() -> tuple[Bytes, Bytes, Bytes]:
    """A smooth bright person, a smooth blue background, and a matte with a soft edge of 8 pixels."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    radius = np.hypot(columns - SIDE / 2, rows - SIDE / 2)
    alpha = np.clip((SIDE / 3 - radius) / 8 + 0.5, 0, 1)
    person = np.dstack([200 + columns / 8, 150 + rows / 8, 110 + 0 * rows])
    background = np.dstack([30 + rows / 8, 50 + columns / 4, 140 + rows / 4])
    return person.astype(np.uint8), background.astype(np.uint8), np.rint(alpha * 255).astype(np.uint8)


def truth(person: Bytes, background: Bytes, alpha: Bytes) -> Bytes:
    """``a F + (1 - a) B`` in linear light by the plain formula."""
    share = alpha[..., None] / 255.0
    front, behind = (linear_from_srgb(each.astype(np.float32) / 255) for each in (person, background))
    return uint8_from_unit(srgb_from_linear(share * front + (1 - share) * behind))


def difference(one: Bytes, other: Bytes) -> NDArray[np.int16]:
    return np.abs(one.astype(np.int16) - other.astype(np.int16))


def test_inside_it_is_the_formula_and_outside_the_background_to_the_last_bit() -> None:
    person, background, alpha = layers()
    composed = composite(person, background, alpha)
    assert difference(composed, truth(person, background, alpha)).max() <= 1
    assert np.array_equal(composed[alpha == 0], background[alpha == 0])
    assert np.array_equal(composed[alpha == 255], person[alpha == 255])
    in_srgb = np.rint(alpha[..., None] / 255.0 * person + (1 - alpha[..., None] / 255.0) * background)
    assert difference(in_srgb.astype(np.uint8), truth(person, background, alpha)).max() > 3, "sRGB blending must lose"


def hairs(person: int, background: int, off: int) -> tuple[Bytes, Bytes]:
    """A photograph of a block with fine hairs of one level before another, and a matte that lies off by some pixels."""
    cover = np.zeros((SIDE, SIDE), np.float32)
    cover[60:, 50:110] = 1
    cover[20:60, 50:110:4] = 0.7
    cover[20:60, 52:110:8] = 0.2
    front, behind = np.empty((SIDE, SIDE, 3), np.uint8), np.empty((SIDE, SIDE, 3), np.uint8)
    front[:] = (person, max(person - 25, 0), max(person - 60, 0))
    behind[:] = (background, background, min(background + 20, 255))
    photograph = np.ascontiguousarray(truth(front, behind, np.rint(cover * 255).astype(np.uint8)))
    soft = cv2.GaussianBlur(np.roll(cover, (off, -off), axis=(0, 1)), (0, 0), 1 + 2 * off)
    return photograph, np.rint(np.clip(1.1 * soft - 0.05, 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("off", [0, 3])
@pytest.mark.parametrize(("person", "background"), [(30, 240), (30, 0), (255, 255), (250, 3), (12, 128), (255, 0)])
def test_hair_that_does_not_change_gives_the_photograph_back(person: int, background: int, off: int) -> None:
    photograph, alpha = hairs(person, background, off)
    parts = split_layers(photograph, alpha)
    again = composite(parts.whole, background_of(parts.whole, parts.behind, alpha), alpha)
    assert difference(again, photograph).max() <= 2
    if off and abs(person - background) > 100:
        assert parts.edge_error > 1, "a wrong outline is still told"


def test_a_person_that_does_not_change_gives_the_photograph_back() -> None:
    photograph, alpha = truth(*layers()), layers()[2]
    parts = split_layers(photograph, alpha)
    again = composite(parts.foreground, background_of(parts.whole, parts.behind, alpha), alpha)
    certain = (alpha == 0) | (alpha == 255)
    assert np.array_equal(again[certain], photograph[certain])
    assert difference(again, photograph).max() <= 1
    assert parts.edge_error < 1.5


def test_a_darker_person_leaves_no_halo_of_the_old_light() -> None:
    person, background, alpha = layers()
    photograph = truth(person, background, alpha)
    parts = split_layers(photograph, alpha)
    dark, dark_truth = (
        bytes_from_linear(linear_from_bytes(each) * np.float32(0.3)) for each in (parts.foreground, person)
    )
    edge = (alpha > 0) & (alpha < 255)
    wanted = truth(dark_truth, background, alpha)
    behind = background_of(parts.whole, parts.behind, alpha)
    ours = difference(composite(dark, behind, alpha), wanted)[edge].mean()
    naive = difference(truth(dark, photograph, alpha), wanted)[edge].mean()
    print(f"halo: {ours:.2f} levels, {naive:.2f} when the photograph itself lies behind")
    assert ours < 0.35 * naive


def test_foreground_is_black_where_nobody_is_and_background_where_nothing_else_is() -> None:
    photograph, alpha = truth(*layers()), layers()[2]
    parts = split_layers(photograph, alpha)
    assert not parts.foreground[alpha == 0].any()
    background = background_of(parts.whole, parts.behind, alpha)
    assert not background[alpha == 255].any()
    assert np.array_equal(background[alpha == 0], photograph[alpha == 0])
    certain = (alpha == 0) | (alpha == 255)
    assert np.array_equal(parts.whole[certain], photograph[certain])
    assert np.array_equal(parts.whole[alpha > 0], parts.foreground[alpha > 0])


@pytest.mark.parametrize("value", [0, 255])
def test_nobody_and_nothing_else_are_no_special_cases(value: int) -> None:
    photograph, alpha = truth(*layers()), np.full((SIDE, SIDE), value, np.uint8)
    parts = split_layers(photograph, alpha)
    background = background_of(parts.whole, parts.behind, alpha)
    assert np.array_equal(composite(parts.foreground, background, alpha), photograph)


def test_a_plain_background_is_that_very_level() -> None:
    person, _, alpha = layers()
    composed = composite(person, plain_background(person.shape, 128), alpha)
    assert (composed[alpha == 0] == 128).all()


def test_tables_of_the_curve_are_the_curve() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(bytes_from_linear(linear_from_bytes(levels)), levels)
    values = np.random.default_rng(2).random((40, 30, 3), dtype=np.float32)
    assert np.abs(linear_from_unit(values) - linear_from_srgb(values)).max() < 3e-5
    assert difference(bytes_from_linear(values), uint8_from_unit(srgb_from_linear(values))).max() <= 1
    assert (bytes_from_linear(np.array([[[-1, 0.5, 2]]], np.float32))[0, 0] == [0, 188, 255]).all()


@pytest.mark.parametrize("shape", [(65536,), (256, 256), (65536, 1), (128, 128, 4), (8, 16, 32, 16)])
def test_every_entry_of_the_tables_is_found_in_arrays_of_any_shape(shape: tuple[int, ...]) -> None:
    steps = np.arange(65536, dtype=np.float32) / np.float32(65535)
    levels, linear = bytes_from_linear(steps.reshape(shape)), linear_from_unit(steps.reshape(shape))
    assert (levels.dtype, linear.dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(levels, uint8_from_unit(srgb_from_linear(steps)).reshape(shape))
    np.testing.assert_array_equal(linear, linear_from_srgb(steps).reshape(shape))
