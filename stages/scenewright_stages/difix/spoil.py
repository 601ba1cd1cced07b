"""Trains scenes that show artefacts: too few photographs, too few steps, or photographs of a scene's own renders."""

from __future__ import annotations

import numpy as np
import torch

from scenewright_stages.captures import spread
from scenewright_stages.contract.errors import Abandoned
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.strategies import select
from scenewright_stages.scenes.captures import shots_facts, start_of, training_settings, views_of
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.captures.pictures import PosedPhotographs
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings, train


class SpoilStage(Stage[PairsParams]):
    """Trains one scene by one strategy at one level."""

    def __init__(self, context: StageContext[PairsParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[PairsParams]) -> StageResult:
        """Writes the scene; a process that is ended continues at the last segment."""
        strategy, level = str(sample.attributes["strategy"]), int(sample.attributes["level"])
        photographs = PosedPhotographs.load(inputs.path("capture", "photographs"))
        chosen = select(strategy, level, shots_facts(photographs))
        share = level / 100 if strategy == "underfit" else 1.0
        settings = training_settings(inputs.params.training, share)
        views = views_of(photographs, chosen.trained)
        start = start_of(photographs, chosen.trained, inputs.params.training, inputs.seed)
        rounds = 2 if strategy == "cycle" else 1
        scene = self._train(start.scene(), views, settings, inputs, 0, rounds)
        if strategy == "cycle":
            renders = self._shifted(scene, views, level / 100 * spread(shots_facts(photographs)), inputs.seed)
            scene = self._train(start.scene(), renders, settings, inputs, 1, rounds)
        path = inputs.workspace / "scene.npz"
        scene.to("cpu").save_npz(path)
        metrics = {"gaussians": len(scene), "trained_on": len(chosen.trained), "steps": settings.steps * rounds}
        warnings = [f"{start.seeded} start points are random: the capture brings hardly any"] if start.seeded else []
        return StageResult({"scene": path}, metrics=metrics, warnings=warnings)

    def _train(
        self,
        start: GaussianScene,
        views: list[View],
        settings: TrainingSettings,
        inputs: StageInputs[PairsParams],
        number: int,
        rounds: int,
    ) -> GaussianScene:
        """One of several trainings in a row; a state's step counts over all of them."""
        state = inputs.state
        assert state is not None
        before = number * settings.steps
        if state.step >= before + settings.steps:
            return GaussianScene.load_npz(state.files[f"scene_{number}.npz"]).to(self.renderer.device)
        done = max(0, state.step - before)
        scene = GaussianScene.load_npz(state.files[f"scene_{number}.npz"]) if done else start
        earlier = {name: path for name, path in state.files.items() if name != f"scene_{number}.npz"}

        def keep(steps: int, current: GaussianScene, loss: float) -> None:
            path = inputs.workspace / f"scene_{number}.npz"
            current.to("cpu").save_npz(path)
            state.save(before + steps, {**earlier, path.name: path})
            self.context.numbers({"loss": loss, "gaussians": float(len(current))})
            self.context.progress((before + steps) / (rounds * settings.steps), f"step {before + steps}")
            if self.context.should_stop():
                raise Abandoned

        return train(scene, views, settings, inputs.seed + number, self.renderer, done=done, on_segment=keep)

    @torch.no_grad()
    def _shifted(self, scene: GaussianScene, views: list[View], distance: float, seed: int) -> list[View]:
        """What the scene looks like from cameras beside those of the views, where it shows something."""
        random = np.random.default_rng(seed)
        found = []
        for view in views:
            camera = shifted(view.camera, random, distance)
            rendering = self.renderer.render(scene, [camera])
            covered = (rendering.alpha[0] > 0.5).cpu()
            if float(covered.float().mean()) > 0.5:
                found.append(View(camera, rendering.rgb[0].clamp(0, 1).cpu(), covered))
        return found or views


def shifted(camera: Camera, random: np.random.Generator, distance: float) -> Camera:
    """The camera moved by a distance in a random direction."""
    direction = random.normal(size=3)
    pose = camera.camera_from_world.copy()
    pose[:3, 3] += distance * direction / np.linalg.norm(direction)
    return camera.with_pose(pose)
