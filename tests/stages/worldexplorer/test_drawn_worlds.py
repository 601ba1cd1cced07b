"""Worlds that SEVA draws, from end to end with few random weights, and how pictures are handed to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_seva import LICENCES, save_tiny_seva
from world_chain import TINY, Chain
from world_panoramas import room_panorama

from scenewright_stages.backends.novel_views.interface import PathTask, Progress, ViewGenerator, ignore
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.worlds.memory import WorldFrame
from scenewright_stages.vision.places.worlds.motions import target_cameras, targets_of, view_camera
from scenewright_stages.vision.places.worlds.panorama import cut_view
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.worldexplorer.drawing import drawn_path, drawn_turn
from scenewright_stages.worldexplorer.params import ExpansionParams, ScaffoldParams, WorldExplorerParams
from scenewright_stages.worldexplorer.photograph import Photograph
from scenewright_stages.worldexplorer.pipeline import stages

BEHIND = view_camera(4, 64).camera_from_world
SEVA = {"steps": 1, "size": 64, "precision": "fp32"}


class Recorder:
    """A generator that draws the panorama of a room, and keeps what it was asked."""

    record = BackendRecord("novel-views", "recorder", "model")

    def __init__(self, panorama: Float32Array) -> None:
        self.panorama = panorama
        self.tasks: list[PathTask] = []

    def draw(self, task: PathTask, progress: Progress = ignore) -> list[Float32Array]:
        self.tasks.append(task)
        return [cut_view(self.panorama, camera) for camera in task.targets]

    def anchors_of(self, targets: int, inputs: int) -> Sequence[int]:
        return tuple(range(0, targets, 2))

    def release(self) -> None:
        """Nothing is held."""


@pytest.fixture(scope="module")
def drawn_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("drawn")
    photograph = cut_view(room_panorama("box", 0).srgb, Camera.from_field_of_view(96, 72, 60.0))
    source = folder / "photograph.png"
    cv2.imwrite(str(source), (photograph[..., ::-1] * 255).round().astype(np.uint8))
    block = {
        **TINY,
        "scaffold": {**TINY["scaffold"], "method": "singleImage", "backend": "seva", "turnFrames": 8, "seva": SEVA},
        "expansion": {**TINY["expansion"], "backend": "seva", "motions": ["in", "left"], "seva": SEVA},
    }
    models = ModelSettings(save_tiny_seva(folder / "cache"), "cpu", LICENCES)
    return Chain(folder / "work", block, {"source": source}, models).run(until="points")


@pytest.mark.slow
def test_a_drawn_world_is_complete(drawn_chain: Chain) -> None:
    for stage in ("scaffold", "expand-in", "expand-left"):
        (use,) = next(made for (name, _), made in drawn_chain.made.items() if name == stage).backends
        assert (use.capability, use.backend) == ("novel-views", "seva")
        assert "stabilityai/stable-virtual-camera" in use.model and "stabilityai-ai-non-commercial" in use.licence
    assert drawn_chain.made["points", "world"].metrics["pictures"] > 8 + 8 + 8
    assert (Path(str(drawn_chain.files["points", "world"]["capture"])) / "points.ply").stat().st_size > 500


def test_the_photograph_stays_in_the_first_view(drawn_chain: Chain) -> None:
    made = drawn_chain.made["scaffold", "world"]
    views = made.outputs["views"]
    assert isinstance(views, list)
    expected = cut_view(room_panorama("box", 0).srgb, view_camera(0, 64)) * 255
    difference = np.abs(views[0].values.astype(float) - expected).mean(axis=-1)
    # A photograph of 4:3 fills three quarters of the square.
    assert np.median(difference[10:54]) < 2 and np.median(difference[:6]) > 10
    assert "generative" in made.warnings[0]
    assert made.metrics["mirrored"] == 0 and 0.02 < made.metrics["photographed"] < 0.06


def test_the_turn_shows_every_eighth_part_of_a_circle() -> None:
    generator = Recorder(room_panorama("box", 0).srgb)
    block = ScaffoldParams.model_validate({"method": "singleImage", "backend": "seva", "turnFrames": 16, "size": 96})
    camera = view_camera(0, block.seva.size)
    photograph = Photograph(cut_view(generator.panorama, camera), 60.0)
    views = drawn_turn(generator, [photograph], block, 3, ignore)
    (task,) = generator.tasks
    assert len(task.targets) == 15 and task.seed == 3
    np.testing.assert_allclose(task.targets[3].camera_from_world, view_camera(2, 96).camera_from_world, atol=1e-9)
    for view, srgb in enumerate(views):
        assert srgb.shape == (96, 96, 3)
        expected = cut_view(generator.panorama, view_camera(view, 96))
        assert np.abs(srgb - expected).mean() < 0.01, view


def test_two_photographs_look_ahead_and_behind() -> None:
    generator = Recorder(room_panorama("box", 0).srgb)
    block = ScaffoldParams.model_validate({"method": "twoImages", "backend": "seva", "turnFrames": 16, "size": 64})
    pictures = [
        Photograph(cut_view(generator.panorama, view_camera(0, 96)), 60.0),
        Photograph(cut_view(generator.panorama, Camera.from_field_of_view(96, 72, 60.0, BEHIND)), 60.0, view=4),
    ]
    views = drawn_turn(generator, pictures, block, 3, ignore)
    (task,) = generator.tasks
    # The first fills its view; the second leaves a border above and below, so that its view is drawn too.
    assert len(task.targets) == 15
    np.testing.assert_allclose(task.inputs[1].camera.camera_from_world, BEHIND, atol=1e-9)
    for view, srgb in enumerate(views):
        expected = cut_view(generator.panorama, view_camera(view, 64))
        assert np.abs(srgb - expected).mean() < 0.015, view
    shown = pictures[1].shown(64)
    assert shown[:, :8].any() and shown[:, -8:].any() and not shown[:, 32:96].any()


@pytest.mark.parametrize(
    ("size", "degrees", "field_of_view"), [((96, 72), 60.0, 46.83), ((72, 96), 50.0, 50.0), ((120, 90), 100.0, 60.0)]
)
def test_a_photograph_is_cropped_to_a_square_and_never_widened(
    size: tuple[int, int], degrees: float, field_of_view: float
) -> None:
    panorama = room_panorama("box", 0).srgb
    picture = Photograph(cut_view(panorama, Camera.from_field_of_view(*size, degrees)), degrees).square(64)
    assert picture.camera.field_of_view == pytest.approx((field_of_view, field_of_view), abs=0.01)
    np.testing.assert_allclose(picture.srgb, cut_view(panorama, picture.camera), atol=0.25)
    assert np.abs(picture.srgb - cut_view(panorama, picture.camera)).mean() < 0.02


def test_a_path_is_drawn_from_views_and_from_anchors_that_do_not_look_away(tmp_path: Path) -> None:
    generator = Recorder(room_panorama("box", 0).srgb)
    views = []
    for view in range(8):
        views.append(tmp_path / f"{view}.png")
        srgb = cut_view(generator.panorama, view_camera(view, 64))
        cv2.imwrite(str(views[-1]), (srgb[..., ::-1] * 255).round().astype(np.uint8))
    block = ExpansionParams.model_validate({"backend": "seva", "resolution": 48, "scale": "outdoor", "seva": SEVA})
    memory = [(view, frames_of(view, 8)) for view in (1, 4, 6)]
    drawn = drawn_path(generator, views, memory, frames_of(2, 3), 2, block, 5, ignore)
    (task,) = generator.tasks
    assert len(task.inputs) == 8 and len(task.targets) == 3
    # Four anchors of each path, without the first two; views 5, 6 and 7 look away from view 2.
    assert list(task.usable) == [True, True, True, True, False, False]
    assert task.memory[1].camera.position == pytest.approx(memory[0][1][6].camera.position)
    assert task.settings.translation_scale == pytest.approx(10 / 1.5)
    assert all(frame.srgb.shape == (48, 48, 3) and frame.srgb.dtype == np.uint8 for frame in drawn)
    assert np.abs(drawn[0].srgb / 255 - cut_view(generator.panorama, drawn[0].camera)).mean() < 0.02


def frames_of(view: int, count: int) -> list[WorldFrame]:
    """Grey frames along a path."""
    nothing = np.zeros((48, 48), np.bool_)
    grey, depth = np.full((48, 48, 3), 128, np.uint8), np.ones((48, 48), np.float32)
    cameras = target_cameras(view, "left", targets_of("left", 1)[:count], 1.0, 48)
    return [WorldFrame(camera, grey, depth, nothing) for camera in cameras]


@pytest.mark.parametrize(
    ("block", "on_gpu"),
    [
        ({}, set()),
        ({"expansion": {"backend": "seva", "motions": ["in"]}}, {"expand-in"}),
        ({"scaffold": {"method": "singleImage", "backend": "seva"}}, {"scaffold"}),
        ({"scaffold": {"method": "panorama", "backend": "seva"}}, set()),
        ({"scaffold": {"method": "singleImageHybrid", "backend": "seva"}}, {"candidates"}),
        ({"scaffold": {"method": "scaffoldGen"}}, {"candidates"}),
    ],
)
def test_only_drawing_stages_ask_for_a_gpu(block: dict[str, Any], on_gpu: set[str]) -> None:
    chain = stages(WorldExplorerParams.model_validate(block))
    assert {stage.name for stage in chain if stage.pod.gpus} == on_gpu
    # Ratings are CLIP's, which is quick enough without one.
    assert {
        stage.name for stage in chain if stage.models.backends and "similarity" not in stage.models.backends
    } == on_gpu


def test_the_recorder_is_a_generator() -> None:
    assert isinstance(Recorder(np.zeros((4, 8, 3), np.float32)), ViewGenerator)
