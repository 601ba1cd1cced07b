"""Fixer rounds: render views between photographs, repair them, train on them, and keep the result only if it helps.

A round trains twice from the same scene, with and without the repaired views, with the same steps and random draws.
The gate views, used for neither training nor evaluation, decide. Unless they gain enough, the scene trained without
repaired views is kept, byte for byte.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewright_stages.backends.fix.interface import FIX, Fixer, FlawedView
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.captures import nearest
from scenewright_stages.contract.errors import Abandoned
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.reconstruct.params import DifixParams, ReconstructParams
from scenewright_stages.reconstruct.pipeline import FIXER
from scenewright_stages.reconstruct.train import capture_roles, scene_settings
from scenewright_stages.reconstruct.views import Roles, cameras_between, cameras_towards
from scenewright_stages.scenes.captures import flawed_view, shot_facts, shots_facts, views_of
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.scenes.preparation import write_png
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import OnSegment, TrainingSettings, train, weighted
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs
from scenewright_stages.vision.types import Float32Array

_SHOWN = 6
_SCENE, _ROUNDS = "scene.npz", "rounds.json"
"""Files of the state between two rounds."""
_TOUCHED = 0.1
"""Least coverage where a repaired view is learned from.

A higher threshold leaves out the very holes that the fixer fills: at 0.5 a room whose photographs leave holes gained
nothing, at 0.1 it gained 0.4 dB on held-out photographs.
"""
_CLASSIC_REFERENCES = 2
"""References with which the classic fixer repairs a view, one after the other; the answers are averaged.

Where its reference ends or hides something, the classic fixer errs, with another reference elsewhere: on rooms that
gave no pair the mean over two is 0.6 to 1.2 dB nearer to the truth. A mean of a diffusion model's answers would be
blurred.
"""


@dataclass(frozen=True)
class Round:
    """Result of a round: mean PSNR of the gate views before it, without and with repaired views, and what was kept."""

    before: float
    without: float
    with_fixes: float
    kept: bool


@dataclass(frozen=True, eq=False)
class Repair:
    """A view between photographs: the render with its conditions, and the repaired image."""

    camera: Camera
    flawed: FlawedView
    fixed: Float32Array

    def view(self) -> View:
        """As a training view; masks out pixels that the render does not cover, where a fixer could only guess."""
        return View(self.camera, torch.from_numpy(self.fixed), torch.from_numpy(self.flawed.alpha > _TOUCHED))


class FixStage(Stage[ReconstructParams]):
    """Runs the rounds."""

    def __init__(self, context: StageContext[ReconstructParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[ReconstructParams]) -> StageResult:
        """Writes the scene, the result of each round, and the repaired views of the last round.

        An interrupted process resumes after the last finished round.
        """
        fixer, block = chosen_fixer(inputs, self.context.models), inputs.params.difix
        photographs = PosedPhotographs.load(inputs.path("capture", "photographs"))
        scene, rounds = _begun(inputs)
        scene, repairs = scene.to(self.renderer.device), []
        roles = capture_roles(photographs, inputs.params)
        for number in range(len(rounds), block.rounds):
            self.context.progress(number / block.rounds, f"round {number + 1}")
            cameras = round_cameras(photographs, roles, block, inputs.seed, number)
            repairs = repaired(scene, cameras, photographs, roles, fixer, self.renderer, references_of(block))
            scene, ended = run_round(
                scene, photographs, roles, [each.view() for each in repairs], inputs.params, inputs.seed + number,
                self.renderer, self._watch(inputs.params, number),
            )  # fmt: skip
            rounds.append(ended)
            self.context.numbers({"gate_psnr": max(ended.without, ended.with_fixes)})
            if len(rounds) < block.rounds:
                _keep(inputs, scene, rounds)
        return self._result(inputs, scene, rounds, repairs, fixer)

    def _watch(self, params: ReconstructParams, number: int) -> OnSegment:
        """Reports the progress of round `number`, and leaves it between segments if the process must stop."""
        parts = itertools.count(1)
        both = 2 * round_settings(params, 0).segments()

        def watch(steps: int, scene: GaussianScene, loss: float) -> None:
            share = (number + next(parts) / both) / params.difix.rounds
            self.context.progress(share, f"round {number + 1}")
            if self.context.should_stop():
                raise Abandoned

        return watch

    def _result(
        self,
        inputs: StageInputs[ReconstructParams],
        scene: GaussianScene,
        rounds: Sequence[Round],
        repairs: Sequence[Repair],
        fixer: Fixer,
    ) -> StageResult:
        names = {"scene": "fixed_scene.npz", "rounds": "difix_rounds.json", "strips": "difix_views.png"}
        outputs: dict[str, Path] = {name: inputs.workspace / file for name, file in names.items()}
        scene.to("cpu").save_npz(outputs["scene"])
        listed: list[dict[str, Any]] = [
            {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(each).items()}
            for each in rounds
        ]
        rounds_file = {"fixer": fixer_facts(fixer, inputs), "rounds": listed}
        outputs["rounds"].write_text(json.dumps(rounds_file, indent=1) + "\n")
        write_png(outputs["strips"], strips(repairs[:_SHOWN]))
        kept = sum(each.kept for each in rounds)
        warnings = [] if kept else ["no round was better with repaired views: the scene is the one without them"]
        if inputs.params.difix.walk == "heldOut":
            warnings.append("views were repaired on the way to held-out poses: the quality on those is not blind")
        metrics = {"rounds": listed, "kept_rounds": kept, "gaussians": len(scene)}
        return StageResult(outputs, metrics=metrics, warnings=warnings, backends=[fixer.record.use()])


def _begun(inputs: StageInputs[ReconstructParams]) -> tuple[GaussianScene, list[Round]]:
    """The scene after the rounds that an earlier process finished, and their results."""
    state = inputs.state
    assert state is not None
    if not state.step:
        return GaussianScene.load_npz(inputs.path("train", "scene")), []
    ended = json.loads(state.files[_ROUNDS].read_text())
    return GaussianScene.load_npz(state.files[_SCENE]), [Round(**each) for each in ended]


def _keep(inputs: StageInputs[ReconstructParams], scene: GaussianScene, rounds: Sequence[Round]) -> None:
    """Saves the state after a round."""
    files = {name: inputs.workspace / name for name in (_SCENE, _ROUNDS)}
    scene.to("cpu").save_npz(files[_SCENE])
    files[_ROUNDS].write_text(json.dumps([asdict(each) for each in rounds]))
    assert inputs.state is not None
    inputs.state.save(len(rounds), files)


def chosen_fixer(inputs: StageInputs[ReconstructParams], models: ModelSettings) -> Fixer:
    """The fixer that the parameters name, with its checkpoint where it has one."""
    block = inputs.params.difix
    options = {"checkpoint": str(inputs.named[FIXER])} if block.tuned else {}
    return load(FIX, block.backend, ModelContext.from_settings(models, block.variant or None, options))


def fixer_facts(fixer: Fixer, inputs: StageInputs[ReconstructParams]) -> dict[str, str]:
    """Description of the fixer: backend, weights or step, licence, and the checkpoint's hash."""
    digest = inputs.hashes.get(FIXER, "")
    return {**fixer.record.use().to_json(), **({"checkpoint": digest} if digest else {})}


