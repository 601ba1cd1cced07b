"""Fourth stage: coarse expansion with the backends that the spec names."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.depth.interface import DepthEstimator
from scenewright_stages.backends.inpaint.interface import INPAINT, FillGuide, Inpainter
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.flight import cameras_along
from scenewright_stages.scenes.frames import Frame, load_frames, save_frames, stage_renderer
from scenewright_stages.scenes.live import LiveViewer
from scenewright_stages.vision.gaussians.objective import OptimisationSettings
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.depth.far_points import place_far_points
from scenewright_stages.vision.geometry.trajectories import Trajectory
from scenewright_stages.vision.imaging.inpainting.background import clear_of_silhouettes
from scenewright_stages.vistadream.depth import load_depth_estimator
from scenewright_stages.vistadream.diagnostics import CoarseSummary
from scenewright_stages.vistadream.expansion import (
    SWELLING,
    TINTING,
    Expansion,
    ExpansionSettings,
    ExpansionTools,
    HoledView,
    expand,
)
from scenewright_stages.vistadream.initialize import RELATIVE_MEANS_RATE
from scenewright_stages.vistadream.motion import candidate_path
from scenewright_stages.vistadream.outpaint import load_inpainter
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.render import recorded_scene
from scenewright_stages.vistadream.selection import Band

log = logging.getLogger(__name__)

CONTINUED = "continued"
CONTINUED_DEPTH = BackendUse("depth", CONTINUED, notes="Depth in holes continues the background around them.")
"""Recorded when no depth model predicts new views."""


class CoarseStage(Stage[VistaDreamParams]):
    """Grows a scene by views with holes."""

    def __init__(self, context: StageContext[VistaDreamParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)
        self.inpainter = load_inpainter(INPAINT, self.params.coarse.inpaint, context)
        predicts = self.params.depth.traits.predicts_new_views
        self.depth = load_depth_estimator(self.params, context) if predicts else None

    def process(self, sample: Sample, inputs: StageInputs[VistaDreamParams]) -> StageResult:
        """Writes the grown scene, all frames, and the summary as JSON and as log text."""
        frames = load_frames(inputs.path("initialize", "frames"))
        scene = GaussianScene.load_npz(inputs.path("initialize", "scene")).to(self.renderer.device)
        coarse = self.params.coarse
        trajectory = candidate_path(frames, self.params, coarse.frames * coarse.dense_multiplier)
        tools = ExpansionTools(
            renderer=self.renderer,
            fill_colour=BackendFill(self.inpainter, coarse.inpaint.prompt),
            predict_depth=None
            if self.depth is None
            else BackendDepth(self.depth, self.params.depth.confidence_threshold),
            on_progress=self.context.progress,
            on_growth=self._shown(sample.id),
        )
        candidates = cameras_along(frames, trajectory)
        expansion = expand(scene, frames, candidates, expansion_settings(self.params, frames[0]), tools, inputs.seed)
        summary = with_trajectory(expansion.summary, trajectory)
        if coarse.print_summary:
            log.info("%s", summary.text())
        elif summary.diagnosis is not None:
            log.warning("%s", summary.diagnosis.text())
        return self._result(expansion, summary, inputs)

    def _shown(self, sample_id: str) -> Callable[[GaussianScene, Sequence[Frame]], None]:
        """Shows a grown scene to whoever watches."""
        viewer = LiveViewer(self.params.live_viewer)

        def show(scene: GaussianScene, frames: Sequence[Frame]) -> None:
            if viewer.watches:
                viewer.show(recorded_scene(sample_id, scene, frames))

        return show

    def _result(
        self, expansion: Expansion, summary: CoarseSummary, inputs: StageInputs[VistaDreamParams]
    ) -> StageResult:
        names = {"scene": "coarse_scene.npz", "frames": "coarse_frames.npz"}
        names |= {"summary": "coarse_summary.json", "log": "coarse_summary.txt"}
        outputs = {name: inputs.workspace / file for name, file in names.items()}
        expansion.scene.save_npz(outputs["scene"])
        save_frames(outputs["frames"], expansion.frames)
        outputs["summary"].write_text(json.dumps(summary.to_json(), indent=1, sort_keys=True) + "\n")
        outputs["log"].write_text(summary.text() + "\n")
        uses = [self.inpainter.record.use("inpaint"), self.depth.record.use("depth") if self.depth else CONTINUED_DEPTH]
        metrics = {
            "selected_extra_frames": summary.selected_extra_frames,
            "requested_extra_frames": summary.requested_extra_frames,
            "total_splats": summary.total_splats,
            "inpaint_ratios": [round(frame.inpaint_ratio, 4) for frame in summary.frames],
            "coverage": round(summary.coverage[-1], 4),
        }
        return StageResult(outputs, metrics=metrics, warnings=summary.warnings(), backends=uses)


def expansion_settings(params: VistaDreamParams, photograph: Frame) -> ExpansionSettings:
    """The loop's settings from the pipeline's parameters; lengths follow the photograph's median depth."""
    coarse = params.coarse
    band = Band(coarse.min_inpaint_ratio, coarse.max_inpaint_ratio, coarse.adjacent_exclusion, coarse.fallback_mode)
    return ExpansionSettings(
        frames=coarse.frames,
        band=band,
        margin=coarse.margin,
        optimisation=OptimisationSettings(
            iterations=coarse.iterations_per_frame,
            means_rate=RELATIVE_MEANS_RATE * photograph.median_depth,
            largest_growth=SWELLING,
            largest_colour_change=TINTING,
        ),
        edge_threshold=params.depth.edge_threshold,
        opacity=params.initialize.opacity,
        gap_views=coarse.gap_views,
    )


def with_trajectory(summary: CoarseSummary, trajectory: Trajectory) -> CoarseSummary:
    """The summary with the path's radius and its clamp, when there was one."""
    clamp = None if trajectory.clamp is None else asdict(trajectory.clamp)
    return replace(summary, radius=trajectory.radius, forward_clamp=clamp)


class BackendFill:
    """Fills with the backend, which may use the depth around a hole so that only its clear background continues."""

    def __init__(self, inpainter: Inpainter, prompt: str) -> None:
        self.inpainter = inpainter
        self.prompt = prompt

    def __call__(self, view: HoledView, seed: int) -> NDArray[np.float32]:
        guide = FillGuide(depth=view.depth, allowed_source=clear_of_silhouettes(view.depth, view.hole))
        return self.inpainter.fill(view.srgb, view.hole, self.prompt, seed, guide)


class BackendDepth:
    """Predicts with the backend; pixels of less confidence than the threshold are left out."""

    def __init__(self, estimator: DepthEstimator, least_confidence: float) -> None:
        self.estimator = estimator
        self.least_confidence = least_confidence

    def __call__(self, view: HoledView, srgb: NDArray[np.float32]) -> NDArray[np.float32]:
        horizontal, _ = view.camera.field_of_view
        estimate = self.estimator.estimate(srgb, horizontal)
        placed = place_far_points(estimate.depth)
        trusted = placed.far | (estimate.valid & (estimate.confidence >= self.least_confidence))
        return np.where(trusted, placed.depth, np.nan).astype(np.float32)
