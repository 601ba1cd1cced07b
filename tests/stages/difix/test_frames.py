"""A capture is worked on in a frame of its own, wherever and however large the world is in which it came."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from capture_folders import room_views, write_colmap
from input_folders import FolderView
from numpy.typing import NDArray
from synthetic.world import box_room

from scenewright_stages.captures import TrainingParams
from scenewright_stages.reconstruct.views import roles_of
from scenewright_stages.scenes.captures import start_of, training_settings, views_of
from scenewright_stages.scenes.placing import COSTLY_PIXELS, placed, rounding_pixels, unmoved
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import train
from scenewright_stages.vision.geometry.cameras import rotation_from_quaternion
from scenewright_stages.vision.places.captures.capture import Capture
from scenewright_stages.vision.places.captures.colmap import read_colmap
from scenewright_stages.vision.places.captures.finding import list_captures, read_capture
from scenewright_stages.vision.places.captures.frame import WORLD, Frame, canonical_frame, working_frame
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs, load_photographs

BEACH = Path(__file__).parents[3] / "examples" / "inputs" / "brighton-beach"
CASES = 40


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colmap(tmp_path_factory.mktemp("frames") / "room", room_views(box_room(0), 12, (48, 36)))


@pytest.fixture(scope="module")
def captures(room: Path) -> list[Capture]:
    """A room with exact poses, and aerial photographs with estimated ones, as their files hold them."""
    found = []
    for folder, binary in ((room, False), (BEACH, True)):
        keys = FolderView(folder).keys
        found.append(read_colmap("sparse/0", binary, lambda key, folder=folder: (folder / key).read_bytes(), keys))
    return found


def similarity(number: int, capture: Capture) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, rotation and offset: from 1e-5 to 1e6, any, and up to 1e7 spreads."""
    random = np.random.default_rng([number, 5])
    scale = float(10 ** random.uniform(-5, 6))
    centres = np.stack([shot.pinhole().position for shot in capture.shots])
    spread = float(np.median(np.linalg.norm(centres - centres.mean(axis=0), axis=1)))
    direction = random.normal(size=3)
    offset = direction / np.linalg.norm(direction) * scale * spread * 10 ** random.uniform(-1, 7)
    return scale, rotation_from_quaternion(random.normal(size=4)), offset


def transformed(capture: Capture, scale: float, turn: NDArray[np.float64], offset: NDArray[np.float64]) -> Capture:
    """The same photographs in another world: ``new = scale * turn @ old + offset``."""
    shots = []
    for shot in capture.shots:
        pose = shot.camera_from_world.copy()
        pose[:3, :3] = pose[:3, :3] @ turn.T
        pose[:3, 3] = scale * pose[:3, 3] - pose[:3, :3] @ offset
        shots.append(replace(shot, camera_from_world=pose))
    return replace(capture, shots=tuple(shots), points=scale * capture.points @ turn.T + offset)


def normalised(capture: Capture) -> Capture:
    return capture.in_frame(canonical_frame([shot.camera_from_world for shot in capture.shots], capture.points))


def geometry(capture: Capture) -> NDArray[np.float64]:
    """Camera centres and points."""
    return np.concatenate([[shot.pinhole().position for shot in capture.shots], capture.points])


@pytest.mark.parametrize("number", range(CASES))
def test_any_similarity_gives_the_same_cameras_and_points(captures: list[Capture], number: int) -> None:
    capture = captures[number % 2]
    scale, turn, offset = similarity(number, capture)
    other = transformed(capture, scale, turn, offset)
    own, found = normalised(capture), normalised(other)
    assert np.abs(geometry(found) - geometry(own)).max() < 1e-6
    for first, second in zip(own.shots, found.shots, strict=True):
        np.testing.assert_allclose(second.camera_from_world[:3, :3], first.camera_from_world[:3, :3], atol=1e-9)


