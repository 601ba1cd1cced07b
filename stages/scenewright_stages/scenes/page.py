"""The report page of one scene: its content as plain data, and the rendering.

A pipeline's reporter fills `SceneData` from a sample's records and files and calls `render_scene`. Empty parts are
omitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewright_stages.contract.backends import Evidence
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.records import OutputFile
from scenewright_stages.contract.results import Results, total_time
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.report.assets import viewer_script
from scenewright_stages.report.data import (
    Failure,
    IndexData,
    IndexEntry,
    Link,
    Metric,
    NextStep,
    Parameter,
    Provenance,
    StageTiming,
    State,
)
from scenewright_stages.report.page import check_links, render_index, render_page
from scenewright_stages.report.pictures import DepthPicture, Picture, Video, mask_overlay, photograph
from scenewright_stages.report.rows import (
    failures_of,
    job_name,
    links,
    parameter_rows,
    provenance_rows,
    state_of,
    timings,
    warnings_of,
)
from scenewright_stages.scenes.downloads import downloads
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.scenes.splats import SplatScene, viewer_payload
from scenewright_stages.vision.imaging.colour import unit_from_uint8
from scenewright_stages.vision.imaging.video import first_frame

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class ChosenView:
    """One view that the pipeline added: the missing part, and its fill.

    Attributes:
        title: such as "View 1".
        facts: short label and value pairs, such as ("Missing before", "12.3 %").
    """

    title: str
    rendered: Picture
    filled: Picture
    depth: DepthPicture | None = None
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, eq=False)
class SceneData:
    """Content of one scene's page. Empty parts are omitted.

    Attributes:
        title: name of the sample or job; like every text here it is user input, which the page escapes.
        duration: seconds.
        warnings: shown above everything else.
        masks, images: galleries with their captions.
        log: text shown verbatim, such as the coarse summary.
        guess: a sentence at the top on what was guessed and not measured.
        next_steps: what to do with the result.
        downloads: files for other programs.
    """

    title: str
    pipeline: str
    state: State
    spec_hash: str
    duration: float
    job: str = ""
    subtitle: str = ""
    warnings: tuple[str, ...] = ()
    splats: SplatScene | None = None
    video: Video | None = None
    images: tuple[Picture, ...] = ()
    depth: DepthPicture | None = None
    masks: tuple[Picture, ...] = ()
    views: tuple[ChosenView, ...] = ()
    metrics: tuple[Metric, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    provenance: tuple[Provenance, ...] = ()
    stages: tuple[StageTiming, ...] = ()
    failures: tuple[Failure, ...] = ()
    links: tuple[Link, ...] = ()
    log: str = ""
    guess: str = ""
    next_steps: tuple[NextStep, ...] = ()
    downloads: tuple[Link, ...] = ()


def scene_facts(
    outcome: SampleOutcome,
    job: Mapping[str, Any],
    pipeline: str,
    last_stage: str,
    params: Params,
    link_labels: Sequence[tuple[str, str]],
    change: NextStep,
    own_evidence: Mapping[str, Evidence] | None = None,
    results: Results = Results(),  # noqa: B008 - frozen
) -> SceneData:
    """The common content of a scene's page without images; reporters add those with `dataclasses.replace`.

    Args:
        link_labels: output and label of the files of the last stage.
        change: how to change the result.
        own_evidence: basis of results by what is not a backend but a method of the pipeline.
        results: how the job ended; it has the order of the stages.
    """
    splats = next((file.path for file in _splat_files(outcome, last_stage)), "")
    opened = (NextStep("Open it in any viewer of Gaussian splats, such as SuperSplat:", splats),) if splats else ()
    return SceneData(
        title=job_name(job) if results.units.total == 1 else outcome.sample.id,
        pipeline=pipeline,
        state=state_of(outcome),
        spec_hash=str(job.get("workHash", "")),
        duration=total_time(outcome.times().values()).wall_seconds,
        job=job_name(job),
        warnings=warnings_of(outcome),
        parameters=tuple(parameter_rows(params, type(params)())),
        provenance=tuple(provenance_rows(outcome.records, own_evidence or {})),
        stages=tuple(timings(outcome, [stage.name for stage in results.stages])),
        failures=tuple(failures_of(outcome)),
        links=tuple(links(outcome, last_stage, link_labels)),
        guess=_guess(outcome),
        next_steps=(*opened, change),
        downloads=tuple(downloads(outcome)),
    )


def _splat_files(outcome: SampleOutcome, last_stage: str) -> Iterator[OutputFile]:
    record = outcome.records.get(last_stage)
    if record is not None and record.state == "done" and "ply" in record.outputs:
        yield record.outputs["ply"]


GUESSED_DEPTH = (
    "Distances here are a guess, not a measurement: they follow how photographs are usually laid out. "
    "Shapes look right near the path and may be wrong beside it."
)


def _guess(outcome: SampleOutcome) -> str:
    """Says so if a prior gave the depth."""
    rows = provenance_rows(outcome.records, {})
    return GUESSED_DEPTH if any(row.kind == "prior" and row.stage.endswith(": depth") for row in rows) else ""


def render_scene(data: SceneData) -> str:
    """The page of one scene as HTML text (UTF-8).

    Raises:
        ViewerNotBuiltError: there are splats to show, but the viewer script was never built.
        ValueError: a link leaves the page's folder.
    """
    check_links(link.href for link in (*data.links, *data.downloads))
    viewer = None if data.splats is None else viewer_payload(data.splats)
    return render_page(
        _TEMPLATES / "scene.html.j2",
        data,
        [] if viewer is None else [viewer_script()],
        viewer=viewer,
        slowest_seconds=max((stage.seconds for stage in data.stages), default=0.0),
    )


def render_scenes(job: Mapping[str, Any], pipeline: str, entries: Iterable[IndexEntry], results: Results) -> str:
    """The overview of several scenes as HTML text (UTF-8); every number and warning is from the results."""
    causes = [cause for cause in results.causes if cause.end in ("failed", "missing")]
    return render_index(
        IndexData(
            title=job_name(job),
            pipeline=pipeline,
            spec_hash=str(job.get("workHash", "")),
            duration=results.time.wall_seconds,
            entries=tuple(entries),
            warnings=tuple(results.warnings),
            failures=tuple(Failure(each.sample, each.stage, each.reason, each.message) for each in causes),
            counts=tuple(results.counted()),
            stages=tuple(
                StageTiming(stage.name, stage.time.wall_seconds, "done", stage.time.seconds)
                for stage in results.stages
                if stage.time.wall_seconds
            ),
        )
    )


def index_entry(outcome: SampleOutcome, picture: Picture | None, metrics: Iterable[Metric]) -> IndexEntry:
    """A scene's entry in the overview; links to its page if it is done."""
    why = f"{outcome.reason}: {outcome.message}" if outcome.reason else " ".join(warnings_of(outcome))
    href = f"{outcome.sample.id}/report.html" if outcome.end == "done" else ""
    return IndexEntry(outcome.sample.id, state_of(outcome), href, picture, why, tuple(metrics))


