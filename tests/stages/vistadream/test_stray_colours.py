"""The measure of stray colours: it sees planted blobs, and nothing in a picture that is as its sources are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic import box_room, render

from scenewright_stages.scenes.frames import Frame, gaussians_of
from scenewright_stages.scenes.quality import MAXIMUM_STRAY
from scenewright_stages.scenes.stray_colours import Palette, stray_pixels, stray_share
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import unproject
from scenewright_stages.vision.geometry.trajectories import orbit

WIDTH, HEIGHT = 160, 120
RENDERER = renderer_for("cpu")
BLOBS = {"purple": (0.6, 0.1, 0.8), "white": (1.0, 1.0, 1.0), "dark": (0.0, 0.0, 0.0)}


@pytest.fixture(scope="module")
def frame() -> Frame:
    camera = Camera.from_field_of_view(WIDTH, HEIGHT, 70.0)
    view = render(box_room(0), camera)
    everything = np.ones((HEIGHT, WIDTH), np.bool_)
    return Frame("input", view.srgb, view.depth, everything, everything, everything, camera)


@pytest.fixture(scope="module")
def cameras(frame: Frame) -> list[Camera]:
    points = unproject(frame.depth, frame.camera).reshape(-1, 3)
    return [frame.camera.with_pose(pose) for pose in orbit(points, 12, ratio=0.04).camera_from_world]


def planted(frame: Frame, colour: tuple[float, float, float], count: int = 12) -> GaussianScene:
    """The frame's Gaussians and some blobs, 2 pixels wide, a little before its surfaces."""
    scene = gaussians_of(frame, 0.95)
    random = np.random.default_rng(3)
    rows, columns = random.integers(15, HEIGHT - 15, count), random.integers(15, WIDTH - 15, count)
    depth = 0.97 * frame.depth[rows, columns]
    rays = np.stack([columns + 0.5, rows + 0.5, np.ones(count)], axis=1) @ np.linalg.inv(frame.camera.intrinsics).T
    points = torch.as_tensor(rays * depth[:, None])
    sigma = torch.as_tensor(2.0 * depth / frame.camera.focal[0])
    blobs = GaussianScene.from_points(points, torch.tensor(colour).expand(count, 3), sigma, 0.99)
    return GaussianScene.concatenate([scene, blobs])


@pytest.mark.parametrize("name", BLOBS)
def test_planted_blobs_are_found_and_the_clean_scene_passes(frame: Frame, cameras: list[Camera], name: str) -> None:
    clean = stray_share(gaussians_of(frame, 0.95), cameras, [frame], RENDERER)
    spoilt = stray_share(planted(frame, BLOBS[name]), cameras, [frame], RENDERER)
    print(f"{name}: clean {clean:.6f} planted {spoilt:.6f}")
    assert clean <= MAXIMUM_STRAY < spoilt
    assert spoilt > 10 * clean


def test_the_rest_of_a_filled_view_excuses_nothing(frame: Frame) -> None:
    """What a later view rendered of a blob is no source for its colour; what it filled is."""
    spoilt = frame.srgb.copy()
    spoilt[40:46, 60:66] = BLOBS["purple"]
    nothing = np.zeros((HEIGHT, WIDTH), np.bool_)
    hole = nothing.copy()
    hole[40:46, 60:66] = True
    rendered, filled = (replace(frame, kind="coarse", srgb=spoilt, inpaint=mask) for mask in (nothing, hole))
    seen = frame.camera, torch.from_numpy(spoilt), torch.from_numpy(frame.depth)
    assert stray_pixels(*seen, [Palette.of(each) for each in (frame, rendered)])[41:45, 61:65].all()
    assert not stray_pixels(*seen, [Palette.of(each) for each in (frame, filled)]).any()
