"""Where the cameras of a world stand: the eight views, and the paths against formulas and published poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scenewright_stages.vision.places.worlds.motions import (
    MOTIONS,
    TARGETS,
    VIEWS,
    path_of,
    target_cameras,
    targets_of,
    view_camera,
)


def test_the_eight_views_turn_left_by_exactly_45_degrees() -> None:
    for view in range(VIEWS):
        forward = view_camera(view, 576).camera_from_world[2, :3]
        angle = np.radians(-45.0 * view)
        np.testing.assert_allclose(forward, (np.sin(angle), 0, np.cos(angle)), atol=1e-12)


def test_a_scene_has_2880_poses() -> None:
    assert VIEWS * sum(len(path_of(motion)) for motion in MOTIONS) == 2880


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_path_begins_at_its_view(motion: str) -> None:
    start = view_camera(3, 64)
    first = target_cameras(3, motion, (0,), 0.6, 64)[0]
    np.testing.assert_allclose(first.camera_from_world, start.camera_from_world, atol=1e-12)


def test_straight_paths_follow_their_formulas() -> None:
    (ahead,) = target_cameras(0, "in", (44,), 1.0, 64)
    np.testing.assert_allclose(ahead.position, (0, 0, 1.04035), atol=1e-5)
    (above,) = target_cameras(0, "up", (44,), 1.0, 64)
    np.testing.assert_allclose(above.position, (0, -0.2746, 0.8852), atol=1e-4)
    forward = above.camera_from_world[2, :3]
    # Looks down: y points downwards.
    assert np.degrees(np.arcsin(forward[1])) == pytest.approx(54.23, abs=0.01)


@pytest.mark.parametrize(
    ("motion", "target", "yaw", "right", "forward"),
    [
        ("right", 45, 90.0, 0.0, 0.96901),
        ("right", 134, 180.022, 0.08286, 0.48001),
        ("left", 45, -90.0, 0.0, 0.95721),
        ("left", 107, -186.582, -0.13078, 0.81526),
    ],
)
def test_turning_paths_pass_through_the_published_poses(
    motion: str, target: int, yaw: float, right: float, forward: float
) -> None:
    (camera,) = target_cameras(0, motion, (target,), 1.0, 64)
    np.testing.assert_allclose(camera.position, (right, 0, forward), atol=1e-9)
    looking = camera.camera_from_world[2, :3]
    np.testing.assert_allclose(looking, (np.sin(np.radians(yaw)), 0, np.cos(np.radians(yaw))), atol=1e-9)


def test_left_and_right_are_no_mirror_images() -> None:
    left, right = path_of("left"), path_of("right")
    np.testing.assert_allclose(left.yaw, -right.yaw)
    assert np.abs(left.offsets[:, 2] - right.offsets[:, 2]).max() > 0.01


def test_the_path_of_another_view_is_the_first_ones_turned() -> None:
    first, third = (target_cameras(view, "left", (60,), 0.5, 64)[0] for view in (0, 2))
    between = view_camera(2, 64).world_from_camera
    np.testing.assert_allclose(third.world_from_camera, between @ first.world_from_camera, atol=1e-12)


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_stride_keeps_the_farthest_pose(motion: str) -> None:
    assert targets_of(motion, 9)[-1] == TARGETS[motion] - 1
    assert len(targets_of(motion, 9)) == TARGETS[motion] // 9
    assert targets_of(motion, 1) == tuple(range(TARGETS[motion]))


def test_paths_equal_64_published_poses() -> None:
    """Poses of the published files, two of each view and motion, in the frame of their first view."""
    published = json.loads((Path(__file__).parent / "data" / "published_poses.json").read_text())
    assert len(published) == 64
    for pose in published:
        expected = np.array(pose["world_from_camera"])
        (camera,) = target_cameras(pose["view"], pose["motion"], (pose["target"],), 1.0, 64)
        turn = camera.world_from_camera[:3, :3] @ expected[:, :3].T
        # Of small angles the sine is exact where the cosine is not.
        sine = np.linalg.norm(turn - turn.T) / np.sqrt(8)
        assert np.degrees(np.arcsin(sine)) < 0.02, pose
        np.testing.assert_allclose(camera.position, expected[:, 3], atol=1e-3, err_msg=str(pose))
