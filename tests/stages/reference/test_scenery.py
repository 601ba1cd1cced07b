"""Scenes: light comes from where the place's light is, things stand on the table, and masks are exact."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from scenewright_stages.reference.companions import companions
from scenewright_stages.reference.params import PLACES, ScenesParams
from scenewright_stages.reference.wording import Fields
from scenewright_stages.vision.subjects.relief import turned
from scenewright_stages.vision.subjects.scenery.composition import Cutout, Placed, Setting, draw
from scenewright_stages.vision.subjects.scenery.panorama import Panorama, illumination, place
from scenewright_stages.vision.subjects.scenery.props import draw_prop
from scenewright_stages.vision.subjects.scenery.standing import base_of, softened
from scenewright_stages.vision.subjects.scenery.surfaces import table_top

SIDE = 240


def sky(azimuth_column: int, lamp: float = 4000.0) -> Panorama:
    """A grey sky with one lamp, 45 degrees high; column 64 of 128 is ahead, 96 to the right."""
    light = np.full((64, 128, 3), 0.3, np.float32)
    light[15:17, azimuth_column : azimuth_column + 2] = lamp
    return Panorama(np.full((512, 1024, 3), 0.3, np.float32), light)


def setting(around: Panorama, pitch: float = 35.0) -> Setting:
    table = table_top("stone", np.random.default_rng(1))
    return Setting(SIDE, SIDE, pitch, SIDE / 2, 0.65 * SIDE, around, table, 300.0, 0.3, 400.0, 3.0)


def cylinder(pitch: float = 35.0) -> Cutout:
    """A white cylinder, 60 pixels wide."""
    rows, columns = np.mgrid[:140, :100]
    half = 30.0
    flat = half * np.sin(np.radians(pitch))
    inside = (np.abs(columns - 50) <= half) & (rows >= 40) & (rows <= 100)
    inside |= ((columns - 50) / half) ** 2 + ((rows - 40) / flat) ** 2 <= 1
    inside |= ((columns - 50) / half) ** 2 + ((rows - 100) / flat) ** 2 <= 1
    normals = np.zeros((140, 100, 3), np.float32)
    normals[..., 0] = np.clip((columns - 50) / half, -1, 1)
    normals[..., 2] = -np.sqrt(1 - normals[..., 0] ** 2)
    colours = np.full((140, 100, 3), 0.5, np.float32)
    return Cutout(colours, inside.astype(np.float32), normals, base_of(inside, pitch))


def test_the_base_of_a_cylinder_and_the_pitch_are_found() -> None:
    for pitch in (15.0, 35.0, 50.0):
        inside = cylinder(pitch).alpha > 0
        base = base_of(inside, pitch)
        assert base.column == pytest.approx(50, abs=1.5)
        assert base.row == pytest.approx(100, abs=4)
        assert base.radius == pytest.approx(30, abs=2)
        assert base_of(inside).pitch == pytest.approx(pitch, abs=8)


@pytest.mark.parametrize(("column", "side"), [(94, "left"), (30, "right")])
def test_shadow_and_shade_lie_away_from_the_lamp(column: int, side: str) -> None:
    where = setting(sky(column))
    thing = Placed(cylinder(), where.column, where.row, 1.0)
    empty, drawn = draw(where, []).pixels.mean(axis=2), draw(where, [thing])
    darker = np.where(drawn.covers[0] > 0, 0, empty - drawn.pixels.mean(axis=2))
    left, right = darker[:, : SIDE // 2].sum(), darker[:, SIDE // 2 :].sum()
    assert (left > 3 * right) if side == "left" else (right > 3 * left)
    shown = np.where(drawn.covers[0] == 1, drawn.pixels.mean(axis=2), np.nan)
    middle = shown[int(where.row) - 20]
    found = middle[np.isfinite(middle)]
    assert (found[:10].mean() < found[-10:].mean()) == (side == "left")


def test_the_shadow_touches_the_base_and_a_soft_sky_gives_a_soft_one() -> None:
    thing = cylinder()
    lost = []
    for around in (sky(94), sky(94, lamp=0.3)):
        where = setting(around)
        empty, drawn = draw(where, []).pixels, draw(where, [Placed(thing, where.column, where.row, 1.0)])
        darker = np.where(drawn.covers[0] > 0, 0, (empty - drawn.pixels).mean(axis=2))
        row = int(where.row)
        left = np.flatnonzero(drawn.covers[0][row])[0]
        assert darker[row, left - 2] > 0.05, "nothing floats"
        lost.append(darker[row, left - 14])
    assert lost[0] > 2 * lost[1]


@pytest.mark.parametrize("sigma", [0.8, 4.0, 9.0, 16.0, 60.0])
def test_shadows_that_are_softened_at_a_fraction_of_the_resolution_look_the_same(sigma: float) -> None:
    shade = np.zeros((240, 304), np.float32)
    cv2.ellipse(shade, (130, 150), (60, 30), 20, 0, 360, 1.0, -1)
    shade[60:90, 200:280] = 1
    wanted = cv2.GaussianBlur(shade, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    assert np.abs(softened(shade, sigma) - wanted).max() < 0.02


def test_masks_are_what_the_picture_shows() -> None:
    where = setting(sky(94))
    thing = Placed(cylinder(), where.column, where.row, 1.0)
    rng = np.random.default_rng(2)
    prop = draw_prop(rng, 60, where.pitch)
    before = Placed(
        Cutout(prop.colours, prop.alpha, prop.normals, prop.base, True), where.column + 25, where.row + 25, 1.0
    )
    alone, both = draw(where, [thing]), draw(where, [thing, before])
    assert np.array_equal(alone.covers[0], both.whole[0])
    assert 0 < both.covers[0].sum() < alone.covers[0].sum()
    hidden = (both.covers[1] > 0.99) & (alone.covers[0] > 0)
    assert not both.covers[0][hidden].max(initial=0) > 0.01


def test_the_object_hides_a_part_of_some_decoys_and_none_hides_it() -> None:
    where = setting(sky(94))
    thing = Placed(cylinder(), where.column, where.row, 0.5)
    fields = Fields("", "interior", "stone", "left", -90.0, 0.5, 1.0)
    block = ScenesParams(decoys=[6, 6], occluder_probability=0.0)
    beside, occluded = companions(block, where, thing, fields, [], np.random.default_rng(3))
    assert (len(beside), occluded) == (6, 0)
    parts = []
    for decoy in beside:
        both = draw(where, [thing, decoy])
        assert both.covers[0].sum() > 0.7 * both.whole[0].sum()
        parts.append(float(both.covers[1].sum() / max(float(both.whole[1].sum()), 1)))
    assert sum(0.2 < part < 0.95 for part in parts) >= 1


def test_a_red_room_makes_a_white_thing_red() -> None:
    around = sky(94)
    red = Panorama(around.picture, around.light * np.array([2.0, 0.7, 0.7], np.float32))
    drawn = draw(setting(red), [Placed(cylinder(), SIDE / 2, 0.65 * SIDE, 1.0)])
    mean = drawn.pixels[drawn.covers[0] == 1].mean(axis=0)
    assert mean[0] > 1.1 * mean[1]


@pytest.mark.parametrize("name", PLACES)
def test_every_place_lights_the_table(name: str) -> None:
    around = place(name)
    light = illumination(around, np.full(3, 0.3, np.float32))
    assert np.isfinite(light.on_table).all()
    assert light.on_table.min() > 0
    up = light.on_normals(np.array([[0, 1, 0]], np.float32))[0]
    # Three bands of harmonics know the light on the table roughly.
    assert up.mean() == pytest.approx(float(light.on_table.mean()), rel=0.2)
    turn = around.turned(90.0).azimuth_of_brightest() - around.azimuth_of_brightest()
    assert (turn - 90 + 180) % 360 - 180 == pytest.approx(0, abs=3)


def test_a_turned_ball_stays_a_ball_and_moves_its_pattern() -> None:
    rows, columns = np.mgrid[-50:50, -50:50] + 0.5
    alpha = ((rows**2 + columns**2) < 40**2).astype(np.float32)
    stripe = (np.abs(columns) < 5).astype(np.float32)
    colours = np.stack([stripe, 1 - stripe, np.zeros_like(stripe)], axis=-1).astype(np.float32)
    for yaw in (-30.0, 30.0):
        found, inside = turned(colours, alpha, yaw, 0.0)
        shown = inside > 0.5
        assert (shown & (alpha > 0)).sum() / (shown | (alpha > 0)).sum() > 0.85
        middle = columns[(found[..., 0] > 0.5) & shown].mean()
        # Positive angles show more of the right side: the front moves to the left.
        assert middle == pytest.approx(-40 * np.sin(np.radians(yaw)), abs=8)
    same = turned(colours, alpha, 0.0, 0.0)
    assert same[0] is colours