def measured(outcome: SampleOutcome, stage: str) -> Mapping[str, Any]:
    """The metrics of a done stage; empty otherwise."""
    record = outcome.records.get(stage)
    return record.metrics if record is not None and record.state == "done" else {}


def flight_video(path: Path, caption: str) -> Video:
    """The video of a flight. Its first frame is its poster, and the still that the 3D view opens with."""
    first = first_frame(path)
    poster = photograph(unit_from_uint8(first), "Where the camera path begins")
    return Video(path.read_bytes(), first.shape[1], first.shape[0], caption, poster)


def mask_pictures(frames: Sequence[Frame], names: Mapping[str, str]) -> Iterator[Picture]:
    """For each frame of a named kind, its supervised pixels and those that did not become Gaussians.

    Args:
        frames: of the scene.
        names: display name by kind of frame; other kinds are omitted.
    """
    for frame in frames:
        if frame.kind not in names:
            continue
        name = names[frame.kind]
        yield mask_overlay(frame.srgb, frame.inpaint, f"Supervised pixels of the {name}", f"Supervised: {name}")
        left_out = frame.inpaint & ~frame.inpaint_without_edge
        yield mask_overlay(
            frame.srgb, left_out, f"Pixels of the {name} without Gaussians", f"Without Gaussians: {name}"
        )
