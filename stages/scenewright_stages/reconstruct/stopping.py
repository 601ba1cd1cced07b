"""Finds out how long to train: with some training views set aside, which say when further steps harm.

Runs only with a preset (see `schedule`). The state after every segment is saved with the curve so far,
so an interrupted process resumes here as it does in the training itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scenewright_stages.contract.errors import Abandoned
from scenewright_stages.contract.stage import StageContext, StageInputs
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.schedule import Point, best
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start
from scenewright_stages.vision.gaussians.training import TrainingSettings, train

_SCENE, _CURVE = "state.npz", "curve.json"


def validation_curve(
    start: Start,
    views: Sequence[View],
    aside: Sequence[View],
    settings: TrainingSettings,
    renderer: Renderer,
    context: StageContext[ReconstructParams],
    inputs: StageInputs[ReconstructParams],
) -> list[Point]:
    """Trains without the views that were set aside; returns their PSNR after every segment.

    Args:
        start: from the other views.
        views: to train on.
        aside: to measure on.

    Raises:
        Abandoned: the process was asked to stop; the state is saved.
    """
    state = inputs.state
    assert state is not None
    curve = stored_curve(inputs)
    if state.step >= settings.steps:
        return curve

    def keep(steps: int, scene: GaussianScene, loss: float) -> None:
        quality = evaluate(scene, aside, renderer)
        curve.append(Point(steps, round(quality.psnr, 4)))
        path = inputs.workspace / _SCENE
        scene.to("cpu").save_npz(path)
        state.save(steps, {_SCENE: path, **curve_file([[point.steps, point.psnr] for point in curve], inputs)})
        context.numbers({"loss": loss, "gaussians": float(len(scene)), "validation_psnr": quality.psnr})
        context.progress(0.5 * steps / settings.steps, f"how long to train: step {steps}")
        if context.should_stop():
            raise Abandoned

    begun = GaussianScene.load_npz(state.files[_SCENE]) if state.step else start
    train(begun, views, settings, inputs.seed, renderer, done=state.step, on_segment=keep)
    return curve


def stored_curve(inputs: StageInputs[Any]) -> list[Point]:
    """The curve that the saved state holds; empty if there is none."""
    assert inputs.state is not None
    path = inputs.state.files.get(_CURVE)
    return [] if path is None else [Point(int(steps), float(psnr)) for steps, psnr in json.loads(path.read_text())]


def curve_file(points: Sequence[Sequence[float]], inputs: StageInputs[Any]) -> dict[str, Path]:
    """The curve as a file of the state."""
    path = inputs.workspace / _CURVE
    path.write_text(json.dumps(points))
    return {_CURVE: path}


def curve_text(found: dict[str, Any]) -> str:
    """The validation curve as the page shows it, from the record's metrics of the training."""
    if not found.get("curve"):
        return ""
    chosen = found["steps"]
    lines = [
        f"{psnr:.2f} dB after {steps} steps{': all photographs train for so long' if steps == chosen else ''}"
        for steps, psnr in found["curve"]
    ]
    return "\n".join([f"{', '.join(found['set_aside'])} set aside to choose the length of the training", *lines])


def curve_facts(curve: Sequence[Point], names: Sequence[str]) -> dict[str, Any]:
    """The curve for the record: points, the chosen number of steps, and the photographs that were set aside."""
    points = [[point.steps, point.psnr] for point in curve]
    return {"steps": best(curve).steps, "curve": points, "set_aside": list(names)}
