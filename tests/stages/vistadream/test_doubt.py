"""Where an assumed depth is likely wrong: edges that would bend, blurred things in front of sharp ones, sky."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.vistadream.doubt import SHARP_BEHIND, VISIBLE_BEND, doubts, line_bend, sharp_in_front
from scenewright_stages.vistadream.motion import motion_warnings, scene_motion
from scenewright_stages.vistadream.params import VistaDreamParams

WIDTH, HEIGHT = 192, 128
CLASSIC = VistaDreamParams.model_validate({"depth": {"backend": "classic"}})


def tower(cut: bool = False) -> Float32Array:
    """A bright mast in front of a grey wall, cut in two pieces by a dark band if wanted."""
    srgb = np.full((HEIGHT, WIDTH, 3), 0.35, np.float32)
    srgb[8:120, 90:104] = 0.9
    if cut:
        srgb[60:66] = 0.1
    return srgb


def frame(srgb: Float32Array, inverse: Float32Array) -> Frame:
    everything = np.ones((HEIGHT, WIDTH), np.bool_)
    camera = Camera.from_field_of_view(WIDTH, HEIGHT, 60.0)
    depth = (1 / inverse).astype(np.float32)
    return Frame("input", srgb, depth, everything, everything, everything, camera)


def upright() -> Float32Array:
    """Inverse depth of a wall that leans back: linear in the image, so straight edges stay straight."""
    return np.repeat(np.linspace(0.3, 0.6, HEIGHT, dtype=np.float32)[:, None], WIDTH, axis=1)


def bent() -> Float32Array:
    """The same, but the upper third falls back as a prior's does where an object resembles its background."""
    inverse = upright()
    inverse[: HEIGHT // 3] *= np.linspace(0.4, 1, HEIGHT // 3, dtype=np.float32)[:, None]
    return inverse


@pytest.mark.parametrize("cut", [False, True])
def test_a_straight_mast_bends_under_a_bent_depth_only(cut: bool) -> None:
    focal = Camera.from_field_of_view(WIDTH, HEIGHT, 60.0).focal[0]
    nowhere = np.zeros((HEIGHT, WIDTH), np.bool_)
    straight, banana = (line_bend(tower(cut), 1 / inverse, nowhere, focal) for inverse in (upright(), bent()))
    assert straight < 0.5
    assert banana > 5
    ball = cv2.circle(np.full((HEIGHT, WIDTH, 3), 0.35, np.float32), (96, 64), 40, (0.9, 0.9, 0.9), -1, cv2.LINE_AA)
    assert line_bend(np.asarray(ball, np.float32), 1 / bent(), nowhere, focal) == 0, (
        "without straight edges nothing is seen to bend"
    )
    assert line_bend(tower(cut), 1 / bent(), ~nowhere, focal) == 0, "in the sky it does not matter"


def test_doubt_makes_the_motion_smaller_and_says_how_to_have_all_of_it() -> None:
    bad, good = frame(tower(), bent()), frame(tower(), upright())
    assert doubts(good, 0.1) == motion_warnings(good, CLASSIC) == []
    full, less = scene_motion(good, CLASSIC), scene_motion(bad, CLASSIC)
    assert (full.preset, full.forward, full.backward) == ("small", 0.18, 0.25)
    assert less.forward < 0.9 * full.forward
    assert less.forward / less.backward == pytest.approx(full.forward / full.backward)
    (warning,) = motion_warnings(bad, CLASSIC)
    assert "--set trajectory.motionPreset=small" in warning
    for block in ({"motionPreset": "small"}, {"forwardRatio": 0.18, "backwardRatio": 0.25}):
        asked = VistaDreamParams.model_validate({"trajectory": block})
        assert scene_motion(bad, asked).forward == 0.18, "what the user asks for is not changed"
        assert motion_warnings(bad, asked) == []
    measured = VistaDreamParams.model_validate({"depth": {"backend": "provided"}})
    assert motion_warnings(bad, measured) == []


def test_a_sharp_thing_behind_a_blurred_one_puts_the_order_in_doubt() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.random((HEIGHT, WIDTH, 3), dtype=np.float32)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    left = np.arange(WIDTH)[None, :, None] < WIDTH // 2
    srgb = np.where(left, sharp, blurred).astype(np.float32)
    near_left = np.tile(np.linspace(0.9, 0.3, WIDTH, dtype=np.float32), (HEIGHT, 1))
    nowhere = np.zeros((HEIGHT, WIDTH), np.bool_)
    assert sharp_in_front(srgb, 1 / near_left, nowhere) > -SHARP_BEHIND
    assert sharp_in_front(srgb, 1 / near_left[:, ::-1], nowhere) < SHARP_BEHIND
    assert [each.share for each in doubts(frame(srgb, near_left[:, ::-1].copy()), 0.0)] == [0.5]
    assert doubts(frame(srgb, near_left), 0.0) == []


def test_where_nearly_everything_is_sky_no_order_is_known() -> None:
    plain = frame(np.full((HEIGHT, WIDTH, 3), 0.5, np.float32), upright())
    far = np.zeros((HEIGHT, WIDTH), np.bool_)
    far[: int(0.9 * HEIGHT)] = True
    assert doubts(plain, 0.1) == []
    assert "sky" in doubts(replace(plain, far=far), 0.1)[0].reason


def test_the_limit_is_what_is_seen() -> None:
    """Below the limit nothing changes, above it the motion shrinks in proportion, down to a floor."""
    bad = frame(tower(), bent())
    per_metre = line_bend(bad.srgb, bad.depth, bad.far, bad.camera.focal[0]) / WIDTH
    just = VISIBLE_BEND / per_metre
    assert doubts(bad, 0.95 * just) == []
    assert doubts(bad, 1.25 * just)[0].share == pytest.approx(0.8, abs=0.01)
    assert doubts(bad, 50 * just)[0].share == 0.4
