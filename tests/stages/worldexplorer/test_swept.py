"""A start whose depth is wrong is corrected by pictures that agree with each other."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import render
from world_panoramas import room, room_panorama

from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.depth.plane_sweep import Shot
from scenewright_stages.vision.places.worlds.correction import CorrectedStart, corrected_start
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.places.worlds.motions import target_cameras
from scenewright_stages.vision.places.worlds.surfels import panorama_surfels
from scenewright_stages.vision.places.worlds.swept import NEIGHBOURS, chosen_neighbours, swept_pictures

SIZE = 96
VIEWS = (0,)


def path_cameras(targets: tuple[int, ...]) -> list[Camera]:
    return [
        camera
        for view in VIEWS
        for motion in ("in", "right", "left")
        for camera in target_cameras(view, motion, targets, 0.6, SIZE)
    ]


def errors(scene: GaussianScene, camera: Camera) -> tuple[float, float]:
    """Median relative error of the depth that a camera sees, and the PSNR of its picture."""
    seen, truth = renderer_for("cpu").render(scene, [camera]), render(room("box", 1), camera, 2)
    covered = seen.alpha[0].numpy() > 0.5
    mean_square = np.mean((seen.rgb[0].clamp(0, 1).numpy() - truth.srgb) ** 2)
    depth = np.median(np.abs(seen.depth[0].numpy() / truth.depth - 1)[covered])
    return float(depth), float(-10 * np.log10(mean_square))


@pytest.fixture(scope="module")
def corrected() -> tuple[GaussianScene, CorrectedStart]:
    panorama = room_panorama("box", 1, 128)
    assert panorama.distance is not None
    # A guess that takes the whole room for a third too small.
    guess = panorama_surfels(Surface.of_panorama(panorama.srgb, (panorama.distance / 1.5).astype(np.float32)), 0.95)
    cameras = path_cameras((8, 16, 24, 32))
    views = [render(room("box", 1), camera, 2) for camera in cameras]
    shots = [Shot(view.srgb, camera) for view, camera in zip(views, cameras, strict=True)]
    depths = [np.full((SIZE, SIZE), np.median(view.depth) / 1.5, np.float32) for view in views]
    return guess, corrected_start(guess, swept_pictures(shots, depths, references=12), opacity=0.95)


def test_a_wrong_start_is_corrected(corrected: tuple[GaussianScene, CorrectedStart]) -> None:
    guess, found = corrected
    assert found.pictures == 12 and found.added > 1000 and found.removed > 1000
    before, after = (
        np.mean([errors(scene, camera) for camera in path_cameras((20,))], axis=0) for scene in (guess, found.scene)
    )
    print(
        f"depth error {before[0]:.3f} -> {after[0]:.3f}, PSNR {before[1]:.1f} -> {after[1]:.1f} dB; "
        f"{found.added} added, {found.removed} removed"
    )
    assert after[0] < 0.4 * before[0]
    assert after[1] > before[1] + 3


def test_the_added_points_lie_on_the_surfaces(corrected: tuple[GaussianScene, CorrectedStart]) -> None:
    _, found = corrected
    panorama = room_panorama("box", 1, 128)
    assert panorama.distance is not None
    truth = Surface.of_panorama(panorama.srgb, panorama.distance).points.reshape(-1, 3)
    added = found.scene.means.numpy()[-found.added :][::60]
    nearest = np.array([np.linalg.norm(truth - point, axis=1).min() for point in added])
    assert np.percentile(nearest / np.linalg.norm(added, axis=1), 90) < 0.05


def test_neighbours_stand_beside_and_look_the_same_way() -> None:
    cameras = path_cameras((8, 16, 24, 32))
    chosen = chosen_neighbours(1, cameras, 2.0)
    assert len(chosen) == NEIGHBOURS and 1 not in chosen
    for other in chosen:
        assert 0.06 <= np.linalg.norm(cameras[other].position - cameras[1].position) <= 1.0
        assert cameras[other].camera_from_world[2, :3] @ cameras[1].camera_from_world[2, :3] > 0.75
    assert chosen_neighbours(1, cameras[:2], 100.0) == []