def test_single_precision_before_centring_would_lose(captures: list[Capture]) -> None:
    """The baseline: what the same property says of float32 coordinates of the world."""
    lost = 0
    for number in range(CASES):
        capture = captures[number % 2]
        scale, turn, offset = similarity(number, capture)
        rounded = (scale * capture.points @ turn.T + offset).astype(np.float32).astype(np.float64)
        own = normalised(capture)
        error = np.abs(own.frame.points_inside((rounded - offset) / scale @ turn) - own.points).max()
        lost += bool(error > 1e-6)
    assert lost > CASES / 2


def test_a_frame_that_serves_stays_what_it_is(captures: list[Capture]) -> None:
    for capture in captures:
        poses = [shot.camera_from_world for shot in capture.shots]
        assert working_frame(poses, capture.points) is WORLD
        tiny = transformed(capture, 1e-3, np.eye(3), np.zeros(3))
        on_a_map = transformed(capture, 1, np.eye(3), np.array([5e5, 5e6, 300]))
        for far in (tiny, on_a_map):
            assert working_frame([shot.camera_from_world for shot in far.shots], far.points) is not WORLD


def test_one_stray_camera_moves_nothing(captures: list[Capture]) -> None:
    capture = captures[0]
    poses = [shot.camera_from_world for shot in capture.shots]
    stray = poses[0].copy()
    stray[:3, 3] += 1e6
    frame, other = canonical_frame(poses[1:], capture.points), canonical_frame([stray, *poses[1:]], capture.points)
    np.testing.assert_allclose(other.origin, frame.origin, atol=1e-9)
    assert other.unit == pytest.approx(frame.unit)


