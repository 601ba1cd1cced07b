"""Cameras of another world are brought into ours, although some of them are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scenewright_stages.vision.geometry.cameras import Camera, invert_rigid, rigid
from scenewright_stages.vision.places.worlds.motions import MOTIONS, TARGETS, target_cameras
from scenewright_stages.worldexplorer.similarity import Similarity, align_cameras

CAMERAS = [
    camera
    for view in range(8)
    for motion in MOTIONS
    for camera in target_cameras(view, motion, tuple(TARGETS[motion] * n // 4 - 1 for n in (1, 2, 3, 4)), 0.6, 64)
]


def posed(rotation: np.ndarray, position: np.ndarray) -> Camera:
    return CAMERAS[0].with_pose(invert_rigid(rigid(rotation, position)))


def disturbed(seed: int) -> tuple[list[Camera], Similarity]:
    """The cameras in another world, with noise of half a per cent and half a degree; one in twenty is wrong."""
    draws = np.random.default_rng(seed)
    truth = Similarity(float(np.exp(draws.normal())), Rotation.random(rng=draws).as_matrix(), draws.normal(size=3) * 3)
    positions = np.stack([camera.position for camera in CAMERAS])
    diagonal = float(np.linalg.norm(np.ptp(positions, axis=0)))
    wrong = draws.permutation(len(CAMERAS)) < len(CAMERAS) / 20
    found = []
    for camera, bad in zip(CAMERAS, wrong, strict=True):
        position = camera.position + draws.normal(size=3) * 0.005 * diagonal
        turn = Rotation.from_rotvec(draws.normal(size=3) * np.radians(0.5)).as_matrix()
        rotation = turn @ camera.world_from_camera[:3, :3]
        if bad:
            position = camera.position + draws.normal(size=3) * diagonal
            rotation = Rotation.random(rng=draws).as_matrix()
        moved = truth.rotation.T @ (position - truth.translation) / truth.scale
        found.append(posed(truth.rotation.T @ rotation, moved))
    return found, truth


def by_one_camera(source: list[Camera]) -> Similarity:
    """What the published program does: the first camera's pose, and the ratio of the diagonals of all positions."""
    sides = [np.linalg.norm(np.ptp([each.position for each in some], axis=0)) for some in (CAMERAS, source)]
    scale = float(sides[0] / sides[1])
    first, other = CAMERAS[0].world_from_camera, source[0].world_from_camera
    rotation = first[:3, :3] @ other[:3, :3].T
    return Similarity(scale, rotation, first[:3, 3] - scale * rotation @ other[:3, 3])


def errors(found: Similarity, truth: Similarity) -> tuple[float, float]:
    """Relative error of the scale, and degrees of rotation."""
    turn = Rotation.from_matrix(found.rotation @ truth.rotation.T).magnitude()
    return abs(found.scale / truth.scale - 1), float(np.degrees(turn))


def test_wrong_cameras_and_noise_hardly_matter() -> None:
    ours, published = [], []
    for seed in range(25):
        source, truth = disturbed(seed)
        ours.append(errors(align_cameras(source, CAMERAS).similarity, truth))
        published.append(errors(by_one_camera(source), truth))
    assert np.max(ours, axis=0)[0] < 0.005
    assert np.max(ours, axis=0)[1] < 0.2
    assert (np.median(published, axis=0) > 5 * np.median(ours, axis=0)).all()


def test_exact_cameras_give_the_exact_similarity() -> None:
    truth = Similarity(2.5, Rotation.from_euler("xyz", (20, -70, 130), degrees=True).as_matrix(), np.array([1, 2, 3.0]))
    aligned = align_cameras(CAMERAS, [truth.camera(camera) for camera in CAMERAS])
    assert errors(aligned.similarity, truth) == pytest.approx((0, 0), abs=1e-5)
    np.testing.assert_allclose(aligned.similarity.translation, truth.translation, atol=1e-9)
    assert aligned.inliers.all() and aligned.position_errors.max() < 1e-9


def test_the_errors_tell_which_cameras_are_wrong() -> None:
    source = [*CAMERAS]
    source[5] = posed(np.eye(3), np.array([4.0, 0, 0]))
    aligned = align_cameras(source, CAMERAS)
    assert np.flatnonzero(~aligned.inliers).tolist() == [5]
    assert aligned.position_errors.argmax() == 5 and aligned.position_errors[5] > 1


def test_cameras_on_one_line_are_aligned_by_their_orientations() -> None:
    line = target_cameras(0, "in", tuple(range(0, 45, 4)), 0.6, 64)
    truth = Similarity(0.5, Rotation.from_euler("z", 40, degrees=True).as_matrix(), np.zeros(3))
    aligned = align_cameras(line, [truth.camera(camera) for camera in line])
    assert errors(aligned.similarity, truth) == pytest.approx((0, 0), abs=1e-5)


def test_cameras_without_a_distance_are_refused() -> None:
    with pytest.raises(ValueError, match="no scale"):
        align_cameras(CAMERAS[:1] * 4, CAMERAS[:1] * 4)
    with pytest.raises(ValueError, match="at least three"):
        align_cameras(CAMERAS[:2], CAMERAS[:2])
