"""Memory and free space: holes filled from behind, chosen frames, collisions in metres at every size of a scene."""

from __future__ import annotations

import numpy as np
import pytest

from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.geometry.cameras import Camera, look_at
from scenewright_stages.vision.geometry.points import project, unproject
from scenewright_stages.vision.places.worlds.freespace import FreeSpace
from scenewright_stages.vision.places.worlds.memory import WorldFrame, completed, covisibility, covisible, expand
from scenewright_stages.vision.places.worlds.mesh import Surface, look
from scenewright_stages.vision.places.worlds.motions import target_cameras
from scenewright_stages.vision.places.worlds.panorama import directions
from scenewright_stages.vision.places.worlds.surfels import panorama_surfels

HEIGHT = 128


def box_distance(size: float) -> np.ndarray:
    """Distances in a cube whose walls are `size` metres away."""
    return (size / np.abs(directions(HEIGHT)).max(axis=-1)).astype(np.float32)


def with_pillar() -> Surface:
    """A cube of 2 m with a red pillar before its grey walls, 1 m away."""
    distance, rays = box_distance(2.0), directions(HEIGHT)
    pillar = (np.abs(rays[..., 0] / np.maximum(rays[..., 2], 1e-6)) < 0.2) & (rays[..., 2] > 0)
    srgb = np.where(pillar[..., None], (0.9, 0.1, 0.1), (0.5, 0.5, 0.5)).astype(np.float32)
    near = (1 / np.maximum(rays[..., 2], 1e-6)).astype(np.float32)
    return Surface.of_panorama(srgb, np.where(pillar & (near < distance), near, distance).astype(np.float32))


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_a_path_ends_one_clearance_before_the_wall(size: float) -> None:
    space = FreeSpace(box_distance(size))
    positions = np.linspace(0, 1.5 * size, 151)[:, None] * np.array([0.0, 0.0, 1.0])
    clearance = 0.2 * size
    # The first blocked position is the first nearer than the clearance: 0.8 of the way.
    assert abs(space.steps_until_blocked(positions, clearance) - 81) <= 1


def test_a_free_path_is_not_stopped_and_behind_a_wall_is_not_free() -> None:
    space = FreeSpace(box_distance(2.0))
    ring = np.stack([np.sin(np.arange(20)), np.zeros(20), np.cos(np.arange(20))], axis=1)
    assert space.steps_until_blocked(ring, 0.5) == 20
    assert space.clearances(np.array([[0.0, 0.0, 5.0]]))[0] < 0
    assert space.scale_of(3 * ring, 0.5) < 0.6


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_a_free_path_is_not_stopped_as_by_a_threshold_on_normalised_depth(size: float) -> None:
    """The published program scales inverse depth to 8 bits over each video and stops where the middle exceeds 120."""
    ahead = np.linspace(0, 0.3 * size, 46)
    positions = ahead[:, None] * np.array([0.0, 0.0, 1.0])
    assert FreeSpace(box_distance(size)).steps_until_blocked(positions, 0.2 * size) == 46
    # All of a view of 60 degrees shows the wall ahead.
    inverse = 1 / (size - ahead)
    normalised = (inverse - inverse.min()) / np.ptp(inverse) * 255
    assert int(np.argmax(normalised > 120)) in range(1, 45)


def test_holes_are_filled_from_behind() -> None:
    world = with_pillar()
    camera = Camera.from_field_of_view(96, 96, 60.0, look_at((0.5, 0, 0), (0.0, 0, 2.0)))
    seen = look([world], camera)
    assert seen.hole.mean() > 0.02
    frame = completed(seen, camera)
    filled = frame.srgb[seen.hole] / 255
    # Wall, not pillar.
    assert np.percentile(filled[:, 0] - filled[:, 1], 95) < 0.2
    points = unproject(frame.depth, camera)[seen.hole]
    assert np.percentile(np.abs(points[:, 2] - 2.0), 90) < 0.3


def test_later_frames_see_what_earlier_ones_filled() -> None:
    world = with_pillar()
    cameras = [Camera.from_field_of_view(96, 96, 60.0, look_at((x, 0, 0), (0.0, 0, 2.0))) for x in (0.5, 0.45, 0.48)]
    alone = [completed(look([world], camera), camera) for camera in cameras]
    together = expand(world, [], cameras, 1, 8)
    assert all(frame.filled.any() for frame in alone)
    assert together[2].filled.sum() == alone[2].filled.sum()
    assert together[0].filled.sum() + together[1].filled.sum() < 0.2 * alone[0].filled.sum()


def test_covisible_frames_are_those_of_brute_force() -> None:
    random = np.random.default_rng(0)
    frames = []
    for _ in range(20):
        pose = look_at(random.uniform(-1, 1, 3), random.uniform(-3, 3, 3))
        camera = Camera.from_field_of_view(16, 16, 60.0, pose)
        depth = random.uniform(1, 3, (16, 16)).astype(np.float32)
        frames.append(WorldFrame(camera, np.zeros((16, 16, 3), np.uint8), depth, random.random((16, 16)) < 0.3))
    for _ in range(50):
        pose = look_at(random.uniform(-1, 1, 3), random.uniform(-3, 3, 3))
        camera = Camera.from_field_of_view(16, 16, 60.0, pose)
        counts = []
        for frame in frames:
            points = unproject(frame.depth, frame.camera)[frame.filled]
            pixels, depth = project(points, camera)
            inside = [0 <= x < 16 and 0 <= y < 16 and z > 0 for (x, y), z in zip(pixels, depth, strict=True)]
            away = float(frame.camera.camera_from_world[2, :3] @ camera.camera_from_world[2, :3]) < -0.5
            counts.append(0 if away else sum(inside))
        assert [covisibility(frame, camera) for frame in frames] == counts
        best = sorted(range(20), key=lambda number: -counts[number])[:5]
        expected = [frames[number] for number in sorted(number for number in best if counts[number])]
        assert covisible(frames, camera, 5) == expected


def test_a_panorama_as_gaussians_is_closed() -> None:
    surface = Surface.of_panorama(np.full((HEIGHT, 2 * HEIGHT, 3), 0.5, np.float32), box_distance(2.0))
    scene = panorama_surfels(surface, 0.95)
    cameras = target_cameras(1, "left", (0, 60, 134), 0.6, 64)
    alpha = renderer_for("cpu").render(scene, cameras).alpha
    assert float((alpha < 0.7).float().mean()) < 0.01
