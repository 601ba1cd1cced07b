"""Sky and far points: found in any kind of depth, put on one shell, left out of the scene's measures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic.rendering import SyntheticView, render
from synthetic.yard import sky_of, yard, yard_camera

from scenewright_stages.backends.depth.interface import DepthEstimate
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.scenes.preparation import Layout
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.geometry.depth.far_points import FAR_FACTOR, place_far_points
from scenewright_stages.vision.geometry.framing import outpaint_canvas, prepared_window
from scenewright_stages.vision.geometry.points import extend_foreground, unproject
from scenewright_stages.vision.geometry.trajectories import scene_radius
from scenewright_stages.vision.imaging.metrics import psnr
from scenewright_stages.vistadream.depth import estimated_depth
from scenewright_stages.vistadream.initialize import DepthPass, first_frames, initialize_scene
from scenewright_stages.vistadream.params import VistaDreamParams

WIDTH, HEIGHT = 128, 96
RENDERER = renderer_for("cpu")
PARAMS = VistaDreamParams.model_validate({"depth": {"backend": "moge"}, "initialize": {"iterations": 40}})
Answer = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]


def kilometres(depth: NDArray[np.float32], sky: NDArray[np.bool_]) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).normal(0, 0.2, depth.shape)
    return np.where(sky, 2000 * np.exp(noise), depth).astype(np.float32)


ANSWERS: dict[str, Answer] = {
    "sky unknown, as MoGe's mask": lambda depth, sky: np.where(sky, np.nan, depth).astype(np.float32),
    "sky infinite": lambda depth, sky: np.where(sky, np.inf, depth).astype(np.float32),
    "sky at 2 km, as Depth Pro": kilometres,
}


def photograph(seed: int) -> SyntheticView:
    return render(yard(seed), yard_camera(WIDTH, HEIGHT))


def frames_of(view: SyntheticView, depth: NDArray[np.float32]) -> list[Frame]:
    """What the pipeline makes of a depth model's answer."""
    window = prepared_window(WIDTH, HEIGHT, WIDTH)
    layout = Layout("noOutpaint", WIDTH, HEIGHT, 60.0, window, outpaint_canvas(WIDTH, HEIGHT, 0.0))
    valid = np.isfinite(depth).astype(np.float32)
    found = estimated_depth(DepthEstimate(depth, valid, view.camera.intrinsics, is_metric=True), layout)
    depth_pass = DepthPass(found.depth, found.confidence, found.far, found.camera.intrinsics)
    return first_frames(view.srgb, depth_pass, layout, PARAMS)


def input_psnr(frames: list[Frame]) -> float:
    scene, _ = initialize_scene(frames, PARAMS, RENDERER, seed=1)
    with torch.no_grad():
        again = RENDERER.render(scene, [frames[0].camera]).rgb[0]
    return float(psnr(again, torch.as_tensor(frames[0].srgb)))


def radius(frame: Frame, counted: NDArray[np.bool_]) -> float:
    return scene_radius(unproject(frame.depth, frame.camera)[counted])


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_yard_under_a_sky_comes_back_whole_and_its_size_is_the_yards(answer: str) -> None:
    view = photograph(0)
    sky = sky_of(view)
    assert 0.2 < sky.mean() < 0.7
    depth = ANSWERS[answer](view.depth, sky)
    frame = frames_of(view, depth)[0]
    near = ~sky & (view.depth <= FAR_FACTOR * np.percentile(view.depth[~sky], 10))
    without_sky = scene_radius(unproject(extend_foreground(view.depth), frame.camera)[near])
    measured = input_psnr([frame])
    print(f"{measured:.1f} dB, radius {radius(frame, frame.near):.2f}, true {without_sky:.2f}")
    assert measured >= 29.0
    assert radius(frame, frame.near) == pytest.approx(without_sky, rel=0.1)
    assert frame.far[sky].mean() > 0.95
    raw = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    everything = np.ones(sky.shape, np.bool_)
    untreated = Frame("input", view.srgb, raw, everything, everything, everything, frame.camera)
    lost = radius(untreated, untreated.depth > 0) > 20 * without_sky or input_psnr([untreated]) < 15
    assert lost, "without a shell the scene has no sky, or the size of its sky"


def test_a_depth_in_other_units_gives_the_same_scene() -> None:
    view = photograph(1)
    depth = ANSWERS["sky infinite"](view.depth, sky_of(view))
    found = {unit: input_psnr(frames_of(view, depth * np.float32(unit))) for unit in (0.02, 1.0, 20.0)}
    print({unit: round(value, 2) for unit, value in found.items()})
    assert max(found.values()) - min(found.values()) <= 0.3


def test_the_shell_lies_behind_everything_and_outliers_lie_on_it() -> None:
    depth = np.tile(np.linspace(1, 6, 60, dtype=np.float32), (40, 1))
    depth[:10], depth[30, 5] = np.inf, 900.0
    placed = place_far_points(depth)
    assert placed.far.sum() == 601
    assert placed.shell > 6.0
    np.testing.assert_array_equal(placed.depth[placed.far], np.float32(placed.shell))
    np.testing.assert_array_equal(placed.depth[~placed.far], depth[~placed.far])


def test_a_room_and_what_a_stereo_camera_missed_stay_as_they_are() -> None:
    depth = np.tile(np.linspace(8, 1, 40, dtype=np.float32)[:, None], (1, 60))
    depth[5:20, 10:30] = np.nan
    depth[:2, :10] = np.nan
    placed = place_far_points(depth)
    assert not placed.far.any() and placed.shell == 0.0
    np.testing.assert_array_equal(placed.depth, depth)


@pytest.mark.parametrize(("top", "is_sky"), [(slice(0, 12), True), (slice(28, 40), False)])
def test_unknown_pixels_are_sky_only_above_and_behind(top: slice, is_sky: bool) -> None:
    depth = np.tile(np.linspace(8, 1, 40, dtype=np.float32)[:, None], (1, 60))
    depth[top] = np.nan
    assert place_far_points(depth).far.any() == is_sky
    near_above = depth[::-1].copy()
    assert not place_far_points(near_above).far.any(), "an unknown region that ends at the nearest thing is no sky"
