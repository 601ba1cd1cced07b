"""The photo's own shadow: found where it was drawn, and measured so that it can be put back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.colour import linear_from_srgb
from scenewright_stages.vision.subjects.scenery.cast_shadow import cast_shadow, light_left

ROOT = Path(__file__).parents[3]
Floats = NDArray[np.float32]


def still_life(seed: int) -> tuple[Floats, Floats, NDArray[np.bool_], Floats]:
    """A ball on unevenly lit, grainy ground, the same ground without it, where it is, and the light that is left."""
    rng = np.random.default_rng(seed)
    height, width = 240, 320
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slope = 1 + rng.uniform(-0.3, 0.3) * (x - 0.5) + rng.uniform(-0.3, 0.3) * (y - 0.5)
    grain = 1 + 0.1 * cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), 1.0)
    ground = (rng.uniform(0.25, 0.6, 3) * (slope * grain)[..., None]).astype(np.float32)
    thing = np.zeros((height, width), np.uint8)
    cv2.circle(thing, (160, 110), 45, 1, -1)
    shade = np.zeros((height, width), np.float32)
    cv2.ellipse(shade, (160 + int(rng.integers(-35, 36)), 150), (50, 24), 0, 0, 360, 0.65, -1)
    light = (1 - cv2.GaussianBlur(shade, (0, 0), 4)).astype(np.float32)
    photo = ground * light[..., None]
    photo[thing > 0] = rng.uniform(0.05, 0.7, 3)
    return photo.astype(np.float32), ground, thing > 0, light


@pytest.mark.parametrize("seed", range(6))
def test_a_shadow_is_found_beside_its_object_and_put_back_as_it_was(seed: int) -> None:
    photo, ground, thing, light = still_life(seed)
    shadow = cast_shadow(photo, thing)
    truth = (light < 0.8) & ~thing
    found = float((shadow & truth).sum() / truth.sum())
    beyond = float((shadow & (light > 0.97)).sum() / truth.sum())
    again = light_left(photo, ground, shadow, thing)
    border = thing & (cv2.erode(thing.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0)
    assert np.abs(again - light)[border & (light < 0.45)].mean() < 0.25, "the shadow begins below the object"
    error = float(np.abs(again - light)[truth].mean())
    print(f"found {found:.3f}, beyond it {beyond:.3f}, light off by {error:.3f}")
    assert found >= 0.95
    assert beyond <= 0.25
    assert error <= 0.06


def test_without_a_shadow_nothing_changes() -> None:
    _, ground, thing, _ = still_life(1)
    photo = ground.copy()
    photo[thing] = (0.7, 0.1, 0.1)
    shadow = cast_shadow(photo, thing)
    assert not shadow.any()
    assert (light_left(photo, ground, shadow, thing) == 1).all()


def test_the_cup_of_the_example_casts_one_below_its_saucer() -> None:
    inputs = ROOT / "examples" / "inputs"
    photo = cv2.imread(str(inputs / "coffee.png"))[..., ::-1].astype(np.float32) / np.float32(255)
    mask = cv2.imread(str(inputs / "coffee.mask.png"), cv2.IMREAD_GRAYSCALE)
    thing = cv2.dilate(mask, np.ones((13, 13), np.uint8)) > 127
    shadow = cast_shadow(np.asarray(linear_from_srgb(photo), np.float32), thing)
    for x, y in ((130, 370), (400, 385), (290, 398)):
        assert shadow[y, x], f"the shadow at {x}, {y}"
    for x, y in ((30, 200), (550, 300), (50, 390), (300, 10)):
        assert not shadow[y, x], f"wood at {x}, {y}"


@pytest.mark.parametrize("width", [320, 480, 600, 640])
def test_no_light_is_added_where_no_shadow_falls(width: int) -> None:
    """The blur of full light may round to more than that, which the contract of the file refuses."""
    ground = np.full((width * 2 // 3, width, 3), 0.4, np.float32)
    thing, shadow = np.zeros(ground.shape[:2], bool), np.zeros(ground.shape[:2], bool)
    thing[100:140, 100:140] = True
    shadow[120:150, 140:160] = True
    photo = np.where(shadow[..., None], ground * np.float32(0.5), ground).astype(np.float32)
    left = light_left(photo, ground, shadow, thing)
    assert left.max() <= 1
    assert left[:60].min() > 0.999
    assert left[shadow].min() < 0.7
