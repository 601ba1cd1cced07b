"""Trains the scene on the capture of a world: what the paths show, whole paths left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewright_stages.contract.errors import Abandoned
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.captures import training_settings
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.cameras import Camera, intrinsics_matrix, invert_rigid, world_from_camera_opencv
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings, train
from scenewright_stages.worldexplorer.params import WorldExplorerParams


@dataclass(frozen=True)
class WorldTraining(TrainingSettings):
    """A world begins closed and in place: its surfaces must not wear thin, and hardly move."""

    def optimisation(self, number: int, extent: float) -> OptimisationSettings:
        """Settings of a segment."""
        plain = super().optimisation(number, extent)
        return replace(plain, coverage_weight=0.1, means_rate=0.2 * plain.means_rate, log_scales_rate=2e-3)


class TrainStage(Stage[WorldExplorerParams]):
    """Trains the scene."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes the scene; a process that is ended continues at the last segment."""
        state, params = inputs.state, inputs.params.training
        assert state is not None
        settings = WorldTraining(**vars(training_settings(params)))

        def keep(steps: int, scene: GaussianScene, loss: float) -> None:
            path = inputs.workspace / "state.npz"
            scene.to("cpu").save_npz(path)
            state.save(steps, {path.name: path})
            self.context.numbers({"loss": loss, "gaussians": float(len(scene))})
            self.context.progress(steps / settings.steps, f"step {steps}")
            if self.context.should_stop():
                raise Abandoned

        begun = state.files["state.npz"] if state.step else inputs.path("points", "start")
        views = capture_views(inputs.path("points", "capture"), "train_filenames")
        scene = GaussianScene.load_npz(begun)
        scene = train(scene, views, settings, inputs.seed, self.renderer, done=state.step, on_segment=keep)
        path = inputs.workspace / "scene.npz"
        scene.to("cpu").save_npz(path)
        return StageResult({"scene": path}, metrics={"gaussians": len(scene), "views": len(views)})


def capture_views(folder: Path, part: str) -> list[View]:
    """The pictures of one side of a capture's split, ``train_filenames`` or ``val_filenames``."""
    data: dict[str, Any] = json.loads((folder / "transforms.json").read_text())
    chosen = set(data[part])
    lens = intrinsics_matrix(data["fl_x"], data["fl_y"], data["cx"], data["cy"])
    views = []
    for frame in data["frames"]:
        if frame["file_path"] in chosen:
            pose = world_from_camera_opencv(np.array(frame["transform_matrix"]))
            camera = Camera(lens, int(data["w"]), int(data["h"]), invert_rigid(pose))
            views.append(View(camera, torch.from_numpy(read_png(folder / frame["file_path"]))))
    return views
