"""Colour conversions against values of the standard."""

from __future__ import annotations

import numpy as np

from scenewright_stages.vision.imaging.colour import (
    linear_from_srgb,
    srgb_from_linear,
    uint8_from_unit,
    unit_from_uint8,
)


def test_the_srgb_curve_has_the_values_of_iec_61966_and_is_no_plain_gamma() -> None:
    srgb = np.array([0.0, 0.04045, 0.5, 1.0])
    np.testing.assert_allclose(linear_from_srgb(srgb), [0, 0.0031308, 0.2140411, 1], atol=1e-6)
    assert np.abs(srgb**2.2 - linear_from_srgb(srgb)).max() > 1e-3


def test_conversions_round_trip_over_the_whole_range() -> None:
    values = np.linspace(0, 1, 4097, dtype=np.float32)
    np.testing.assert_allclose(srgb_from_linear(linear_from_srgb(values)), values, atol=1e-6)
    np.testing.assert_allclose(linear_from_srgb(srgb_from_linear(values)), values, atol=1e-6)


def test_bytes_round_trip_exactly_and_values_outside_are_clipped() -> None:
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(uint8_from_unit(unit_from_uint8(levels)), levels)
    np.testing.assert_array_equal(uint8_from_unit(np.array([-0.2, 1.7])), [0, 255])
