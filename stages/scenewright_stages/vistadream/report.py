"""The VistaDream pages of a result: one scene to look at, or an overview of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.contract.records import Record
from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.report.data import (
    ChosenView,
    Failure,
    IndexData,
    IndexEntry,
    Link,
    Metric,
    Parameter,
    Provenance,
    ReportData,
    SplatScene,
    StageTiming,
    State,
)
from scenewright_stages.report.page import render_index, render_scene_report
from scenewright_stages.report.parameters import parameter_rows
from scenewright_stages.report.pictures import Picture, Video, depth_picture, mask_overlay, photograph, thumbnail
from scenewright_stages.scenes.frames import Frame, load_frames
from scenewright_stages.scenes.quality import (
    MAXIMUM_FRAME_UNCOVERED,
    MAXIMUM_MEAN_UNCOVERED,
    MINIMUM_CLEARANCE,
    MINIMUM_INPUT_PSNR,
)
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vistadream.outpaint import read_png
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.path import cameras_along, scene_trajectory
from scenewright_stages.vistadream.recording import cloud_of

THUMBNAIL_SIDE = 320
_FILE_LINKS = (
    ("ply", "Gaussian splats (PLY)"),
    ("video", "Orbit video"),
    ("depth_video", "Depth video"),
    ("rerun", "Rerun recording"),
    ("metrics", "Metrics"),
)
_KINDS: dict[str, Any] = {"provided": "measured", "classic": "prior", "continued": "prior"}
_Files = Mapping[tuple[str, str], Callable[[], Path]]


class SceneReporter(Reporter):
    """Makes ``report.html`` of VistaDream jobs."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """The page of one scene."""
        return render_scene_report(scene_report(outcome, job))

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The overview of several scenes."""
        entries = tuple(_index_entry(outcome) for outcome in outcomes)
        return render_index(
            IndexData(
                title=_job_name(job),
                pipeline="VistaDream",
                spec_hash=str(job.get("workHash", "")),
                duration=sum(record.seconds for outcome in outcomes for record in outcome.records.values()),
                entries=entries,
                failures=tuple(failure for outcome in outcomes for failure in _failures(outcome)),
            )
        )


def scene_report(outcome: SampleOutcome, job: Mapping[str, Any]) -> ReportData:
    """Everything the page of one sample shows; of an unfinished sample, what there is."""
    params = job_parameters(job)
    files, records = outcome.files, outcome.records
    frames = _frames(files)
    render = records.get("render")
    metrics = render.metrics if render is not None and render.state == "done" else {}
    return ReportData(
        title=outcome.sample.id,
        pipeline="VistaDream",
        state=_state(outcome),
        spec_hash=str(job.get("workHash", "")),
        duration=sum(record.seconds for record in records.values()),
        job=_job_name(job),
        subtitle=f"{params.mode}, {len(frames)} views" if frames else params.mode,
        warnings=_warnings(outcome),
        splats=_splats(files, frames, params, int(metrics.get("frames", 0))),
        video=_video(files),
        images=tuple(_images(files)),
        depth=depth_picture(_canvas(frames).depth, "Depth map", "Depth of the canvas") if frames else None,
        masks=tuple(_masks(frames)),
        views=tuple(_views(frames, records.get("coarse"), files)),
        metrics=tuple(_metrics(metrics, records.get("coarse"))),
        parameters=tuple(_parameters(params)),
        provenance=tuple(_provenance(records)),
        stages=tuple(StageTiming(name, record.seconds, _timing_state(record)) for name, record in records.items()),
        failures=tuple(_failures(outcome)),
        links=tuple(_links(outcome)),
        log=_text(files, ("coarse", "log")),
    )


def job_parameters(job: Mapping[str, Any]) -> VistaDreamParams:
    """The pipeline block of a job's effective spec."""
    return VistaDreamParams.model_validate(job.get("spec", {}).get("vistadream") or {})


def _job_name(job: Mapping[str, Any]) -> str:
    return str(job.get("metadata", {}).get("name", ""))


def _canvas(frames: Sequence[Frame]) -> Frame:
    """The frame that shows most: the outpainted one, else the photograph."""
    return next((frame for frame in frames if frame.kind == "outpaint"), frames[0])


def _frames(files: _Files) -> list[Frame]:
    for key in (("coarse", "frames"), ("initialize", "frames")):
        if key in files:
            return load_frames(files[key]())
    return []


def _splats(files: _Files, frames: list[Frame], params: VistaDreamParams, count: int) -> SplatScene | None:
    if ("render", "ply") not in files or not frames:
        return None
    cloud = cloud_of(read_ply(files["render", "ply"]()))
    path = cameras_along(frames, scene_trajectory(frames, params.trajectory, count)) if count else []
    return SplatScene(cloud, frames[0].camera, tuple(path), len(path) / params.render.frames_per_second)


def _video(files: _Files) -> Video | None:
    if ("render", "video") not in files:
        return None
    first = read_png(files["outpaint", "input"]())
    poster = photograph(first, "The photograph")
    data = files["render", "video"]().read_bytes()
    return Video(data, first.shape[1], first.shape[0], "The final flight", poster)


