"""Last stage: the final flight, its quality, the Gaussians as PLY and the Rerun recording."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.flight import Flight, fly
from scenewright_stages.scenes.frames import Frame, load_frames
from scenewright_stages.scenes.quality import FlightQuality, nearest_distance
from scenewright_stages.scenes.rerun import RerunFrame
from scenewright_stages.scenes.video import contact_sheet, evenly_spaced, write_picture
from scenewright_stages.vision.colour import unit_from_uint8
from scenewright_stages.vision.depth.colours import depth_colours, depth_limits
from scenewright_stages.vision.gaussians.ply import write_ply
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.metrics import psnr
from scenewright_stages.vision.video import write_mp4
from scenewright_stages.vistadream.initialize import stage_renderer
from scenewright_stages.vistadream.params import RenderParams, VistaDreamParams
from scenewright_stages.vistadream.path import cameras_along, scene_trajectory
from scenewright_stages.vistadream.recording import write_recording

SHEET_FRAMES = 12
SHEET_COLUMNS = 4


class RenderStage(Stage):
    """Flies through a finished scene."""

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        self.params: VistaDreamParams = context.params  # type: ignore[assignment]
        self.renderer = stage_renderer(context.models)
        self.last_stage = context.stage.upstream()[0]

    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        """Writes PLY, videos, contact sheet, metrics and, unless switched off, the Rerun recording."""
        render = self.params.render
        frames = load_frames(inputs.path(self.last_stage, "frames"))
        scene = GaussianScene.load_npz(inputs.path(self.last_stage, "scene")).to(self.renderer.device)
        trajectory = scene_trajectory(frames, self.params.trajectory, frame_count(len(frames), render))
        flight = fly(scene, cameras_along(frames, trajectory), self.renderer, self.context.progress)
        quality = flight_quality(scene, frames[0], flight, self.renderer)
        outputs = self._write(sample.id, scene, frames, flight, inputs.workspace)
        metrics: dict[str, Any] = {
            "frames": len(flight.cameras),
            "views": len(frames),
            "gaussians": len(scene),
            "renderer": self.renderer.name,
            "radius": trajectory.radius,
            "quality": quality.to_json(),
        }
        outputs["metrics"] = inputs.workspace / "metrics.json"
        outputs["metrics"].write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        return StageResult(outputs, metrics=metrics, warnings=quality.failures())

    def _write(
        self, sample_id: str, scene: GaussianScene, frames: Sequence[Frame], flight: Flight, workspace: Path
    ) -> dict[str, Path]:
        names = {"ply": "gf.ply", "video": "orbit.mp4", "depth_video": "orbit_depth.mp4"}
        names |= {"contact_sheet": "contact_sheet.jpg"}
        outputs = {name: workspace / file for name, file in names.items()}
        rate = self.params.render.frames_per_second
        write_ply(scene, outputs["ply"])
        write_mp4(outputs["video"], flight.srgb, rate)
        limits = depth_limits(flight.depth)
        write_mp4(outputs["depth_video"], (depth_colours(depth, *limits) for depth in flight.depth), rate)
        write_picture(outputs["contact_sheet"], flight_sheet(flight))
        if self.params.render.rerun:
            self.context.progress(0.85, "writing the Rerun recording")
            outputs["rerun"] = workspace / "scene.rrd"
            write_recording(outputs["rerun"], sample_id, scene, frames, recorded_flight(flight))
        return outputs


def frame_count(views: int, render: RenderParams) -> int:
    """Frames of the final path: 25 for each view of the scene, at most 150 (the seed pipeline's rule)."""
    return min(render.max_frames, render.frames_per_view * views)


def flight_quality(scene: GaussianScene, first: Frame, flight: Flight, renderer: Renderer) -> FlightQuality:
    """Measures what a viewer sees: holes, collisions, and how well the photograph itself is reproduced."""
    with torch.no_grad():
        again = renderer.render(scene, [first.camera]).rgb[0].cpu()
    near = float(np.percentile(first.depth[first.depth > 0], 5))
    return FlightQuality(
        uncovered_mean=float(np.mean(flight.uncovered)),
        uncovered_max=float(np.max(flight.uncovered)),
        worst_frame=int(np.argmax(flight.uncovered)),
        clearance=nearest_distance(scene.means.detach().cpu().numpy(), flight.cameras) / near,
        input_psnr=float(psnr(again, torch.as_tensor(first.srgb))),
    )


def recorded_flight(flight: Flight) -> list[RerunFrame]:
    """The flight for the Rerun recording."""
    srgb = unit_from_uint8(flight.srgb)
    return [RerunFrame(*frame) for frame in zip(flight.cameras, srgb, flight.depth, strict=True)]


def flight_sheet(flight: Flight) -> NDArray[np.uint8]:
    """Twelve frames evenly along the path as one picture, (H, W, 3) uint8."""
    picks = evenly_spaced(len(flight.srgb), SHEET_FRAMES)
    return contact_sheet([flight.srgb[pick] for pick in picks], SHEET_COLUMNS)
