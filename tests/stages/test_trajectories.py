"""Camera paths: formula, limits and closure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scenewright_stages.vision.geometry.cameras import check_rigid, invert_rigid
from scenewright_stages.vision.geometry.trajectories import (
    Trajectory,
    dolly,
    orbit,
    scene_radius,
    spiral,
)


def scene(near: float = 1.0, far: float = 3.0) -> Any:
    return np.random.default_rng(0).uniform((-1.2, -0.8, near), (1.2, 0.8, far), (5000, 3))


def positions(trajectory: Trajectory) -> Any:
    return np.stack([invert_rigid(pose)[:3, 3] for pose in trajectory.camera_from_world])


PATHS: list[Callable[..., Trajectory]] = [spiral, orbit, dolly]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_starts_and_ends_exactly_at_the_photograph(path: Callable[..., Trajectory]) -> None:
    trajectory = path(scene(), 31)
    assert len(trajectory) == 31
    np.testing.assert_array_equal(trajectory.camera_from_world[0], np.eye(4))
    np.testing.assert_array_equal(trajectory.camera_from_world[-1], np.eye(4))
    assert np.abs(trajectory.camera_from_world[7] - np.eye(4)).max() > 0.01
    np.testing.assert_array_equal(path(scene(), 1).camera_from_world, np.eye(4)[None])


@pytest.mark.parametrize("path", PATHS)
def test_all_poses_are_rigid_and_look_at_the_scene(path: Callable[..., Trajectory]) -> None:
    trajectory = path(scene(), 40)
    for pose in trajectory.camera_from_world:
        check_rigid(pose)
        seen = pose[:3, :3] @ (0, 0, trajectory.radius / 2) + pose[:3, 3]
        np.testing.assert_allclose(seen[:2], 0, atol=1e-12)
        assert seen[2] > 0
        assert np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() < 1e-9


def test_the_radius_is_the_mean_extent_between_percentiles() -> None:
    points = scene()
    extent = np.percentile(points, 95, axis=0) - np.percentile(points, 5, axis=0)
    assert scene_radius(points) == pytest.approx(extent.mean())
    outlier = np.concatenate([points, [[1e4, 0, 1e5]], np.full((1, 3), np.nan)])
    assert scene_radius(outlier) == pytest.approx(extent.mean(), rel=0.01)
    assert scene_radius(outlier, (0, 100)) > 100 * extent.mean()


def test_the_spiral_follows_its_formula() -> None:
    points = scene()
    radius = scene_radius(points)
    path = positions(spiral(points, 9, forward_ratio=0.2, backward_ratio=0.5))
    # t = 1, 7/8, 3/4 ...: the swing s = sin(2 pi t) is 0, -sin 45, -1, ... and z = -R s * ratio.
    s, c = np.sin(2 * np.pi * 7 / 8), np.cos(2 * np.pi * 7 / 8)
    expected = np.array([0.2 * s * c, 0.3 * 0.2 * s * s, -s * 0.2]) * radius
    np.testing.assert_allclose(path[1], expected, atol=1e-12)
    np.testing.assert_allclose(path[2], [0, 0.06 * radius, 0.2 * radius], atol=1e-12)
    np.testing.assert_allclose(path[6], [0, 0.06 * radius, -0.5 * radius], atol=1e-12)


def test_default_ratios_give_vistadreams_sideways_motion_and_small_ones_are_small() -> None:
    points = scene()
    radius = scene_radius(points)
    default = np.abs(positions(spiral(points, 401))).max(axis=0)
    np.testing.assert_allclose(default[:2], (0.15 * radius, 0.09 * radius), rtol=1e-4)
    small = np.abs(positions(spiral(points, 401, forward_ratio=0.08, backward_ratio=0.25))).max(axis=0)
    assert (small < 0.36 * default).all()


def test_portrait_images_move_less_sideways_and_as_much_otherwise() -> None:
    landscape, portrait = positions(spiral(scene(), 50)), positions(spiral(scene(), 50, portrait=True))
    np.testing.assert_allclose(portrait[:, 0], 0.6 * landscape[:, 0], atol=1e-12)
    np.testing.assert_allclose(portrait[:, 1:], landscape[:, 1:], atol=1e-12)


@pytest.mark.parametrize("path", [spiral, dolly])
def test_no_camera_goes_further_forward_than_half_the_near_depth_and_the_clamp_is_recorded(
    path: Callable[..., Trajectory],
) -> None:
    points = scene(near=0.2, far=6.0)
    near = np.percentile(points[:, 2], 5)
    free = path(points, 60, forward_ratio=0.05, backward_ratio=0.7)
    clamped = path(points, 60, forward_ratio=2.0, backward_ratio=0.7)
    assert free.clamp is None and positions(free)[:, 2].max() < near / 2
    assert clamped.clamp is not None
    assert clamped.clamp.limit == pytest.approx(near / 2) and clamped.clamp.requested > near / 2
    assert positions(clamped)[:, 2].max() == pytest.approx(near / 2)
    np.testing.assert_allclose(positions(clamped)[30:, 2], positions(free)[30:, 2], atol=1e-12)


def test_motion_towards_the_scene_obeys_the_forward_ratio() -> None:
    still = positions(spiral(scene(), 60, forward_ratio=0.0, backward_ratio=0.5))
    assert still[:, 2].max() == 0 and still[:, 2].min() < -0.1


def test_adjacent_poses_of_a_video_are_close() -> None:
    path = positions(spiral(scene(), 150))
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.06


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "at least 1"),
        ({"forward_ratio": -0.1}, "ratio"),
        ({"backward_ratio": np.nan}, "ratio"),
        ({"minimum_percentage": 95.0, "maximum_percentage": 5.0}, "percentages"),
        ({"points": np.full((5, 3), np.nan)}, "no point"),
    ],
)
def test_impossible_requests_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spiral(**{"points": scene(), "count": 5, **arguments})