def _images(files: _Files) -> Iterator[Picture]:
    captions = {"input": "The photograph at working size", "image": "With its painted border"}
    for name, caption in captions.items():
        if ("outpaint", name) in files:
            yield photograph(read_png(files["outpaint", name]()), caption, caption)


def _masks(frames: Sequence[Frame]) -> Iterator[Picture]:
    for frame in frames:
        if frame.kind == "coarse":
            continue
        name = "photograph" if frame.kind == "input" else "border"
        yield mask_overlay(frame.srgb, frame.inpaint, f"Supervised pixels of the {name}", f"Supervised: {name}")
        left_out = frame.inpaint & ~frame.inpaint_without_edge
        yield mask_overlay(
            frame.srgb, left_out, f"Pixels of the {name} without Gaussians", f"Without Gaussians: {name}"
        )


def _views(frames: Sequence[Frame], coarse: Record | None, files: _Files) -> Iterator[ChosenView]:
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
    quality = metrics["quality"]
    yield Metric(
        "Uncovered, mean", 100 * quality["uncovered_mean"], "%", "lower", 100 * MAXIMUM_MEAN_UNCOVERED, 2,
        "Share of the video's pixels that show nothing",
    )  # fmt: skip
    yield Metric(
        "Uncovered, worst frame", 100 * quality["uncovered_max"], "%", "lower", 100 * MAXIMUM_FRAME_UNCOVERED, 2,
        f"Frame {quality['worst_frame']}",
    )  # fmt: skip
    yield Metric(
        "Clearance", quality["clearance"], "", "higher", MINIMUM_CLEARANCE, 2,
        "Nearest Gaussian to any camera, relative to the scene's near depth",
    )  # fmt: skip
    yield Metric(
        "Photograph again", quality["input_psnr"], "dB", "higher", MINIMUM_INPUT_PSNR, 1,
        "PSNR of the photograph rendered from its own pose",
    )  # fmt: skip
    yield Metric("Gaussians", metrics["gaussians"], digits=0)
    yield Metric("Frames of the video", metrics["frames"], digits=0)
    if coarse is not None and coarse.metrics:
        asked = coarse.metrics["requested_extra_frames"]
        yield Metric(
            "Extra views", coarse.metrics["selected_extra_frames"], "", "higher", asked, 0, f"{asked} asked for"
        )


def _parameters(params: VistaDreamParams) -> Iterator[Parameter]:
    yield from parameter_rows(params, VistaDreamParams())


def _provenance(records: Mapping[str, Record]) -> Iterator[Provenance]:
    for stage, record in records.items():
        for use in record.backends:
            weights = " ".join(part for part in (use.get("model", ""), use.get("revision", "")) if part)
            kind = _KINDS.get(use["backend"], "model")
            title = f"{stage}: {use['capability']}"
            yield Provenance(title, use["backend"], kind, use.get("licence", ""), weights, use.get("notes", ""))


def _warnings(outcome: SampleOutcome) -> tuple[str, ...]:
    return tuple(warning for record in outcome.records.values() for warning in record.warnings)


def _failures(outcome: SampleOutcome) -> Iterator[Failure]:
    sample = outcome.sample
    if sample.rejected is not None:
        yield Failure(sample.id, "index", *sample.rejected)
    for stage, record in outcome.records.items():
        if record.state == "failed":
            yield Failure(sample.id, stage, record.reason, record.message)


def _state(outcome: SampleOutcome) -> State:
    if next(_failures(outcome), None) is not None:
        return "failed"
    render = outcome.records.get("render")
    if render is None or render.state != "done":
        return "missing"
    return "warning" if _warnings(outcome) else "done"


def _timing_state(record: Record) -> State:
    if record.state == "started":
        return "missing"
    if record.state == "rejected":
        return "skipped"
    return "warning" if record.state == "done" and record.warnings else record.state


def _links(outcome: SampleOutcome) -> Iterator[Link]:
    render = outcome.records.get("render")
    for name, label in _FILE_LINKS:
        if render is not None and name in render.outputs:
            yield Link(label, render.outputs[name].path)


def _text(files: _Files, key: tuple[str, str]) -> str:
    return files[key]().read_text() if key in files else ""


def _index_entry(outcome: SampleOutcome) -> IndexEntry:
    state = _state(outcome)
    done = state in ("done", "warning")
    picture = None
    if ("outpaint", "input") in outcome.files:
        picture = thumbnail(
            read_png(outcome.files["outpaint", "input"]()), THUMBNAIL_SIDE, f"Input {outcome.sample.id}"
        )
    failure = next(_failures(outcome), None)
    message = f"{failure.reason}: {failure.message}" if failure else " ".join(_warnings(outcome))
    render = outcome.records.get("render")
    metrics = tuple(_metrics(render.metrics, outcome.records.get("coarse")))[:4] if done and render else ()
    href = f"{outcome.sample.id}/report.html" if done else ""
    return IndexEntry(outcome.sample.id, state, href, picture, message, metrics)
