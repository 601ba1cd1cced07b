"""Starts that triangulated points, or a model with a world of its own, correct; and worlds that must fail instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic import render
from synthetic.rendering import SyntheticView
from synthetic.world import finer
from world_panoramas import room, room_panorama

from scenewright_stages.backends.geometry.interface import ViewGeometry
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, invert_rigid, rigid
from scenewright_stages.vision.geometry.points import project, sample_nearest
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.estimation import EstimationSettings
from scenewright_stages.vision.places.captures.triangulation import triangulate
from scenewright_stages.vision.places.worlds.memory import WorldFrame
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.places.worlds.motions import target_cameras
from scenewright_stages.vision.places.worlds.surfels import panorama_surfels
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.worldexplorer.measuring import estimated_pictures, measured_start
from scenewright_stages.worldexplorer.params import PointsParams
from scenewright_stages.worldexplorer.similarity import Similarity

SIZE = 96
WRONG = 3
ELSEWHERE = Similarity(
    2.7, Rotation.from_euler("xyz", (20, -70, 130), degrees=True).as_matrix(), np.array([4, -1, 2.0])
)
VGGT = PointsParams(method="vggt")


def path_cameras(targets: tuple[int, ...], size: int) -> list[Camera]:
    return [camera for motion in ("in", "right", "left") for camera in target_cameras(0, motion, targets, 0.6, size)]


def frame_of(view: SyntheticView) -> WorldFrame:
    shape = view.depth.shape
    srgb = (view.srgb * 255).round().astype(np.uint8)
    return WorldFrame(view.camera, srgb, view.depth.astype(np.float32), np.zeros(shape, np.bool_))


@pytest.fixture(scope="module")
def frames() -> list[WorldFrame]:
    return [frame_of(render(room("box", 1), camera, 1)) for camera in path_cameras((8, 16, 24, 32), SIZE)]


@pytest.fixture(scope="module")
def guess() -> GaussianScene:
    """A start that takes the whole room for a third too small."""
    panorama = room_panorama("box", 1, 128)
    assert panorama.distance is not None
    return panorama_surfels(Surface.of_panorama(panorama.srgb, (panorama.distance / 1.5).astype(np.float32)), 0.95)


class Oracle:
    """Knows the truth, in a world of its own, at another size; one camera is wrong, and poses carry a little noise.

    Args:
        frames: the truth.
        noise: of positions, relative to the size of a path.
    """

    record = BackendRecord("geometry", "oracle", "model")

    def __init__(self, frames: Sequence[WorldFrame], noise: float = 0.002) -> None:
        self.frames, self.noise = frames, noise

    def estimate(self, pictures: Sequence[Float32Array]) -> list[ViewGeometry]:
        draws = np.random.default_rng(0)
        size = (SIZE * 3 // 4, SIZE * 3 // 4)
        found = []
        for number, frame in enumerate(self.frames[: len(pictures)]):
            pose = frame.camera.world_from_camera
            moved = pose[:3, 3] + draws.normal(size=3) * self.noise + (number == WRONG) * np.array([0.5, 0.2, 0.0])
            camera = frame.camera.with_pose(invert_rigid(rigid(pose[:3, :3], moved)))
            depth = cv2.resize(frame.depth * ELSEWHERE.scale, size, interpolation=cv2.INTER_NEAREST)
            confidence = np.full(depth.shape, 1.0 if number == WRONG else 5.0, np.float32)
            found.append(ViewGeometry(ELSEWHERE.camera(camera).scaled(*size), depth, confidence))
        return found

    def release(self) -> None:
        """Nothing is held."""


def depth_error(scene: GaussianScene, camera: Camera) -> float:
    """Median relative error of the depth that a camera sees."""
    seen, truth = renderer_for("cpu").render(scene, [camera]), render(room("box", 1), camera, 1)
    covered = seen.alpha[0].numpy() > 0.5
    return float(np.median(np.abs(seen.depth[0].numpy() / truth.depth - 1)[covered]))


def test_a_model_with_a_world_of_its_own_corrects_the_start(
    frames: list[WorldFrame], guess: GaussianScene, tmp_path: Path
) -> None:
    scene, facts = measured_start(guess, frames, VGGT, 0.95, Oracle(frames), tmp_path / "x", lambda share, said: None)
    camera = path_cameras((20,), SIZE)[0]
    before, after = depth_error(guess, camera), depth_error(scene, camera)
    print(f"depth error {before:.3f} -> {after:.3f}; {facts}")
    assert before > 0.25 and after < 0.02
    assert facts["alignment_scale"] == pytest.approx(1 / ELSEWHERE.scale, rel=0.005)
    assert facts["alignment_error"] < 0.05 and facts["alignment_error_worst"] > 0.5
    assert facts["cameras_left_out"] >= 1 and facts["estimated_pictures"] == len(frames)
    assert facts["added"] > 1000 and facts["removed"] > 1000


def test_aligned_depth_lies_where_the_truth_does(frames: list[WorldFrame]) -> None:
    measured, _ = estimated_pictures(Oracle(frames, noise=0.0), frames, VGGT)
    for number, (each, frame) in enumerate(zip(measured, frames, strict=True)):
        if number != WRONG:
            np.testing.assert_allclose(each.shot.camera.position, frame.camera.position, atol=1e-6)
            np.testing.assert_allclose(each.shot.camera.intrinsics, frame.camera.intrinsics, rtol=1e-9)
            known = each.depth > 0
            assert known.all() and np.median(np.abs(each.depth / frame.depth - 1)) < 0.02


def test_cameras_that_do_not_fit_fail_the_world(frames: list[WorldFrame]) -> None:
    with pytest.raises(SampleError, match=r"of their spread in the median.*points\.alignmentLimit \(0\.1\)") as caught:
        estimated_pictures(Oracle(frames, noise=0.5), frames, VGGT)
    assert caught.value.reason == "NotAligned"
    # The same answer passes where the user allows it.
    estimated_pictures(Oracle(frames, noise=0.5), frames, VGGT.model_copy(update={"alignment_limit": 1.0}))
    still = [replace(frame, camera=frames[0].camera) for frame in frames]
    with pytest.raises(SampleError, match="there is no scale"):
        estimated_pictures(Oracle(still, noise=0.0), still, VGGT)


@pytest.fixture(scope="module")
def detailed() -> list[WorldFrame]:
    """Pictures of a room with fine patterns."""
    return [frame_of(render(finer(room("box", 1), 5), camera, 1)) for camera in path_cameras((8, 32), 200)]


def test_triangulated_points_correct_the_start(
    detailed: list[WorldFrame], guess: GaussianScene, tmp_path: Path
) -> None:
    block = PointsParams(method="pycolmap")
    found = [
        measured_start(guess, detailed, block, 0.95, None, tmp_path / "w", lambda share, said: None) for _ in range(2)
    ]
    (scene, facts), (again, _) = found
    added = scene.means.numpy()[-facts["added"] :].astype(np.float64)
    errors = []
    for frame in detailed:
        pixels, z = project(added, frame.camera)
        with np.errstate(invalid="ignore"):
            errors.append(np.where(z > 0, np.abs(z / sample_nearest(frame.depth, pixels) - 1), np.nan))
    # A point that another thing hides in one picture is right in the one that sees it.
    error = np.nanmin(np.stack(errors), axis=0)
    print(f"{facts}; median error {np.median(error):.4f}, 90th percentile {np.percentile(error, 90):.4f}")
    assert facts["added"] >= 100 and facts["removed"] > 500
    assert np.median(error) < 0.01 and np.percentile(error, 90) < 0.05
    assert scene.means.numpy().tobytes() == again.means.numpy().tobytes()
    assert not (tmp_path / "w").exists()


def test_pictures_that_agree_on_nothing_fail_the_world(guess: GaussianScene, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    cameras = path_cameras((8, 32), 64)
    pictures = [draws.integers(0, 256, (64, 64, 3), np.uint8) for _ in cameras]
    with pytest.raises(CaptureError, match="at least 100"):
        triangulate(pictures, cameras, tmp_path / "w", EstimationSettings(500, 640), lambda share, said: None)
    frames = [
        WorldFrame(camera, picture, np.ones((64, 64), np.float32), np.zeros((64, 64), np.bool_))
        for camera, picture in zip(cameras, pictures, strict=True)
    ]
    with pytest.raises(SampleError, match=r"points\.method scaffold") as caught:
        measured_start(
            guess, frames, PointsParams(method="pycolmap"), 0.9, None, tmp_path / "v", lambda share, said: None
        )
    assert caught.value.reason == "TooFewPoints"
