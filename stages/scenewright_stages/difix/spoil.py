"""Trains scenes with deliberate artefacts: from too few photographs, in too few steps, or on a scene's own renders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.contract.errors import Abandoned, SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.difix.params import PairsParams
from scenewright_stages.difix.strategies import select
from scenewright_stages.scenes.captures import shots_facts, start_of, training_settings, views_of
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings, train
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs

_LEAST_SEEN = 0.5
"""A camera from which less of a picture is covered teaches nothing."""


class SpoilStage(Stage[PairsParams]):
    """Trains one scene by one strategy at one level."""

    def __init__(self, context: StageContext[PairsParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[PairsParams]) -> StageResult:
        """Writes the scene; an interrupted process resumes at the last segment."""
        strategy, level = str(sample.attributes["strategy"]), int(sample.attributes["level"])
        photographs = PosedPhotographs.load(inputs.path("capture", "photographs"))
        chosen = select(strategy, level, shots_facts(photographs))
        share = level / 100 if strategy == "underfit" else 1.0
        settings = training_settings(inputs.params.training, share)
        trained = [number for number in chosen.trained if number not in photographs.left_out]
        views = views_of(photographs, trained)
        start = start_of(photographs, trained, inputs.params.training, inputs.seed)
        rounds = 2 if strategy == "cycle" else 1
        scene = self._train(start.scene(), views, settings, inputs, 0, rounds)
        if strategy == "cycle":
            renders = seen_from_beside(scene, views, level / 100, inputs.seed, self.renderer)
            scene = self._train(start.scene(), renders, settings, inputs, 1, rounds)
        path = inputs.workspace / "scene.npz"
        scene.to("cpu").save_npz(path)
        metrics = {"gaussians": len(scene), "trained_on": len(trained), "steps": settings.steps * rounds}
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
        """Runs one of several consecutive trainings; the state's step counts across all of them."""
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
def seen_from_beside(
    scene: GaussianScene, views: Sequence[View], share: float, seed: int, renderer: Renderer
) -> list[View]:
    """Renders of the scene from shifted cameras, all moved alike: forward, and to the left or right.

    Args:
        scene: trained on the views.
        views: whose cameras to shift.
        share: shift as a share of the distance to what the camera sees.
        seed: decides between left and right.

    Raises:
        SampleError: no shifted camera sees the scene (NothingSeen).
    """
    side = np.random.default_rng(seed).choice([-1, 1])
    direction = np.array([side, 0, 1]) / np.sqrt(2)
    found = []
    for view in views:
        here = renderer.render(scene, [view.camera])
        seen = here.depth[0][here.alpha[0] > _LEAST_SEEN]
        if not len(seen):
            continue
        camera = moved(view.camera, share * float(seen.median()) * direction)
        rendering = renderer.render(scene, [camera])
        covered = (rendering.alpha[0] > _LEAST_SEEN).cpu()
        if float(covered.float().mean()) > _LEAST_SEEN:
            found.append(View(camera, rendering.rgb[0].clamp(0, 1).cpu(), covered))
    if not found:
        raise SampleError("NothingSeen", f"no camera sees the scene {share:.0%} closer to it: lower cycle's level")
    return found


def moved(camera: Camera, step: NDArray[np.float64]) -> Camera:
    """The camera translated by a step in its own axes."""
    pose = camera.camera_from_world.copy()
    pose[:3, 3] -= step
    return camera.with_pose(pose)
