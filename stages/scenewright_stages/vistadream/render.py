"""Last stage: the final flight, its quality, the Gaussians as PLY and the Rerun recording."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.flight import Flight, cameras_along, fly
from scenewright_stages.scenes.frames import Frame, load_frames, stage_renderer
from scenewright_stages.scenes.live import LiveViewer
from scenewright_stages.scenes.quality import FlightQuality, Remedies, flight_quality
from scenewright_stages.scenes.recorded import RerunScene, rerun_frames, rerun_view
from scenewright_stages.scenes.side_by_side import side_by_side
from scenewright_stages.scenes.splats import SplatCloud
from scenewright_stages.scenes.video import write_flight_sheet, write_videos
from scenewright_stages.vision.gaussians.ply import write_ply
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vistadream.motion import Motion, flight_path, motion_warnings, scene_motion
from scenewright_stages.vistadream.params import RenderParams, VistaDreamParams

_LESS_MOTION = 0.6
"""Of the motion so far: what a warning proposes."""


class RenderStage(Stage[VistaDreamParams]):
    """Flies through a finished scene."""

    def __init__(self, context: StageContext[VistaDreamParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)
        self.last_stage = context.stage.upstream()[0]

    def process(self, sample: Sample, inputs: StageInputs[VistaDreamParams]) -> StageResult:
        """Writes PLY, videos, contact sheet, metrics and, unless switched off, the Rerun recording."""
        render = self.params.render
        frames = load_frames(inputs.path(self.last_stage, "frames"))
        scene = GaussianScene.load_npz(inputs.path(self.last_stage, "scene")).to(self.renderer.device)
        trajectory = flight_path(frames, self.params, frame_count(len(frames), render))
        flight = fly(scene, cameras_along(frames, trajectory), self.renderer, self.context.progress)
        with ThreadPoolExecutor(1) as pool:
            judging = pool.submit(self._judge, scene, frames, flight)
            outputs = self._write(sample.id, scene, frames, flight, inputs.workspace)
        quality, motion, warnings = judging.result()
        metrics: dict[str, Any] = {
            "frames": len(flight.cameras),
            "views": len(frames),
            "gaussians": len(scene),
            "renderer": self.renderer.name,
            "radius": trajectory.radius,
            "motion": asdict(motion),
            "quality": quality.to_json(),
        }
        outputs["metrics"] = inputs.workspace / "metrics.json"
        outputs["metrics"].write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        return StageResult(outputs, metrics=metrics, warnings=warnings)

    def _judge(
        self, scene: GaussianScene, frames: Sequence[Frame], flight: Flight
    ) -> tuple[FlightQuality, Motion, list[str]]:
        """The quality of the flight, the motion in effect, and the warnings about both."""
        motion = scene_motion(frames[0], self.params)
        quality = flight_quality(scene, frames, flight, self.renderer)
        remedies = quality_remedies(self.params, motion)
        return quality, motion, [*quality.failures(remedies), *motion_warnings(frames[0], self.params)]

    def _write(
        self, sample_id: str, scene: GaussianScene, frames: Sequence[Frame], flight: Flight, workspace: Path
    ) -> dict[str, Path]:
        names = {"ply": "gf.ply", "video": "orbit.mp4", "depth_video": "orbit_depth.mp4"}
        names |= {"contact_sheet": "contact_sheet.jpg"}
        outputs = {name: workspace / file for name, file in names.items()}
        video, depth_video, rate = outputs["video"], outputs["depth_video"], self.params.render.frames_per_second
        steps: list[Callable[[], object]] = [
            lambda: write_videos(flight, video, depth_video, rate),
            lambda: write_ply(published(scene, self.params.render), outputs["ply"]),
            lambda: write_flight_sheet(flight, outputs["contact_sheet"]),
        ]
        if self.params.render.rerun:
            from scenewright_stages.scenes.rerun import write_rrd

            recording = outputs["rerun"] = workspace / "scene.rrd"
            steps.append(lambda: write_rrd(recording, recorded_scene(sample_id, scene, frames, flight)))
        self.context.progress(0.8, "writing PLY, videos and recording")
        side_by_side(*steps)
        viewer = LiveViewer(self.params.live_viewer)
        if viewer.watches:
            viewer.show(recorded_scene(sample_id, scene, frames, flight))
        return outputs


def quality_remedies(params: VistaDreamParams, motion: Motion) -> Remedies:
    """What to set against holes, collisions and a poor fit, given what the job says now."""
    forward, backward = (round(_LESS_MOTION * ratio, 2) for ratio in (motion.forward, motion.backward))
    preset = "--set trajectory.motionPreset= " if params.trajectory.motion_preset else ""
    less = f"{preset}--set trajectory.forwardRatio={forward:g} --set trajectory.backwardRatio={backward:g}"
    more = f"--set coarse.frames={2 * params.coarse.frames}" if params.mode == "coarse" else "--set mode=coarse"
    return Remedies(
        holes=f"{more} fills more of it, {less} moves less.",
        motion=f"{less} moves less.",
        fit=f"--set initialize.iterations={2 * max(params.initialize.iterations, 50)} fits for longer.",
    )


def published(scene: GaussianScene, render: RenderParams) -> GaussianScene:
    """The scene as its PLY holds it: unit quaternions, and the degree and the Gaussians that were asked for."""
    if render.drop_invisible:
        scene = scene.select(torch.sigmoid(scene.opacity_logits) >= 1 / 255)
    whole = scene.with_harmonics((render.gaussians_ply_degree + 1) ** 2)
    return replace(whole, quaternions=torch.nn.functional.normalize(whole.quaternions, dim=1))


def frame_count(views: int, render: RenderParams) -> int:
    """Frames of the final path: so many for each view of the scene, at most so many; of one or two views, all of them.

    VistaDream's 25 a view would leave a video of a second.
    """
    return render.max_frames if views <= 2 else min(render.max_frames, render.frames_per_view * views)


def recorded_scene(
    sample_id: str, scene: GaussianScene, frames: Sequence[Frame], flight: Flight | None = None
) -> RerunScene:
    """The Rerun recording: first frames, views of the coarse loop, splats, and the final flight when it was flown."""
    added = [frame for frame in frames if frame.kind == "coarse"]
    return RerunScene(
        recording_id=f"vistadream-{sample_id}",
        initial_views=tuple(rerun_view(frame.kind, frame) for frame in frames if frame.kind != "coarse"),
        coarse_views=tuple(rerun_view(f"view {number}", frame) for number, frame in enumerate(added, start=1)),
        splats=SplatCloud.of(scene),
        frames=rerun_frames(flight) if flight is not None else (),
    )