def round_cameras(
    photographs: PosedPhotographs, roles: Roles, params: DifixParams, seed: int, number: int
) -> list[Camera]:
    """Where round `number`, from 0, repairs views."""
    shots, cameras = shots_facts(photographs), photographs.cameras
    if params.walk == "heldOut":
        return cameras_towards(shots, cameras, roles, params.views, (number + 1) / params.rounds)
    random = np.random.default_rng([seed % 2**63, number])
    return cameras_between(shots, cameras, roles, params.views, random)


def run_round(
    scene: GaussianScene,
    photographs: PosedPhotographs,
    roles: Roles,
    repairs: Sequence[View],
    params: ReconstructParams,
    seed: int,
    renderer: Renderer,
    on_segment: OnSegment | None = None,
) -> tuple[GaussianScene, Round]:
    """The scene with the repaired views, if the gate views gain enough over before and without, else that without.

    Args:
        on_segment: called after every segment of both trainings.
    """
    block = params.difix
    views, gate = views_of(photographs, roles.train), views_of(photographs, roles.gate)
    settings = round_settings(params, len(views))
    # Each photograph is drawn once, each repaired view as often as its share requires.
    extra = weighted(repairs, block.weight, len(views) * block.share / (1 - block.share))
    without = train(scene, views, settings, seed, renderer, on_segment=on_segment)
    with_fixes = train(scene, [*views, *extra], settings, seed, renderer, on_segment=on_segment)
    before, plain, fixed = (evaluate(each, gate, renderer).psnr for each in (scene, without, with_fixes))
    kept = fixed - max(before, plain) >= block.gain
    return (with_fixes if kept else without), Round(before, plain, fixed, kept)


def round_settings(params: ReconstructParams, views: int) -> TrainingSettings:
    """Settings of a round: a tenth of the means' learning rate; may densify where views are still wrong."""
    settings = scene_settings(params.training, views)
    steps = params.difix.round_steps
    return replace(settings, steps=steps, segment=min(settings.segment, steps), means_rate=settings.means_rate / 10)


def references_of(params: DifixParams) -> int:
    """The number of references for repairing a view."""
    return _CLASSIC_REFERENCES if params.backend == "classic" else 1


def repaired(
    scene: GaussianScene,
    cameras: Sequence[Camera],
    photographs: PosedPhotographs,
    roles: Roles,
    fixer: Fixer,
    renderer: Renderer,
    references: int = 1,
) -> list[Repair]:
    """The scene's renders from these cameras, each repaired with the nearest training photographs as references.

    Args:
        references: number of photographs; the repaired images are averaged.
    """
    found = []
    for camera in cameras:
        views = [
            flawed_view(scene, camera, photographs.photographs[number], renderer)
            for number in nearest_training(photographs, roles, camera, references)
        ]
        fixed = np.mean([fixer.fix(view) for view in views], axis=0)
        found.append(Repair(camera, views[0], np.asarray(fixed, np.float32)))
    return found


def nearest_training(photographs: PosedPhotographs, roles: Roles, camera: Camera, count: int) -> list[int]:
    """Numbers of the training photographs nearest to a camera, the nearest first."""
    shots = [*shots_facts(photographs), shot_facts(camera)]
    found: list[int] = []
    for _ in range(min(count, len(roles.train))):
        place = nearest(shots, len(shots) - 1, [number for number in roles.train if number not in found])
        assert place is not None
        found.append(place)
    return found


def strips(repairs: Sequence[Repair]) -> Float32Array:
    """Render, repaired render and warped reference side by side, one row per view."""
    rows = [np.concatenate([each.flawed.srgb, each.fixed, each.flawed.warped], axis=1) for each in repairs]
    height, width = (max(row.shape[axis] for row in rows) for axis in (0, 1))
    padded = [np.pad(row, ((0, height - row.shape[0]), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded).astype(np.float32)
