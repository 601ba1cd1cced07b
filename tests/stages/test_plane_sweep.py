"""Depth by sweeping a plane through pictures of known poses, in the synthetic room."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import box_room, render

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.geometry.depth.plane_sweep import Shot, sweep
from scenewright_stages.vision.places.worlds.motions import turned

SIZE = 160
STEPS = [(0.12, 0, 0), (-0.12, 0, 0), (0, 0.1, 0), (0, -0.1, 0.05), (0.2, 0.05, 0.1)]


def camera_at(position: tuple[float, float, float], yaw: float = 20.0) -> Camera:
    rotation = turned(yaw, 0)
    return Camera.from_field_of_view(SIZE, SIZE, 60.0, np.linalg.inv(rigid(rotation, np.array(position, float))))


def shot(position: tuple[float, float, float], yaw: float = 20.0) -> tuple[Shot, np.ndarray]:
    view = render(box_room(1), camera_at(position, yaw), 2)
    return Shot(view.srgb, camera_at(position, yaw)), view.depth


@pytest.fixture(scope="module")
def room() -> tuple[Shot, np.ndarray, list[Shot]]:
    reference, depth = shot((0, 0, 0))
    return reference, depth, [shot(step, 20.0 + 4 * number)[0] for number, step in enumerate(STEPS)]


def test_textured_pixels_are_within_three_per_cent(room: tuple[Shot, np.ndarray, list[Shot]]) -> None:
    reference, depth, neighbours = room
    swept = sweep(reference, neighbours, 0.8 * depth.min(), 1.2 * depth.max())
    error = np.abs(swept.depth / depth - 1)
    sure = swept.confidence > 0.5
    print(
        f"textured {swept.textured.mean():.3f}, sure {sure.mean():.3f}, AbsRel {error[sure].mean():.4f}, "
        f"median of all textured {np.median(error[swept.textured]):.4f}"
    )
    assert not (sure & ~swept.textured).any()
    assert sure.sum() > 0.65 * swept.textured.sum() > 0.4 * sure.size
    assert error[sure].mean() < 0.03
    assert np.median(error[swept.textured]) < 0.02


def test_brightness_of_the_neighbours_does_not_matter(room: tuple[Shot, np.ndarray, list[Shot]]) -> None:
    reference, depth, neighbours = room
    darker = [Shot((0.5 * each.srgb + 0.1).astype(np.float32), each.camera) for each in neighbours]
    plain, dark = (sweep(reference, each, 0.8 * depth.min(), 1.2 * depth.max(), 48) for each in (neighbours, darker))
    sure = (plain.confidence > 0.5) & (dark.confidence > 0.5)
    assert sure.mean() > 0.4 and np.median(np.abs(dark.depth[sure] / plain.depth[sure] - 1)) < 0.005


def test_nothing_to_compare_has_no_confidence(room: tuple[Shot, np.ndarray, list[Shot]]) -> None:
    reference, _, neighbours = room
    grey = Shot(np.full_like(reference.srgb, 0.5), reference.camera)
    assert sweep(grey, neighbours, 0.5, 5.0, 24).confidence.max() == 0
    away = [Shot(neighbours[0].srgb, camera_at((0, 0, 0), 200.0))]
    assert sweep(reference, away, 0.5, 5.0, 24).confidence.max() == 0


def test_without_neighbours_or_a_range_it_is_refused(room: tuple[Shot, np.ndarray, list[Shot]]) -> None:
    reference, _, neighbours = room
    with pytest.raises(ValueError, match="needs neighbours"):
        sweep(reference, [], 0.5, 5.0)
    with pytest.raises(ValueError, match="needs neighbours"):
        sweep(reference, neighbours, 5.0, 0.5)
