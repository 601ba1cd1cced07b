"""Outlines of the depth prior: a ramp becomes a step, and thin parts stay with the surface that they stand on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.depth.outlines import straight_outlines

NEAR, FAR = 1.0, 0.5
"""Inverse depth of a tower and of the sky behind it."""

RAMP = 7
ROOF = np.s_[40:80, 30:90]
TIP = np.s_[24:40, 56:64]
Float32Array = NDArray[np.float32]


@pytest.fixture
def tower() -> NDArray[np.bool_]:
    """(96, 120) bool: a roof that ends at the lower edge of the picture, with a tip thinner than two ramps."""
    shape = np.zeros((96, 120), np.bool_)
    shape[ROOF] = shape[TIP] = True
    shape[80:] = True
    return shape


def leaning(tower: NDArray[np.bool_], width: int) -> Float32Array:
    """Inverse depth of which `width` pixels within the outline lean towards the sky by up to 40 % of the step."""
    inside = cv2.distanceTransform(tower.astype(np.uint8), cv2.DIST_L2, 5)
    lean = 0.4 * np.clip(1 - (inside - 1) / width, 0, 1)
    return np.where(tower, NEAR - lean * (NEAR - FAR), FAR).astype(np.float32)


def nearest_around(inverse: Float32Array, width: int) -> Float32Array:
    """The baseline: every pixel that stands out takes the nearest depth around it."""
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.where(inverse > 1.1 * FAR, cv2.dilate(inverse, window), inverse).astype(np.float32)


def test_the_rim_and_a_thin_tip_return_to_their_own_surface(tower: NDArray[np.bool_]) -> None:
    ramp = leaning(tower, RAMP)
    assert (ramp[tower] < 0.9 * NEAR).mean() > 0.1, "there is a ramp"
    assert ramp[TIP].max() < 0.95 * NEAR, "all of the tip leans"
    straight = straight_outlines(ramp, RAMP)
    np.testing.assert_allclose(straight[tower], NEAR, rtol=0.03)
    np.testing.assert_array_equal(straight[~tower], ramp[~tower])


def test_a_near_speck_does_not_spread_over_the_rim(tower: NDArray[np.bool_]) -> None:
    ramp = leaning(tower, RAMP)
    speck = np.zeros_like(tower)
    speck[60:62, 31:90:12] = True
    ramp[speck] = 1.3 * NEAR  # texture that the prior took for relief
    rim = tower & ~speck & (cv2.distanceTransform(tower.astype(np.uint8), cv2.DIST_L2, 5) <= RAMP)
    wrong, nearest_wrong = (
        float(np.mean(np.abs(found[rim] / NEAR - 1) > 0.1))
        for found in (straight_outlines(ramp, RAMP), nearest_around(ramp, RAMP))
    )
    assert wrong < 0.01 and nearest_wrong > 0.05
    nearest = nearest_around(ramp, RAMP)
    assert np.abs(nearest[TIP] / NEAR - 1).max() > 0.1, "and the tip has no near depth around it"


def test_a_pillar_before_a_light_opening_stays_straight(tower: NDArray[np.bool_]) -> None:
    ramp = leaning(tower, RAMP)
    ramp[50:74, 34:44] = 0.85 * NEAR  # the opening, which the prior takes for a bit of the sky
    ramp[40:80, 30:34] = NEAR
    straight = straight_outlines(ramp, RAMP)
    np.testing.assert_allclose(straight[40:80, 30:34], NEAR, rtol=0.03)


def test_what_is_no_outline_keeps_its_depth(tower: NDArray[np.bool_]) -> None:
    rows = np.linspace(FAR, NEAR, 96, dtype=np.float32)[:, None]
    ground = np.repeat(rows, 120, axis=1)
    np.testing.assert_array_equal(straight_outlines(ground, RAMP), ground)
    pole = np.full((96, 120), FAR, np.float32)
    pole[:, 58:62] = NEAR - 0.1
    pole[:, 59] = NEAR
    np.testing.assert_array_equal(straight_outlines(pole, RAMP), pole)


def test_a_slope_without_a_step_does_not_tear() -> None:
    blurred = np.where(np.arange(120) < 60, np.float32(NEAR), np.float32(FAR))[None].repeat(96, axis=0)
    soft = np.asarray(cv2.GaussianBlur(blurred, (0, 0), 8), np.float32)
    np.testing.assert_array_equal(straight_outlines(soft, RAMP), soft)
    sharper = np.asarray(cv2.GaussianBlur(blurred, (0, 0), 2), np.float32)
    assert (straight_outlines(sharper, RAMP) != sharper).any(), "a step that is a little soft is an outline"
