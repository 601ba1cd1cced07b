"""Iterations on the photo's own background: no two are alike, and mask, shadow and object move together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.reference.own_background import OwnPlace, own_scene
from scenewright_stages.vision.subjects.scenery.composition import Cutout
from scenewright_stages.vision.subjects.scenery.standing import Base

Floats = NDArray[np.float32]
HEIGHT, WIDTH = 120, 160
SEEDS = range(12)


def middle(weights: Floats) -> NDArray[np.float64]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.array([(weights * rows).sum(), (weights * columns).sum()]) / weights.sum()


@pytest.fixture
def place() -> OwnPlace:
    left = np.ones((HEIGHT, WIDTH), np.float32)
    # Half of the light is left in a patch that begins 20 pixels to the right of the base.
    left[66:74, 100:116] = 0.5
    return OwnPlace(np.full((HEIGHT, WIDTH, 3), 0.3, np.float32), left, 80.0, 70.0)


@pytest.fixture
def view() -> Cutout:
    alpha = np.zeros((50, 40), np.float32)
    alpha[5:45, 10:30] = 1
    colours = np.full((50, 40, 3), (0.9, 0.0, 0.0), np.float32)
    return Cutout(colours, alpha, np.zeros_like(colours), Base(20.0, 40.0, 10.0, 4.0, 20.0))


def test_every_iteration_is_another_picture_with_the_whole_object(place: OwnPlace, view: Cutout) -> None:
    covers = []
    for seed in SEEDS:
        picture, cover, _, facts = own_scene(place, view, np.random.default_rng(seed))
        again = own_scene(place, view, np.random.default_rng(seed))
        assert np.array_equal(picture, again[0])
        assert not cover[[0, -1]].any() and not cover[:, [0, -1]].any()
        enlarged = (facts["scale"] / facts["crop"]) ** 2
        assert cover.sum() == pytest.approx(20 * 40 * enlarged, rel=0.05)
        covers.append(cover)
    places = np.array([middle(cover) for cover in covers])
    assert len({tuple(each) for each in places.round(2)}) == len(covers)
    assert (np.ptp(places, axis=0) > 10).all()


def test_mask_object_and_shadow_move_together(place: OwnPlace, view: Cutout) -> None:
    for seed in SEEDS:
        picture, cover, _, facts = own_scene(place, view, np.random.default_rng(seed))
        red = (picture[..., 0] > 0.6) & (picture[..., 1] < 0.2)
        assert (red == (cover > 0.5)).mean() > 0.985
        ground = (picture[..., 1] > 0.2) & (cover == 0)
        brightness = picture.mean(axis=2)
        shade = ground & (brightness < 0.9 * np.median(brightness[ground]))
        factor = facts["scale"] / facts["crop"]
        offset = (middle(shade.astype(np.float32)) - middle(cover)) / factor
        # The shadow's middle is 27.5 columns right of the base, the object's half a column left of it.
        assert offset[1] == pytest.approx(28.0, abs=2.0)
        assert offset[0] == pytest.approx(15.0, abs=2.0)


def test_light_changes_in_strength_and_colour_but_a_scene_stays_what_it_is(place: OwnPlace) -> None:
    gains = np.array([own_scene(place, None, np.random.default_rng(seed))[3]["light_gains"] for seed in SEEDS])
    assert 0.75 < gains.min() < gains.max() < 1.3
    assert np.ptp(gains.mean(axis=1)) > 0.1
    assert np.ptp(gains[:, 0] / gains[:, 2]) > 0.05
    picture, cover, _, _ = own_scene(place, None, np.random.default_rng(0))
    assert not cover.any()
    # Nothing casts a shadow where nothing stands.
    assert np.ptp(picture.reshape(-1, 3), axis=0).max() < 1e-5


def test_an_object_as_large_as_the_photo_is_not_cut_off(place: OwnPlace) -> None:
    alpha = np.zeros((HEIGHT, WIDTH), np.float32)
    alpha[2:-2, 2:-2] = 1
    large = Cutout(np.ones((HEIGHT, WIDTH, 3), np.float32), alpha, np.zeros((HEIGHT, WIDTH, 3), np.float32),
                   Base(80.0, 100.0, 60.0, 20.0, 40.0))  # fmt: skip
    for seed in SEEDS:
        _, cover, _, _ = own_scene(place, large, np.random.default_rng(seed))
        assert not cover[[0, -1]].any() and not cover[:, [0, -1]].any()
