"""The VistaDream pages of a result: one scene to look at, or an overview of many."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from scenewright_stages.contract.backends import Evidence
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.report.data import Metric, NextStep
from scenewright_stages.report.pictures import depth_picture, photograph
from scenewright_stages.scenes.flight import cameras_along
from scenewright_stages.scenes.frames import Frame, load_frames
from scenewright_stages.scenes.page import (
    ChosenView,
    SceneData,
    mask_pictures,
)
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.scenes.quality import quality_rows
from scenewright_stages.scenes.reporter import Files, ScenePages
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.vistadream.coarse import CONTINUED
from scenewright_stages.vistadream.motion import flight_path
from scenewright_stages.vistadream.params import VistaDreamParams

LAST_STAGE = "render"
_FRAME_NAMES = {"input": "photograph", "outpaint": "border"}


class SceneReporter(ScenePages[VistaDreamParams]):
    """Makes ``report.html`` of VistaDream jobs."""

    title = "VistaDream"
    block = "vistadream"
    params = VistaDreamParams
    last_stage = LAST_STAGE
    links = (
        ("ply", "Gaussian splats (PLY)"),
        ("video", "Orbit video"),
        ("depth_video", "Depth video"),
        ("rerun", "Rerun recording"),
        ("metrics", "Metrics"),
    )
    captions: ClassVar[dict[tuple[str, str], str]] = {
        ("outpaint", "input"): "The photograph at working size",
        ("outpaint", "image"): "With its painted border",
    }
    flight = "The final flight"
    change = NextStep(
        "Change how far the camera moves and run again; depth and border are kept:",
        "--set trajectory.forwardRatio=0.1 --set trajectory.backwardRatio=0.15",
    )
    own_evidence: ClassVar[dict[str, Evidence]] = {CONTINUED: "prior"}

    def completed(self, data: SceneData, outcome: SampleOutcome, params: VistaDreamParams) -> SceneData:
        """Adds splats, depth, masks, the views that were added, and the coarse summary."""
        files = outcome.files
        frames = _frames(files)
        return replace(
            data,
            subtitle=f"{params.mode}, {len(frames)} views" if frames else params.mode,
            splats=_splats(files, frames, params, int(self.result(outcome).get("frames", 0))),
            depth=depth_picture(_canvas(frames).depth, "Depth map", "Depth of the canvas") if frames else None,
            masks=tuple(mask_pictures(frames, _FRAME_NAMES)),
            views=tuple(_views(frames, files)),
            log=_text(files, ("coarse", "log")),
        )

    def metrics(self, outcome: SampleOutcome) -> Iterator[Metric]:
        """Quality of the flight, and how many views were added."""
        return _metrics(self.result(outcome), outcome.records.get("coarse"))

    def index_metrics(self, outcome: SampleOutcome) -> Iterator[Metric]:
        """The first four."""
        return islice(self.metrics(outcome), 4)

    def cover(self, outcome: SampleOutcome) -> tuple[Float32Array, str] | None:
        """The photograph at working size."""
        key = ("outpaint", "input")
        return (read_png(outcome.files[key]()), "Input") if key in outcome.files else None


def _canvas(frames: Sequence[Frame]) -> Frame:
    """The frame that shows most: the outpainted one, else the photograph."""
    return next((frame for frame in frames if frame.kind == "outpaint"), frames[0])


def _frames(files: Files) -> list[Frame]:
    for key in (("coarse", "frames"), ("initialize", "frames")):
        if key in files:
            return load_frames(files[key]())
    return []


def _splats(files: Files, frames: list[Frame], params: VistaDreamParams, count: int) -> SplatScene | None:
    if (LAST_STAGE, "ply") not in files or not frames:
        return None
    cloud = SplatCloud.of(read_ply(files[LAST_STAGE, "ply"]()))
    path = cameras_along(frames, flight_path(frames, params, count)) if count else []
    return SplatScene(cloud, frames[0].camera, tuple(path), len(path) / params.render.frames_per_second)


def _views(frames: Sequence[Frame], files: Files) -> Iterator[ChosenView]:
    summary = json.loads(_text(files, ("coarse", "summary")) or "{}")
    added = [frame for frame in frames if frame.kind == "coarse"]
    for number, (frame, facts) in enumerate(zip(added, summary.get("frames", []), strict=False), start=1):
        holed = np.where(frame.inpaint[..., None], np.float32(0), frame.srgb)
        yield ChosenView(
            title=f"View {number}",
            rendered=photograph(holed, f"View {number} as rendered, holes black", "Rendered"),
            filled=photograph(frame.srgb, f"View {number} with its holes filled", "Filled"),
            depth=depth_picture(frame.depth, f"Depth of view {number}", "Aligned depth"),
            facts=(
                ("Pose", str(facts["dense_pose_index"])),
                ("Hole", f"{facts['inpaint_ratio']:.1%}"),
                ("New Gaussians", f"{facts['added_splats']:,}"),
                ("Dropped in front", f"{facts['occluded_pixels']:,}"),
            ),
        )


def _metrics(metrics: Mapping[str, Any], coarse: Record | None) -> Iterator[Metric]:
    if not metrics:
        return
    yield from quality_rows(metrics["quality"])
    yield Metric("Gaussians", metrics["gaussians"], digits=0)
    yield Metric("Frames of the video", metrics["frames"], digits=0)
    if coarse is not None and coarse.metrics:
        yield extra_views(coarse)


def extra_views(coarse: Record) -> Metric:
    """How many views were added. Fewer than asked for is a miss only if the stage warns that holes were left."""
    added, asked = coarse.metrics["selected_extra_frames"], coarse.metrics["requested_extra_frames"]
    if added < asked and not coarse.warnings:
        return Metric("Extra views", added, digits=0, note=f"of up to {asked}: then every hole was filled")
    return Metric("Extra views", added, "", "higher", asked, 0, f"{asked} asked for")


def _text(files: Files, key: tuple[str, str]) -> str:
    return files[key]().read_text() if key in files else ""
