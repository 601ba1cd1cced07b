"""The stage that reads a capture, and how stages make views of its photographs and train on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from scenewright_stages.captures import POSES, ShotFacts, TrainingParams
from scenewright_stages.contract.errors import Abandoned, SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.vision.cameras import Camera, quaternion_from_rotation
from scenewright_stages.vision.captures.camera_files import is_image
from scenewright_stages.vision.captures.capture import CaptureError
from scenewright_stages.vision.captures.colmap import MODEL_FILES
from scenewright_stages.vision.captures.finding import photograph_name, read_capture
from scenewright_stages.vision.captures.pictures import Photograph, PosedPhotographs, load_photographs
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start, start_points
from scenewright_stages.vision.gaussians.training import TrainingSettings, train


class CaptureBlock(Protocol):
    """Parameters of pipelines over captures."""

    @property
    def max_resolution(self) -> int:
        """Longest side of the photographs in pixels."""


class CaptureStage(Stage[Any]):
    """Undistorts and scales the photographs of a capture."""

    def process(self, sample: Sample, inputs: StageInputs[Any]) -> StageResult:
        """Writes ``photographs.npz``."""
        mark, moment, paths = _described(sample, inputs, POSES in self.context.stage.upstream())
        try:
            capture = read_capture(mark, moment, paths, lambda key: paths[key].read_bytes())
            found = load_photographs(capture, lambda key: paths[key], inputs.params.max_resolution)
        except CaptureError as problem:
            raise SampleError(problem.reason, str(problem)) from problem
        path = inputs.workspace / "photographs.npz"
        found.save(path)
        facts = {"photographs": len(found.photographs), "points": len(found.points)}
        return StageResult({"photographs": path}, metrics=facts, warnings=capture.notes)


def _described(sample: Sample, inputs: StageInputs[Any], estimated: bool) -> tuple[str, str, dict[str, Path]]:
    """The file that holds the poses, the moment of fixed cameras, and all files by their path in the capture."""
    paths = {role: inputs.path(INPUT, role) for role in sample.files}
    if estimated:
        pictures = {f"images/{photograph_name(role)}": path for role, path in paths.items() if is_image(role)}
        model = {f"sparse/0/{name}.txt": inputs.path(POSES, name) for name in MODEL_FILES}
        return "sparse/0/images.txt", "", pictures | model
    if not sample.attributes["mark"]:
        raise SampleError("NoPoses", "the photographs come without poses: set poses.source to estimate")
    return str(sample.attributes["mark"]), str(sample.attributes["time"]), paths


def view_of(photograph: Photograph) -> View:
    """The photograph as a fit sees it."""
    return View(photograph.camera, torch.from_numpy(photograph.srgb).float() / 255)


def views_of(photographs: PosedPhotographs, numbers: Iterable[int]) -> list[View]:
    """Some of the photographs as views."""
    return [view_of(photographs.photographs[number]) for number in numbers]


def start_of(photographs: PosedPhotographs, numbers: Sequence[int], params: TrainingParams, seed: int) -> Start:
    """Where Gaussians begin, seen from the training views alone."""
    chosen = [photographs.photographs[number] for number in numbers]
    return start_points(
        photographs.points,
        photographs.colours,
        [each.camera for each in chosen],
        [each.srgb for each in chosen],
        seed,
        params.start_points,
    )


def training_settings(params: TrainingParams, share: float = 1.0) -> TrainingSettings:
    """The settings of a training that ends after a share of its steps."""
    steps = max(1, round(params.steps * share))
    return TrainingSettings(
        steps=steps,
        segment=min(params.segment, steps),
        maximum=params.maximum,
        harmonics_degree=params.harmonics_degree,
        growth=params.growth,
        exploration=params.exploration,
    )


def train_resumably(
    start: Start | GaussianScene,
    views: Sequence[View],
    settings: TrainingSettings,
    renderer: Renderer,
    context: StageContext[Any],
    inputs: StageInputs[Any],
) -> GaussianScene:
    """The trained scene; a process that is ended continues at the last segment, whose state the stage keeps.

    Raises:
        Abandoned: the process was asked to stop; the state is saved.
    """
    state = inputs.state
    assert state is not None

    def keep(steps: int, scene: GaussianScene, loss: float) -> None:
        path = inputs.workspace / "state.npz"
        scene.to("cpu").save_npz(path)
        state.save(steps, {path.name: path})
        context.numbers({"loss": loss, "gaussians": float(len(scene))})
        context.progress(steps / settings.steps, f"step {steps}")
        if context.should_stop():
            raise Abandoned

    begun = GaussianScene.load_npz(state.files["state.npz"]) if state.step else start
    return train(begun, views, settings, inputs.seed, renderer, done=state.step, on_segment=keep)


def shots_facts(photographs: PosedPhotographs) -> list[ShotFacts]:
    """What the index knows of the photographs."""
    return [shot_facts(each.camera, each.name, each.number) for each in photographs.photographs]


def shot_facts(camera: Camera, name: str = "", number: int = 0) -> ShotFacts:
    """What the index knows of a photograph from a camera."""
    pose = camera.world_from_camera
    centre, rotation = map(tuple, (pose[:3, 3].tolist(), quaternion_from_rotation(pose[:3, :3]).tolist()))
    return ShotFacts(name, number, centre, rotation)
