"""A scene continues where no photograph looks, and nothing that one shows is covered."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from synthetic import World, box_room, render, trace_depth

from scenewright_stages.vision.gaussians import surroundings
from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import points_of_pixels
from scenewright_stages.vision.gaussians.surroundings import with_surroundings
from scenewright_stages.vision.gaussians.training import limited
from scenewright_stages.vision.geometry.cameras import Camera, look_at
from scenewright_stages.vision.imaging.metrics import array_psnr

CPU = CpuRenderer()
SIZE = (80, 60)


def camera(yaw: float, pitch: float = 0.0, place: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Camera:
    """Looks from a place of the room; angles in degrees, pitch upwards."""
    across, up = math.radians(yaw), math.radians(pitch)
    ahead = np.array([math.sin(across) * math.cos(up), -math.sin(up), math.cos(across) * math.cos(up)])
    return Camera.from_field_of_view(*SIZE, 60.0, look_at(np.array(place), np.array(place) + ahead))


def exact_scene(room: World, cameras: list[Camera]) -> GaussianScene:
    """A Gaussian on every pixel of some views, where the surface is."""
    parts = []
    for each in cameras:
        depth = trace_depth(room, each).ravel()
        points = points_of_pixels(each, np.arange(depth.size), depth)
        colours = render(room, each).srgb.reshape(-1, 3).astype(np.float32)
        sigma = torch.from_numpy(0.6 * depth / each.focal[0])
        parts.append(GaussianScene.from_points(*map(torch.from_numpy, (points, colours)), sigma, 0.95))
    return GaussianScene.concatenate(parts)


def drawn(scene: GaussianScene, view: Camera) -> tuple[np.ndarray, float]:
    """Colours, and the covered share."""
    rendering = CPU.render(scene, [view])
    return rendering.rgb[0].numpy().clip(0, 1), float((rendering.alpha[0] > 0.7).float().mean())


KNOWN = [camera(0, place=(-0.4, 0, 0)), camera(50, place=(0.4, 0, 0)), camera(100, place=(0, 0.1, 0.3))]
ELSEWHERE = [camera(25, 25), camera(75, -20, (0.1, 0, 0.1))]


@pytest.fixture(scope="module")
def room() -> World:
    return box_room(0)


@pytest.fixture(scope="module")
def scene(room: World) -> GaussianScene:
    return exact_scene(room, KNOWN)


def test_views_between_photographs_gain_where_none_looks(room: World, scene: GaussianScene) -> None:
    continued = with_surroundings(scene, KNOWN, CPU)
    for view in ELSEWHERE:
        truth = render(room, view).srgb
        (before, covered), (after, filled) = drawn(scene, view), drawn(continued, view)
        assert covered < 0.7 and filled > 0.9
        assert array_psnr(after, truth) > array_psnr(before, truth) + 3


def test_what_photographs_show_stays_as_it_is(room: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view close to a wall would otherwise be continued at the wall's distance, before what others see."""
    views = [camera(-60, -20, (-1.7, 0.3, 0.5)), camera(0, 0, (0, 0, -1.5)), camera(-30, 0, (1.5, 0, -1.5))]
    scene = exact_scene(room, views)

    def change() -> float:
        continued = with_surroundings(scene, views, CPU)
        assert torch.equal(continued.means[: len(scene)], scene.means)
        return min(array_psnr(drawn(continued, view)[0], drawn(scene, view)[0]) for view in views)

    kept = change()
    monkeypatch.setattr(surroundings._CoarseView, "hides", lambda _, points: np.zeros(len(points), np.bool_))
    assert kept > 35 > change() + 5


def test_an_empty_scene_has_nothing_to_continue(scene: GaussianScene) -> None:
    assert len(with_surroundings(scene.select(slice(0, 0)), KNOWN, CPU)) == 0


def test_no_gaussian_is_larger_than_the_nearest_camera_may_see_it() -> None:
    views = [View(each, torch.zeros(*SIZE[::-1], 3)) for each in KNOWN]
    points = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 8.0]], dtype=torch.float64)
    large = GaussianScene.from_points(points, torch.full((2, 3), 0.5), torch.tensor([1.0, 0.5]), 0.9)
    sizes = limited(large, views, 0.1).log_scales.exp()
    nearest = min(float(np.linalg.norm(points[0].numpy() - each.position)) for each in KNOWN)
    assert torch.allclose(sizes[0], torch.full((3,), 0.1 * nearest), rtol=1e-5)
    assert torch.equal(sizes[1], large.log_scales[1].exp())