def test_a_camera_sees_the_same_from_any_frame(captures: list[Capture]) -> None:
    shot = captures[0].shots[0]
    turn = rotation_from_quaternion([1.0, 0.2, -0.4, 0.3])
    first, second = Frame(np.array([1.0, 2, 3]), 0.5, turn), Frame(np.array([-4.0, 0, 9]), 20.0, turn @ turn)
    np.testing.assert_allclose(first.matrix() @ first.inverse().matrix(), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(Frame.of(first.matrix()).axes, turn, atol=1e-12)
    camera = shot.pinhole()
    inside = camera.with_pose(first.pose_inside(camera.camera_from_world))
    expected = second.pose_inside(camera.camera_from_world)
    np.testing.assert_allclose(second.camera_from(inside, first).camera_from_world, expected, atol=1e-12)
    assert second.camera_from(inside, second) is inside


def test_the_index_and_the_stage_see_the_same_frame(room: Path, tmp_path: Path) -> None:
    """Distances between photographs are compared in the frame in which they are rounded."""
    scale = 1e-6
    lines = (room / "sparse/0/images.txt").read_text().splitlines()
    folder = tmp_path / "tiny"
    (folder / "sparse/0").mkdir(parents=True)
    shutil.copytree(room / "images", folder / "images")
    for name in ("cameras", "points3D"):
        (folder / f"sparse/0/{name}.txt").write_text((room / f"sparse/0/{name}.txt").read_text())
    small = []
    for line in lines:
        words = line.split()
        if len(words) == 10 and not line.startswith("#"):
            words[5:8] = [repr(scale * float(each)) for each in words[5:8]]
        small.append(" ".join(words))
    (folder / "sparse/0/images.txt").write_text("\n".join(small) + "\n")
    (listed,) = list_captures(FolderView(folder)) or []
    capture = read_capture("sparse/0/images.txt", "", FolderView(folder).keys, lambda key: (folder / key).read_bytes())
    centres = np.array([shot[2:5] for shot in listed.attributes["shots"]])
    np.testing.assert_allclose(centres, [shot.pinhole().position for shot in capture.shots], atol=1e-6)
    assert np.linalg.norm(centres, axis=1).max() > 0.5


# What is published.


def scene_at(points: NDArray[np.float64]) -> GaussianScene:
    count = len(points)
    return GaussianScene.from_points(
        torch.from_numpy(points), torch.full((count, 3), 0.5), torch.full((count,), 0.01, dtype=torch.float64), 0.5
    )


@pytest.mark.parametrize(
    ("scale", "distance", "keeps"), [(1e-3, 0, True), (1.0, 5e6, False), (1e4, 1e5, True), (1e-5, 1e3, False)]
)
def test_a_scene_goes_back_to_its_world_if_single_precision_holds_it(
    room: Path, captures: list[Capture], scale: float, distance: float, keeps: bool
) -> None:
    offset = np.array([distance, 0, distance / 2])
    capture = transformed(captures[0], scale, rotation_from_quaternion([1.0, 0.5, 0.1, 0.3]), offset)
    photographs = load_photographs(normalised(capture), lambda key: room / key, 48)
    scene = scene_at(photographs.points)
    result = placed(scene, photographs)
    assert (result.frame is None) == keeps
    assert bool(result.notes()) == (not keeps)
    assert (rounding_pixels(scene, photographs) > COSTLY_PIXELS) == (not keeps)
    outside = result.scene.means.double().numpy() + (0 if result.frame is None else result.frame.matrix()[:3, 3])
    assert np.abs(outside - capture.points).max() < scale * (2e-3 if keeps else 1e-5) + 1e-9 * distance
    back = unmoved(result.scene, photographs, result.frame is not None)
    assert np.abs(back.means.numpy() - photographs.points).max() < 5e-3
    np.testing.assert_allclose(back.log_scales.numpy(), scene.log_scales.numpy(), atol=1e-4)


def test_a_scene_of_the_worlds_own_frame_is_published_as_it_is(room: Path, captures: list[Capture]) -> None:
    photographs = load_photographs(captures[0], lambda key: room / key, 48)
    scene = scene_at(photographs.points)
    assert placed(scene, photographs).scene is scene
    assert unmoved(scene, photographs, False) is scene


def test_a_frame_survives_storage(room: Path, captures: list[Capture], tmp_path: Path) -> None:
    photographs = load_photographs(normalised(captures[0]), lambda key: room / key, 48).leaving_out([3])
    photographs.save(tmp_path / "a.npz")
    again = PosedPhotographs.load(tmp_path / "a.npz")
    np.testing.assert_allclose(again.frame.matrix(), photographs.frame.matrix(), rtol=1e-14)
    assert again.left_out == (3,)


# Training.


def held_out_psnr(room: Path, capture: Capture) -> float:
    photographs = load_photographs(capture, lambda key: room / key, 48)
    roles = roles_of(len(photographs.photographs), 6, 0)
    params = TrainingParams.model_validate({"steps": 200, "segment": 50, "startPoints": 4000, "maximum": 6000})
    start = start_of(photographs, roles.train, params, 7)
    renderer = renderer_for("auto", "cpu")
    scene = train(start, views_of(photographs, roles.train), training_settings(params), 7, renderer)
    return evaluate(scene, views_of(photographs, roles.held_out), renderer).psnr


@pytest.mark.proof
def test_six_similarities_train_to_the_same_quality(room: Path, captures: list[Capture]) -> None:
    numbers = (0, 2, 4, 6, 8, 10)
    worlds = [transformed(captures[0], *similarity(number, captures[0])) for number in numbers]
    found = [held_out_psnr(room, normalised(each)) for each in worlds]
    plain = []
    for each in worlds[:3]:
        try:
            plain.append(held_out_psnr(room, each))
        except (ValueError, ArithmeticError):
            plain.append(0.0)
    own = held_out_psnr(room, captures[0])
    print(f"own frame {own:.2f} dB, six similarities {np.round(found, 2)}, without a frame {np.round(plain, 2)}")
    assert max(found) - min(found) < 0.2
    assert max(plain) - min(plain) > 1
    # Another frame is another random draw of the training.
    assert max(abs(each - own) for each in found) < 0.5
