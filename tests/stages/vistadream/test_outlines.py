"""Outlines that the depth misses: what looks like the near surface goes with it when the camera moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scenewright_stages.scenes.preparation import Layout
from scenewright_stages.vision.cameras import rigid
from scenewright_stages.vision.depth.outlines import claim_outlines
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.images import outpaint_canvas, prepared_window
from scenewright_stages.vistadream import initialize
from scenewright_stages.vistadream.initialize import DepthPass, first_frames, initialize_scene
from scenewright_stages.vistadream.params import VistaDreamParams

WIDTH, HEIGHT = 288, 192
NEAR, FAR = 2.0, 6.0
TOWER = np.s_[60:, 90:140]
SEEN = np.s_[64:, 94:136]
"""What the depth says of the tower: its outline lies four pixels too far inside."""
DARK = 0.45

Floats = NDArray[np.float32]


def picture(behind: float = 0.85) -> tuple[Floats, Floats]:
    """A dark tower before a bright sky, and a depth that misses its rim."""
    noise = np.random.default_rng(0).normal(0, 0.015, (HEIGHT, WIDTH, 1)).astype(np.float32)
    srgb = np.full((HEIGHT, WIDTH, 3), behind, np.float32)
    srgb[TOWER] = 0.2
    depth = np.full((HEIGHT, WIDTH), FAR, np.float32)
    depth[SEEN] = NEAR
    return np.clip(srgb + noise, 0, 1).astype(np.float32), depth


def test_the_rim_goes_to_the_near_surface_and_nothing_else_moves() -> None:
    srgb, depth = picture()
    depth[0, 0] = 0.0
    claimed = claim_outlines(depth, srgb)
    expected = depth.copy()
    expected[TOWER] = NEAR
    # A square's corner lies a little farther away than its sides.
    assert (claimed[TOWER] == NEAR).mean() > 0.99
    outside = np.ones(depth.shape, np.bool_)
    outside[TOWER] = False
    np.testing.assert_array_equal(claimed[outside], expected[outside])


def test_what_has_the_colours_of_what_is_behind_stays_there() -> None:
    srgb, depth = picture()
    srgb[:, 60:90:3] = 0.2  # as dark stripes as the tower, beside it
    srgb[:, 140:170:3] = 0.2
    srgb[30:60:3] = 0.2
    np.testing.assert_array_equal(claim_outlines(depth, srgb), depth)


@pytest.mark.parametrize("side", [-0.25, 0.25])
def test_no_dark_specks_come_off_when_the_camera_moves(side: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with_step = specks(side)
    monkeypatch.setattr(initialize, "claim_outlines", lambda depth, srgb: depth)
    without = specks(side)
    print(f"dark pixels beside the tower: {with_step}, {without} without the step")
    assert without > 100
    assert with_step < 0.1 * without


def specks(side: float) -> int:
    """Dark pixels of a moved view where the tower is not."""
    srgb, depth = picture()
    layout = Layout(
        "noOutpaint", WIDTH, HEIGHT, 60.0, prepared_window(WIDTH, HEIGHT, WIDTH), outpaint_canvas(WIDTH, HEIGHT, 0.0)
    )
    nothing = np.zeros(depth.shape, np.bool_)
    camera = layout.canvas_camera(60.0)
    params = VistaDreamParams.model_validate({"initialize": {"iterations": 5}})
    frames = first_frames(srgb, DepthPass(depth, np.ones_like(depth), nothing, camera.intrinsics), layout, params)
    renderer = renderer_for("cpu")
    scene, _ = initialize_scene(frames, params, renderer, seed=1)
    moved = frames[0].camera.with_pose(rigid(np.eye(3), (-side, 0.0, 0.0)))
    with torch.no_grad():
        seen = renderer.render(scene, [moved])
    dark = ((seen.rgb[0].mean(dim=-1) < DARK) & (seen.alpha[0] > 0.7)).numpy()
    shift = round(-side * camera.focal[0] / NEAR)
    dark[56:, max(0, 90 + shift - 4) : 140 + shift + 4] = False
    return int(dark.sum())
