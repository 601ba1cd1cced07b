"""Reads captures, trains scenes resumably on their photographs, and renders the views that fixers repair."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.captures import BESIDE, FRAMES, NO_POSES, POSES, ShotFacts, TrainingParams
from scenewright_stages.contract.errors import Abandoned, SampleError, SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start, start_points
from scenewright_stages.vision.gaussians.training import TrainingSettings, train
from scenewright_stages.vision.geometry.cameras import Camera, quaternion_from_rotation
from scenewright_stages.vision.geometry.warping import warp_reference
from scenewright_stages.vision.places.captures.bare import AUXILIARY
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.colmap import MODEL_FILES
from scenewright_stages.vision.places.captures.depth_points import with_depth_points
from scenewright_stages.vision.places.captures.exposure import exposure_gains, exposure_span, matched
from scenewright_stages.vision.places.captures.finding import is_photograph, path_of, photograph_name, read_capture
from scenewright_stages.vision.places.captures.masks import mask_beside
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs, load_photographs
from scenewright_stages.vision.places.captures.soundness import check_views, view_notes, without_copies

_SURFACE = 0.3
"""Least coverage at which a depth means a surface."""
_NOTABLE_SPAN = 1.25
"""Differences in exposure that a user will see in the scene."""


class CaptureStage(Stage[Any]):
    """Undistorts and scales the photographs of a capture, and optionally matches their exposure."""

    def process(self, sample: Sample, inputs: StageInputs[Any]) -> StageResult:
        """Writes ``photographs.npz``."""
        stage = self.context.stage
        time = BESIDE if stage.name == BESIDE else "time"
        if time == BESIDE and not sample.attributes.get(time):
            raise SampleRejected("NoReference", "the capture has no moment beside it from which a reference could come")
        mark, moment, paths = _described(sample, inputs, POSES in stage.upstream(), time)
        try:
            capture = read_capture(mark, moment, paths, lambda key: paths[key].read_bytes())
            capture = with_depth_points(capture, lambda key: paths[key])
            found = load_photographs(capture, lambda key: paths[key], inputs.params.max_resolution)
            check_views(found)
        except CaptureError as problem:
            raise SampleError(problem.reason, str(problem)) from problem
        found, copied = without_copies(found)
        gains = exposure_gains(found)
        span = exposure_span(gains)
        # The index has shown the notes of the capture itself.
        notes = [*found.notes, *copied, *view_notes(found)]
        if inputs.params.exposure == "matched":
            notes += _unmatched(found, gains)
            found = matched(found, gains)
        elif span > _NOTABLE_SPAN:
            notes.append(f"one photograph is {span:.2f} times as bright as another: exposure: matched evens that out")
        facts = {
            "photographs": len(found.photographs),
            "points": len(found.points),
            "exposure_span": round(span, 3),
        }
        path = inputs.workspace / "photographs.npz"
        found.save(path)
        return StageResult({"photographs": path}, metrics=facts, warnings=notes)


def _unmatched(photographs: PosedPhotographs, gains: NDArray[np.float64]) -> list[str]:
    """Warnings about photographs whose exposure could not be matched. Raises SampleError if none could."""
    unknown = [
        each.name for each, gain in zip(photographs.photographs, gains, strict=True) if not np.isfinite(gain).all()
    ]
    if len(unknown) == len(gains):
        raise SampleError("TooFewPoints", "exposure: matched needs points that several photographs show")
    return [f"exposure not matched, for lack of points that others show: {', '.join(unknown)}"] if unknown else []


def _described(
    sample: Sample, inputs: StageInputs[Any], estimated: bool, time: str
) -> tuple[str, str, dict[str, Path]]:
    """The pose file, the moment for fixed cameras, and all files by their path in the capture."""
    if estimated:
        roles = [role for role in sample.files if is_photograph(role)]
        pictures = {f"images/{photograph_name(role)}": inputs.path(INPUT, role) for role in roles}
        valid = {f"masks/{name}.png": inputs.path(INPUT, role) for name, role in masks_of(sample).items()}
        frames = inputs.find(POSES, FRAMES)
        if frames is not None:
            pictures |= {f"images/{path.name}": path for path in sorted(frames.iterdir())}
        model = {f"sparse/0/{name}.txt": inputs.path(POSES, name) for name in MODEL_FILES}
        return "sparse/0/images.txt", "", pictures | valid | model
    paths = {path_of(role): inputs.path(INPUT, role) for role in sample.files}
    if not sample.attributes["mark"]:
        raise SampleError("NoPoses", NO_POSES)
    return str(sample.attributes["mark"]), str(sample.attributes[time]), paths


def masks_of(sample: Sample) -> dict[str, str]:
    """Role of the mask of each photograph that has one, by the photograph's name in a COLMAP model."""
    named = sample.attributes.get("masks", {})
    files = {path_of(role): role for role in sample.files if role.startswith(AUXILIARY)}
    found = {}
    for role in filter(is_photograph, sample.files):
        path = named.get(role) or mask_beside(role, files)
        if path in files:
            found[photograph_name(role)] = files[path]
    return found


