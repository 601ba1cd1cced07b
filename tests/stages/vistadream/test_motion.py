"""Which path a camera flies: by the user, by a preset, by the scene; and VistaDream's own to the last digit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.geometry.cameras import Camera, check_rigid, invert_rigid, rigid
from scenewright_stages.vistadream.motion import Motion, candidate_path, flight_path, scene_motion
from scenewright_stages.vistadream.params import RenderParams, VistaDreamParams
from scenewright_stages.vistadream.render import frame_count

WIDTH, HEIGHT = 48, 32


def photograph(sky_rows: int = 0) -> Frame:
    depth = np.random.default_rng(0).uniform(2, 5, (HEIGHT, WIDTH)).astype(np.float32)
    everything, far = np.ones((HEIGHT, WIDTH), np.bool_), np.zeros((HEIGHT, WIDTH), np.bool_)
    far[:sky_rows] = True
    camera = Camera.from_field_of_view(WIDTH, HEIGHT, 60.0)
    srgb = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    return Frame("input", srgb, depth, everything, everything, everything, camera, far)


def params(backend: str = "classic", variant: str = "", **trajectory: Any) -> VistaDreamParams:
    depth = {"backend": backend, "variant": variant}
    return VistaDreamParams.model_validate({"mode": "coarse", "depth": depth, "trajectory": trajectory})


def positions(path: Any) -> NDArray[np.float64]:
    return np.stack([invert_rigid(pose)[:3, 3] for pose in path.camera_from_world])


@pytest.mark.parametrize(
    ("block", "sky_rows", "expected"),
    [
        (params(), 10, Motion("small", 0.18, 0.25)),
        (params("depth-anything"), 10, Motion("small", 0.18, 0.25)),
        (params("depth-anything", "metric-outdoor-small"), 10, Motion("outdoor", 0.3, 0.7)),
        (params("depth-anything", "metric-indoor-small"), 10, Motion("indoor", 0.24, 0.45)),
        (params("provided"), 0, Motion("indoor", 0.24, 0.45)),
        (params("moge"), 10, Motion("outdoor", 0.3, 0.7)),
        (params("moge", motionPreset="small"), 10, Motion("small", 0.18, 0.25)),
        (params(motionPreset="original"), 0, Motion("original", 0.3, 0.4)),
        (params("moge", backwardRatio=0.1), 0, Motion("", 0.24, 0.1)),
    ],
)
def test_the_motion_is_the_users_or_what_depth_and_scene_bear(
    block: VistaDreamParams, sky_rows: int, expected: Motion
) -> None:
    assert scene_motion(photograph(sky_rows), block) == expected


def test_original_is_vistadreams_formula() -> None:
    """Written down from VistaDream's description, point by point: angles by frame, reversed at the end."""
    frame, count = photograph(), 41
    x, y = (np.arange(WIDTH) + 0.5 - WIDTH / 2), (np.arange(HEIGHT) + 0.5 - HEIGHT / 2)
    rays = np.stack([*np.meshgrid(x, y), np.full((HEIGHT, WIDTH), frame.camera.focal[0])], axis=-1)
    points = (rays / frame.camera.focal[0] * frame.depth[..., None]).reshape(-1, 3)
    radius = np.mean(np.percentile(points, 50, axis=0) - np.percentile(points, 5, axis=0))
    expected = []
    for number in range(count):
        t = number / (count - 1)
        r = 0.3 * radius * np.sin(2 * np.pi * t)
        angle = 2 * np.pi * t * count
        z = -r * (0.3 if r > 0 else 0.4)
        expected.append((r * np.cos(angle), 0.3 * r * np.sin(angle), z))
    path = candidate_path([frame], params(motionPreset="original"), count)
    np.testing.assert_allclose(positions(path), expected[::-1], atol=1e-9)
    assert path.radius == pytest.approx(radius)
    for pose in path.camera_from_world:
        check_rigid(pose)
        np.testing.assert_allclose((pose[:3, :3] @ (0, 0, radius / 2) + pose[:3, 3])[:2], 0, atol=1e-9)
    ours = positions(candidate_path([frame], params(forwardRatio=0.3, backwardRatio=0.4), count))
    assert np.abs(ours - positions(path)).max() > 0.1


def test_far_points_do_not_size_the_path() -> None:
    frame = photograph(sky_rows=10)
    skies = [replace(frame, depth=np.where(frame.far, np.float32(metres), frame.depth)) for metres in (10, 1000)]
    first, second = (candidate_path([sky], params(), 9) for sky in skies)
    assert first.radius == second.radius
    np.testing.assert_array_equal(first.camera_from_world, second.camera_from_world)
    counted = [replace(sky, far=np.zeros_like(sky.far)) for sky in skies]
    assert candidate_path([counted[1]], params(), 9).radius > 50 * first.radius


def test_every_path_begins_at_the_photograph_and_has_its_own_shape() -> None:
    frame = photograph()
    at = {name: positions(candidate_path([frame], params(type=name), 33)) for name in ("orbit", "dolly", "wobble")}
    turned = candidate_path([frame], params(type="rotate", turnDegrees=20.0), 33)
    for path in (*at.values(), positions(turned)):
        np.testing.assert_allclose(path[[0, -1]], 0, atol=1e-12)
    assert np.ptp(at["orbit"][:, 2]) < 1e-12 and np.ptp(at["orbit"][:, 0]) > 0.1
    assert np.abs(at["dolly"][:, :2]).max() < 1e-12 and at["dolly"][:, 2].max() > 0 > at["dolly"][:, 2].min()
    spiral = positions(candidate_path([frame], params(), 33))
    np.testing.assert_allclose(at["wobble"], spiral[::-1] * (1, -1, 1), atol=1e-12)
    assert np.abs(positions(turned)).max() < 1e-12
    angles = np.degrees([np.arctan2(pose[2, 0], pose[2, 2]) for pose in turned.camera_from_world])
    assert (angles.max(), angles.min()) == pytest.approx((20.0, -20.0), abs=0.1)


def test_an_interpolated_flight_visits_the_added_views_smoothly() -> None:
    frame = photograph()
    places = [(0.3, 0.0, 0.1), (-0.3, 0.05, 0.0), (0.0, -0.1, -0.2)]
    added = [
        replace(frame, kind="coarse", camera=frame.camera.with_pose(rigid(np.eye(3), tuple(-np.array(place)))))
        for place in places
    ]
    path = positions(flight_path([frame, *added], params(type="interpolate"), 400))
    for place in [(0, 0, 0), *places]:
        assert np.linalg.norm(path - place, axis=1).min() < 0.01
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert steps.max() < 4 * np.median(steps)
    np.testing.assert_allclose(path[[0, -1]], 0, atol=1e-9)
    alone = flight_path([frame, added[0]], params(type="interpolate"), 9)
    np.testing.assert_array_equal(alone.camera_from_world, candidate_path([frame], params(), 9).camera_from_world)


def test_a_scene_of_two_views_gets_a_whole_video() -> None:
    assert [frame_count(views, RenderParams()) for views in (1, 2, 3, 9)] == [150, 150, 75, 150]
