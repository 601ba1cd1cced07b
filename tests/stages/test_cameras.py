"""Conventions of cameras and rigid motions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scenewright_stages.vision.geometry.cameras import (
    Camera,
    check_rigid,
    intrinsics_matrix,
    invert_rigid,
    look_at,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
    world_from_camera_opencv,
    world_from_camera_opengl,
)


def random_motions(count: int, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    rotations = rotation_from_quaternion(random.normal(size=(count, 4)))
    return np.stack([rigid(r, t) for r, t in zip(rotations, random.normal(size=(count, 3)), strict=True)])


def project(camera: Camera, point_world: np.ndarray) -> Any:
    seen = camera.camera_from_world @ np.append(point_world, 1)
    pixel = camera.intrinsics @ seen[:3]
    return pixel[:2] / pixel[2]


def test_inverse_and_opengl_round_trips_are_exact_and_a_wrong_sign_is_not() -> None:
    motions = random_motions(200)
    wrong = motions @ np.diag([1.0, -1.0, 1.0, 1.0])
    there_and_back = world_from_camera_opencv(world_from_camera_opengl(motions))
    inverses = np.stack([invert_rigid(invert_rigid(motion)) for motion in motions])
    assert np.abs(there_and_back - motions).max() < 1e-12
    assert np.abs(inverses - motions).max() < 1e-12
    assert np.abs(world_from_camera_opencv(wrong) - world_from_camera_opencv(motions)).max() > 0.5


def test_an_opengl_camera_looks_along_minus_z_with_y_up() -> None:
    world_from_camera = world_from_camera_opencv(np.eye(4))
    np.testing.assert_array_equal(world_from_camera[:3, 2], (0, 0, -1))
    np.testing.assert_array_equal(world_from_camera[:3, 1], (0, -1, 0))
    assert np.linalg.det(world_from_camera[:3, :3]) == pytest.approx(1)


def test_known_points_land_on_known_pixels() -> None:
    pose = look_at((1.0, -2.0, 3.0), (1.0, -2.0, 8.0))
    camera = Camera(intrinsics_matrix(100, 110, 32, 24), 64, 48, pose)
    np.testing.assert_allclose(project(camera, np.array([1.0, -2.0, 5.0])), (32, 24), atol=1e-6)
    # Half a metre right and a quarter up, two metres ahead; y points down in the world as in the image.
    np.testing.assert_allclose(project(camera, np.array([1.5, -2.25, 5.0])), (57, 10.25), atol=1e-6)


def test_look_at_holds_its_target_and_its_up_direction() -> None:
    camera = Camera.from_field_of_view(64, 48, 60, look_at((1, 2, 3), (-4, 0, 5)))
    np.testing.assert_allclose(camera.position, (1, 2, 3), atol=1e-12)
    np.testing.assert_allclose(project(camera, np.array([-4.0, 0, 5])), (32, 24), atol=1e-9)
    above = project(camera, np.array([-4.0, -0.5, 5]))
    assert above[1] < 24
    with pytest.raises(ValueError, match="target"):
        look_at((0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match="up"):
        look_at((0, 0, 0), (0, 5, 0))


def test_quaternions_round_trip_including_half_turns() -> None:
    half_turns = np.eye(4)[1:]
    quaternions = np.concatenate([np.random.default_rng(1).normal(size=(100, 4)), half_turns])
    for quaternion in quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True):
        rotation = rotation_from_quaternion(quaternion)
        check_rigid(rigid(rotation, (0, 0, 0)))
        back = quaternion_from_rotation(rotation)
        assert min(np.abs(back - quaternion).max(), np.abs(back + quaternion).max()) < 1e-12


def test_a_quarter_turn_about_y_turns_forward_into_right() -> None:
    turn = rotation_from_quaternion((np.sqrt(0.5), 0, np.sqrt(0.5), 0))
    np.testing.assert_allclose(turn @ (0, 0, 1), (1, 0, 0), atol=1e-12)


def test_scaling_cropping_and_expanding_move_pixels_as_they_move_the_image() -> None:
    camera = Camera(intrinsics_matrix(70, 72, 30.5, 21.25), 64, 48, look_at((0, 0, 0), (0.3, 0.1, 2)))
    point = np.array([0.4, -0.2, 3.0])
    pixel = project(camera, point)
    np.testing.assert_allclose(project(camera.scaled(96, 24), point), pixel * (1.5, 0.5), atol=1e-9)
    np.testing.assert_allclose(project(camera.cropped(5, 7, 20, 10), point), pixel - (5, 7), atol=1e-9)
    expanded = camera.expanded(32)
    assert (expanded.width, expanded.height) == (128, 112)
    np.testing.assert_allclose(project(expanded, point), pixel + 32, atol=1e-9)
    np.testing.assert_array_equal(expanded.cropped(32, 32, 64, 48).intrinsics, camera.intrinsics)


def test_field_of_view_is_what_was_asked_for() -> None:
    camera = Camera.from_field_of_view(320, 200, 60)
    assert camera.field_of_view[0] == pytest.approx(60)
    assert camera.principal_point == (160, 100)
    assert camera.scaled(64, 40).field_of_view[0] == pytest.approx(60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intrinsics": np.eye(4)}, "shape"),
        ({"intrinsics": np.full((3, 3), np.nan)}, "finite"),
        ({"intrinsics": intrinsics_matrix(-1, 1, 0, 0)}, "focal"),
        ({"width": 0}, "1x1"),
        ({"camera_from_world": np.diag([1.0, -1, 1, 1])}, "rotation"),
        ({"camera_from_world": np.diag([2.0, 2, 2, 1])}, "rotation"),
    ],
)
def test_an_impossible_camera_is_refused(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"intrinsics": intrinsics_matrix(50, 50, 16, 16), "width": 32, "height": 32}
    Camera(**good)
    with pytest.raises(ValueError, match=message):
        Camera(**{**good, **change})


def test_a_camera_cannot_be_changed_through_its_arrays() -> None:
    intrinsics = intrinsics_matrix(50, 50, 16, 16)
    camera = Camera(intrinsics, 32, 32)
    intrinsics[0, 0] = 1
    assert camera.focal == (50, 50)
    with pytest.raises(ValueError, match="read-only"):
        camera.intrinsics[0, 0] = 1
