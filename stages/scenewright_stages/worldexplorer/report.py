"""Report pages of worlds: the viewer with the walk, the panorama, and the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.contract.stage import Reporter, SampleOutcome
from scenewright_stages.report.data import IndexEntry, Metric
from scenewright_stages.report.pictures import Picture, photograph, thumbnail
from scenewright_stages.scenes.page import (
    SceneData,
    flight_video,
    index_entry,
    measured,
    render_scene,
    render_scenes,
    scene_facts,
)
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.worldexplorer.export import read_walk
from scenewright_stages.worldexplorer.params import CANDIDATES, WorldExplorerParams
from scenewright_stages.worldexplorer.quality import (
    MAXIMUM_FRAME_UNCOVERED,
    MAXIMUM_GROUND_SLIP,
    MAXIMUM_MEAN_UNCOVERED,
    MAXIMUM_WIDE_SHARE,
    MINIMUM_CENTRE_PSNR,
    MINIMUM_CLEARANCE,
    MINIMUM_SHARPNESS_KEPT,
    WalkQuality,
)

LAST_STAGE = "export"
_TITLE = "WorldExplorer"
_THUMBNAIL_SIDE = 320
_SPLATS = 500_000
_LINKS = (
    ("ply", "Gaussian splats (PLY, y down)"),
    ("ply_rotated", "Gaussian splats (PLY, y up)"),
    ("video", "Walk video"),
    ("depth_video", "Depth video"),
    ("path", "Cameras of the walk"),
    ("metrics", "Metrics"),
)
_Files = Mapping[tuple[str, str], Callable[[], Path]]


class WorldReporter(Reporter):
    """Makes ``report.html`` of worlds."""

    def sample_page(self, outcome: SampleOutcome, job: Mapping[str, Any]) -> str:
        """The page of one world."""
        return render_scene(world_report(outcome, job))

    def index_page(self, outcomes: Sequence[SampleOutcome], job: Mapping[str, Any]) -> str:
        """The overview of several worlds."""
        return render_scenes(outcomes, job, _TITLE, map(_index_entry, outcomes))


def world_report(outcome: SampleOutcome, job: Mapping[str, Any]) -> SceneData:
    """Everything on the page of one world; for an unfinished world, what exists so far."""
    params = WorldExplorerParams.model_validate(job.get("spec", {}).get("worldexplorer") or {})
    files = outcome.files
    return replace(
        scene_facts(outcome, job, _TITLE, LAST_STAGE, params, _LINKS),
        splats=_splats(files, params),
        video=flight_video(files[LAST_STAGE, "video"](), "A walk through the world")
        if (LAST_STAGE, "video") in files
        else None,
        images=tuple(_images(files)),
        metrics=metric_rows(measured(outcome, LAST_STAGE), measured(outcome, "scaffold")),
    )


def _splats(files: _Files, params: WorldExplorerParams) -> SplatScene | None:
    if (LAST_STAGE, "ply") not in files:
        return None
    path = read_walk(files[LAST_STAGE, "path"]())
    cloud = SplatCloud.of(read_ply(files[LAST_STAGE, "ply"]()))
    return SplatScene(cloud, path[0], tuple(path), len(path) / params.walk.frames_per_second, _SPLATS)


def _images(files: _Files) -> Iterator[Picture]:
    captions = {
        (LAST_STAGE, "contact_sheet"): "Twelve frames of the walk",
        (CANDIDATES, "sheet"): "Candidates of the views between others, by number",
        ("scaffold", "panorama"): "The panorama that the world grew from",
        ("scaffold", "origin"): "Where it comes from: white is photographed, grey is mirrored, black is invented",
        ("depth", "preview"): "Distances from the middle",
    }
    for key, caption in captions.items():
        if key in files:
            yield photograph(read_png(files[key]()), caption, caption)


def metric_rows(export: Mapping[str, Any], scaffold: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The measurements shown on a world's page, from the records of two stages; each may be empty."""
    return (*_metrics(export), *_origin(scaffold))


def _metrics(metrics: Mapping[str, Any]) -> Iterator[Metric]:
    if not metrics:
        return
    walk = WalkQuality.from_json(metrics["walk"])
    yield Metric(
        "Uncovered, mean", 100 * walk.uncovered_mean, "%", "lower", 100 * MAXIMUM_MEAN_UNCOVERED, 2,
        "Share of the walk's pixels that show nothing",
    )  # fmt: skip
    yield Metric("Uncovered, worst frame", 100 * walk.uncovered_max, "%", "lower", 100 * MAXIMUM_FRAME_UNCOVERED, 2)
    yield Metric(
        "Views from the middle", metrics["centre_psnr"], "dB", "higher", MINIMUM_CENTRE_PSNR, 1,
        "PSNR against the panorama",
    )  # fmt: skip
    if np.isfinite(walk.ground_slip_px):
        yield Metric(
            "Ground slips", walk.ground_slip_px, "px", "lower", MAXIMUM_GROUND_SLIP, 2,
            f"How far the ground leaves a level plane along the walk; painted on a ball {walk.ball_slip_px:.1f} px",
        )  # fmt: skip
    yield Metric(
        "Sharpness kept", walk.sharpness_kept, "", "higher", MINIMUM_SHARPNESS_KEPT, 2,
        "Frames of the walk against the same looks from the middle",
    )  # fmt: skip
    yield Metric("Large Gaussians", 100 * walk.wide_share, "%", "lower", 100 * MAXIMUM_WIDE_SHARE, 1,
        "Of the worst frame, covered by Gaussians wider than 5 % of the place",
    )  # fmt: skip
    yield Metric(
        "Clearance", walk.nearest_gaussian_metres / walk.near_metres, "", "higher", MINIMUM_CLEARANCE, 2,
        "Nearest Gaussian to the walk, relative to the near depth of the place",
    )  # fmt: skip
    if held_out := metrics.get("held_out"):
        note = f"SSIM {held_out['ssim']:.3f} over {held_out['views']} pictures of paths that did not train"
        yield Metric("Paths that were held out", held_out["psnr"], "dB", "higher", None, 1, note)
    yield Metric("Reach of the walk", walk.reach_metres, "m", digits=2)
    yield Metric("Gaussians", metrics["gaussians"], digits=0)


def _origin(metrics: Mapping[str, Any]) -> Iterator[Metric]:
    """Which share of the sphere was photographed, and which share mirrors it."""
    for name in ("photographed", "mirrored"):
        if metrics.get(name):
            yield Metric(name.capitalize(), 100 * metrics[name], "%", digits=0, note="Share of the panorama's pixels")


def _index_entry(outcome: SampleOutcome) -> IndexEntry:
    picture = None
    if ("scaffold", "panorama") in outcome.files:
        srgb = read_png(outcome.files["scaffold", "panorama"]())
        picture = thumbnail(srgb, _THUMBNAIL_SIDE, f"Panorama of {outcome.sample.id}")
    return index_entry(outcome, LAST_STAGE, picture, _metrics(measured(outcome, LAST_STAGE)))