def view_of(photograph: Photograph) -> View:
    """The photograph as a training view, with its validity mask."""
    mask = None if photograph.valid is None else torch.from_numpy(photograph.valid)
    return View(photograph.camera, torch.from_numpy(photograph.srgb).float() / 255, mask)


def views_of(photographs: PosedPhotographs, numbers: Iterable[int]) -> list[View]:
    """The selected photographs as training views."""
    return [view_of(photographs.photographs[number]) for number in numbers]


def start_of(photographs: PosedPhotographs, numbers: Sequence[int], params: TrainingParams, seed: int) -> Start:
    """Initial Gaussians, from the training views only."""
    chosen = [photographs.photographs[number] for number in numbers]
    return start_points(
        photographs.points,
        photographs.colours,
        [each.camera for each in chosen],
        [each.srgb for each in chosen],
        seed,
        params.start_points,
        [each.valid for each in chosen],
    )


def training_settings(params: TrainingParams, share: float = 1.0) -> TrainingSettings:
    """Training settings, for a given share of the full number of steps."""
    steps = max(1, round(params.steps * share))
    return TrainingSettings(
        steps=steps,
        segment=min(params.segment, steps),
        maximum=params.maximum,
        harmonics_degree=params.harmonics_degree,
        growth=params.growth,
        exploration=params.exploration,
        coarse=params.coarse,
    )


def train_resumably(
    start: Start | GaussianScene,
    views: Sequence[View],
    settings: TrainingSettings,
    renderer: Renderer,
    context: StageContext[Any],
    inputs: StageInputs[Any],
    *,
    before: int = 0,
    until: int | None = None,
    kept: Mapping[str, Path] | None = None,
) -> GaussianScene:
    """Trains a scene and saves its state after every segment, so that an interrupted process can resume.

    Args:
        before: steps of other trainings of this stage, which count in the state's number.
        until: steps after which to stop; see `train`.
        kept: further files of the state.

    Raises:
        Abandoned: the process was asked to stop; the state is saved.
    """
    state = inputs.state
    assert state is not None

    def keep(steps: int, scene: GaussianScene, loss: float) -> None:
        path = inputs.workspace / "state.npz"
        scene.to("cpu").save_npz(path)
        state.save(before + steps, {**(kept or {}), path.name: path})
        context.numbers({"loss": loss, "gaussians": float(len(scene))})
        context.progress((before + steps) / (before + (until or settings.steps)), f"step {steps}")
        if context.should_stop():
            raise Abandoned

    done = max(0, state.step - before)
    begun = GaussianScene.load_npz(state.files["state.npz"]) if done else start
    return train(begun, views, settings, inputs.seed, renderer, done=done, until=until, on_segment=keep)


@torch.no_grad()
def flawed_view(scene: GaussianScene, camera: Camera, reference: Photograph, renderer: Renderer) -> FlawedView:
    """A render with the conditions that a fixer gets, the same for training pairs and for inference.

    The reference is warped by the scene's own depth and masked where the scene occludes it, or where it is not valid.
    """
    srgb, depth, alpha = _drawn(scene, camera, renderer)
    _, reference_depth, reference_alpha = _drawn(scene, reference.camera, renderer)
    hidden = np.where(reference_alpha > _SURFACE, reference_depth, np.inf)
    photograph = (reference.srgb / 255).astype(np.float32)
    surface = np.where(alpha > _SURFACE, depth, 0)
    warped, valid = warp_reference(surface, camera, photograph, reference.camera, hidden, reference.valid)
    return FlawedView(srgb, alpha, warped, valid, photograph)


def _drawn(scene: GaussianScene, camera: Camera, renderer: Renderer) -> tuple[NDArray[np.float32], ...]:
    """Rendered colours in [0, 1], depth and coverage, on the CPU."""
    rendering = renderer.render(scene, [camera])
    planes = rendering.rgb[0].clamp(0, 1), rendering.depth[0], rendering.alpha[0].clamp(0, 1)
    return tuple(plane.cpu().numpy() for plane in planes)


def shots_facts(photographs: PosedPhotographs) -> list[ShotFacts]:
    """Facts about the photographs for the index."""
    return [shot_facts(each.camera, each.name, each.number) for each in photographs.photographs]


def shot_facts(camera: Camera, name: str = "", number: int = 0) -> ShotFacts:
    """Facts about a photograph for the index, from its camera."""
    pose = camera.world_from_camera
    centre, rotation = map(tuple, (pose[:3, 3].tolist(), quaternion_from_rotation(pose[:3, :3]).tolist()))
    return ShotFacts(name, number, centre, rotation)
