"""Report pages of worlds: the viewer with the walk, the panorama, and the measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.report.data import Metric, NextStep
from scenewright_stages.scenes.page import (
    SceneData,
    measured,
)
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.scenes.reporter import Files, ScenePages
from scenewright_stages.scenes.splats import SplatCloud, SplatScene
from scenewright_stages.vision.gaussians.ply import read_ply
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.worldexplorer.export import read_walk
from scenewright_stages.worldexplorer.params import CANDIDATES, WorldExplorerParams
from scenewright_stages.worldexplorer.quality import (
    MAXIMUM_FRAME_UNCOVERED,
    MAXIMUM_GROUND_SLIP,
    MAXIMUM_MEAN_UNCOVERED,
    MINIMUM_CENTRE_PSNR,
    MINIMUM_CLEARANCE,
    MINIMUM_SHARPNESS_KEPT,
    WalkQuality,
)

LAST_STAGE = "export"
_SPLATS = 500_000


class WorldReporter(ScenePages[WorldExplorerParams]):
    """Makes ``report.html`` of worlds."""

    title = "WorldExplorer"
    block = "worldexplorer"
    params = WorldExplorerParams
    last_stage = LAST_STAGE
    links = (
        ("ply", "Gaussian splats (PLY, y down)"),
        ("ply_rotated", "Gaussian splats (PLY, y up)"),
        ("video", "Walk video"),
        ("depth_video", "Depth video"),
        ("path", "Cameras of the walk"),
        ("metrics", "Metrics"),
    )
    captions: ClassVar[dict[tuple[str, str], str]] = {
        (LAST_STAGE, "contact_sheet"): "Twelve frames of the walk",
        (CANDIDATES, "sheet"): "Candidates of the views between others, by number",
        ("scaffold", "panorama"): "The panorama that the world grew from",
        ("scaffold", "origin"): "Where it comes from: white is photographed, grey is mirrored, black is invented",
        ("depth", "preview"): "Distances from the middle",
    }
    flight = "A walk through the world"
    change = NextStep("Change the walk and run again; the world is kept:", "--set walk.reach=0.3")

    def completed(self, data: SceneData, outcome: SampleOutcome, params: WorldExplorerParams) -> SceneData:
        """Adds the splats, with the walk as their path."""
        return replace(data, splats=_splats(outcome.files, params))

    def metrics(self, outcome: SampleOutcome) -> Iterable[Metric]:
        """Quality of the walk, and where the panorama comes from."""
        return metric_rows(self.result(outcome), measured(outcome, "scaffold"))

    def index_metrics(self, outcome: SampleOutcome) -> Iterable[Metric]:
        """Quality of the walk."""
        return _metrics(self.result(outcome))

    def cover(self, outcome: SampleOutcome) -> tuple[Float32Array, str] | None:
        """The panorama."""
        key = ("scaffold", "panorama")
        return (read_png(outcome.files[key]()), "Panorama of") if key in outcome.files else None


def _splats(files: Files, params: WorldExplorerParams) -> SplatScene | None:
    if (LAST_STAGE, "ply") not in files:
        return None
    path = read_walk(files[LAST_STAGE, "path"]())
    cloud = SplatCloud.of(read_ply(files[LAST_STAGE, "ply"]()))
    return SplatScene(cloud, path[0], tuple(path), len(path) / params.walk.frames_per_second, _SPLATS)


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
    yield Metric(
        "Large Gaussians", 100 * walk.wide_share, "%", digits=1,
        note="Of the worst frame, covered by Gaussians wider than 5 % of the place; plain walls are such",
    )  # fmt: skip
    yield Metric(
        "Sharpness on large Gaussians", walk.wide_sharpness_kept, "", "higher", MINIMUM_SHARPNESS_KEPT, 2,
        "Frames of the walk where those are seen, against the same looks from the middle",
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
