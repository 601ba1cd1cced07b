"""Third stage: the first two frames, their Gaussians, and the optimisation of both together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.frames import Frame, gaussians_of, save_frames, stage_renderer, training_view
from scenewright_stages.scenes.live import LiveViewer
from scenewright_stages.scenes.preparation import Layout, read_png
from scenewright_stages.vision.gaussians.objective import OptimisationSettings
from scenewright_stages.vision.gaussians.optimisation import optimise
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import extend_foreground, on_surface, snap_edge_depth
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.render import recorded_scene

RELATIVE_MEANS_RATE = 1e-4
"""Adam's rate for positions, in median depths of the photograph: a depth in other units gives the same scene."""

COVERAGE_WEIGHT = 0.2
"""Of what is not covered, in the fit of the first views. With the usual .05 dark pixels become half-transparent before
black: in the flight they are dark specks, and the cracks between them pass for holes."""


@dataclass(frozen=True, eq=False)
class DepthPass:
    """The one depth pass: (H, W) depth in metres (NaN where invalid), (H, W) confidence, (H, W) far, intrinsics."""

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    far: NDArray[np.bool_]
    intrinsics: NDArray[np.float64]


class InitializeStage(Stage[VistaDreamParams]):
    """Lifts the photograph and its border to Gaussians."""

    def __init__(self, context: StageContext[VistaDreamParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[VistaDreamParams]) -> StageResult:
        """Writes the first scene and the first frames."""
        layout = Layout.load(inputs.path("outpaint", "layout"))
        with np.load(inputs.path("depth", "depth")) as arrays:
            depth_pass = DepthPass(*(arrays[name] for name in ("depth", "confidence", "far", "intrinsics")))
        frames = first_frames(read_png(inputs.path("outpaint", "image")), depth_pass, layout, self.params)
        self.context.progress(0.1, f"{sum(int(f.inpaint_without_edge.sum()) for f in frames)} Gaussians")
        scene, losses = initialize_scene(frames, self.params, self.renderer, inputs.seed)
        viewer = LiveViewer(self.params.live_viewer)
        if viewer.watches:
            viewer.show(recorded_scene(sample.id, scene, frames))
        outputs = {"scene": inputs.workspace / "initial_scene.npz", "frames": inputs.workspace / "initial_frames.npz"}
        scene.save_npz(outputs["scene"])
        save_frames(outputs["frames"], frames)
        metrics = {"gaussians": len(scene), "first_loss": losses[0], "last_loss": losses[1]}
        return StageResult(outputs, metrics=metrics)


def first_frames(
    canvas_srgb: NDArray[np.float32], depth_pass: DepthPass, layout: Layout, params: VistaDreamParams
) -> list[Frame]:
    """The input frame, cropped from the single depth pass with its principal point moved along, and the border's.

    The input supervises all of its pixels, the border only its ring. Estimated near surfaces are extended a little
    over what is behind. Pixels at depth edges are snapped to one of the two surfaces that meet there, so that they
    stay covered; of the border, those that still float make no Gaussian. Nor do pixels without valid depth.

    Args:
        canvas_srgb: (H, W, 3) float32 of the outpainted image.
    """
    threshold = params.depth.edge_threshold
    valid = np.isfinite(depth_pass.depth) & (depth_pass.depth > 0)
    depth = np.where(valid, depth_pass.depth, 0.0).astype(np.float32)
    if params.depth.facts.evidence != "measured":
        depth = extend_foreground(depth)
    snapped = snap_edge_depth(depth, threshold)
    confident = valid & (depth_pass.confidence >= params.depth.confidence_threshold)
    height, width = depth.shape
    outer = Camera(depth_pass.intrinsics, width, height)
    ring = layout.canvas.hole()
    inner = layout.canvas.inner
    input_frame = Frame(
        kind="input",
        srgb=np.ascontiguousarray(canvas_srgb[inner]),
        depth=np.ascontiguousarray(snapped[inner]),
        inpaint=np.ones(snapped[inner].shape, np.bool_),
        inpaint_without_edge=np.ascontiguousarray(valid[inner]),
        confident=np.ascontiguousarray(confident[inner]),
        camera=layout.canvas.inner_camera(outer),
        far=np.ascontiguousarray(depth_pass.far[inner]),
    )
    if not ring.any():
        return [input_frame]
    usable = ring & confident & on_surface(snapped)
    border = Frame("outpaint", canvas_srgb, snapped, ring, usable, confident, outer, depth_pass.far)
    return [input_frame, border]


def initialize_scene(
    frames: list[Frame], params: VistaDreamParams, renderer: Renderer, seed: int
) -> tuple[GaussianScene, tuple[float, float]]:
    """One Gaussian for each usable pixel of the frames, optimised together; with the first and the last loss.

    Raises:
        SampleError: no pixel has a valid depth.
    """
    device = torch.device(renderer.device)
    scene = GaussianScene.concatenate([gaussians_of(frame, params.initialize.opacity, device) for frame in frames])
    if len(scene) == 0:
        raise SampleError("NoValidDepth", "no pixel has a valid depth; check the depth map or the depth backend")
    settings = OptimisationSettings(
        iterations=params.initialize.iterations,
        means_rate=RELATIVE_MEANS_RATE * frames[0].median_depth,
        coverage_weight=COVERAGE_WEIGHT,
    )
    views = [training_view(frame, device) for frame in frames]
    result = optimise(scene, views, settings, seed=seed, renderer=renderer)
    if not len(result.losses):
        return result.scene, (0.0, 0.0)
    return result.scene, (round(float(result.losses[0]), 6), round(float(result.losses[-1]), 6))
