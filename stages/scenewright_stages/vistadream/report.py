"""The VistaDream pages of a result: one scene to look at, or an overview of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.contract.records import Record
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.report.data import IndexEntry, Metric
from scenewright_stages.report.pictures import Picture, depth_picture, photograph, thumbnail
from scenewright_stages.scenes.flight import cameras_along
from scenewright_stages.scenes.frames import Frame, load_frames
from scenewright_stages.scenes.page import (
    ChosenView,
    SceneData,
    flight_video,
    index_entry,
    mask_pictures,
    measured,
    render_scene,
    render_scenes,
    scene_facts,
)
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.scenes.quality import quality_rows
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vistadream.coarse import CONTINUED
from scenewright_stages.vistadream.motion import flight_path
from scenewright_stages.vistadream.params import VistaDreamParams

_TITLE = "VistaDream"
THUMBNAIL_SIDE = 320
LAST_STAGE = "render"
_FILE_LINKS = (
    ("ply", "Gaussian splats (PLY)"),
    ("video", "Orbit video"),
    ("depth_video", "Depth video"),
    ("rerun", "Rerun recording"),
    ("metrics", "Metrics"),
)
_FRAME_NAMES = {"input": "photograph", "outpaint": "border"}
_Files = Mapping[tuple[str, str], Callable[[], Path]]


class SceneReporter(Reporter):
    """Makes ``report.html`` of VistaDream jobs."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """The page of one scene."""
        return render_scene(scene_report(outcome, job))

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The overview of several scenes."""
        return render_scenes(outcomes, job, _TITLE, map(_index_entry, outcomes))


def scene_report(outcome: SampleOutcome, job: Mapping[str, Any]) -> SceneData:
    """Everything the page of one sample shows; of an unfinished sample, what is there."""
    params = job_parameters(job)
    files = outcome.files
    frames = _frames(files)
    metrics = measured(outcome, LAST_STAGE)
    return replace(
        scene_facts(outcome, job, _TITLE, LAST_STAGE, params, _FILE_LINKS, {CONTINUED: "prior"}),
        subtitle=f"{params.mode}, {len(frames)} views" if frames else params.mode,
        splats=_splats(files, frames, params, int(metrics.get("frames", 0))),
        video=flight_video(files[LAST_STAGE, "video"](), "The final flight")
        if (LAST_STAGE, "video") in files
        else None,
        images=tuple(_images(files)),
        depth=depth_picture(_canvas(frames).depth, "Depth map", "Depth of the canvas") if frames else None,
        masks=tuple(mask_pictures(frames, _FRAME_NAMES)),
        views=tuple(_views(frames, files)),
        metrics=tuple(_metrics(metrics, outcome.records.get("coarse"))),
        log=_text(files, ("coarse", "log")),
    )


def job_parameters(job: Mapping[str, Any]) -> VistaDreamParams:
    """The pipeline block of a job's effective spec."""
    return VistaDreamParams.model_validate(job.get("spec", {}).get("vistadream") or {})


def _canvas(frames: Sequence[Frame]) -> Frame:
    """The frame that shows most: the outpainted one, else the photograph."""
    return next((frame for frame in frames if frame.kind == "outpaint"), frames[0])


def _frames(files: _Files) -> list[Frame]:
    for key in (("coarse", "frames"), ("initialize", "frames")):
        if key in files:
            return load_frames(files[key]())
    return []


def _splats(files: _Files, frames: list[Frame], params: VistaDreamParams, count: int) -> SplatScene | None:
    if (LAST_STAGE, "ply") not in files or not frames:
        return None
    cloud = SplatCloud.of(read_ply(files[LAST_STAGE, "ply"]()))
    path = cameras_along(frames, flight_path(frames, params, count)) if count else []
    return SplatScene(cloud, frames[0].camera, tuple(path), len(path) / params.render.frames_per_second)


def _images(files: _Files) -> Iterator[Picture]:
    captions = {"input": "The photograph at working size", "image": "With its painted border"}
    for name, caption in captions.items():
        if ("outpaint", name) in files:
            yield photograph(read_png(files["outpaint", name]()), caption, caption)


def _views(frames: Sequence[Frame], files: _Files) -> Iterator[ChosenView]:
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
        asked = coarse.metrics["requested_extra_frames"]
        yield Metric(
            "Extra views", coarse.metrics["selected_extra_frames"], "", "higher", asked, 0, f"{asked} asked for"
        )


def _text(files: _Files, key: tuple[str, str]) -> str:
    return files[key]().read_text() if key in files else ""


def _index_entry(outcome: SampleOutcome) -> IndexEntry:
    picture = None
    if ("outpaint", "input") in outcome.files:
        picture = thumbnail(
            read_png(outcome.files["outpaint", "input"]()), THUMBNAIL_SIDE, f"Input {outcome.sample.id}"
        )
    metrics = tuple(_metrics(measured(outcome, LAST_STAGE), outcome.records.get("coarse")))[:4]
    return index_entry(outcome, LAST_STAGE, picture, metrics)
