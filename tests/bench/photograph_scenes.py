"""Coarse scenes of the example photographs: what the quality gate says, in any unit of depth and under any kind of sky.

    PYTHONPATH=stages python tests/bench/photograph_scenes.py [--size 320] [--steps 500] [--sheets FOLDER] [--skies]

Six photographs with three added views each: classic depth, the motorcycle with its measured disparity. With --skies
china alone: depth as it is, sky unknown (as MoGe's mask leaves it), sky at 2 km (as Depth Pro sees it), and depth times
.02, .1 and 20; and a synthetic yard with its true depth under both skies. With --sheets the flights' contact sheets,
and all of them in one picture, sheets.jpg.

Exits with 1 when a photograph comes back below 29 dB, the flight is uncovered by more than 1 % (the yard's without the
added views: by no more), the units differ by more than .3 dB, or colours stray.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from synthetic.rendering import SyntheticView, render
from synthetic.yard import sky_of as sky_of_yard
from synthetic.yard import yard, yard_camera

from scenewright_stages.backends.depth.interface import DepthEstimate
from scenewright_stages.backends.inpaint.interface import INPAINT, OUTPAINT
from scenewright_stages.backends.runtime.loading import load
from scenewright_stages.scenes.flight import cameras_along, fly
from scenewright_stages.scenes.preparation import Layout, PreparedPhotograph, prepare_photograph, stored_precision
from scenewright_stages.scenes.quality import MAXIMUM_STRAY, FlightQuality, flight_quality
from scenewright_stages.scenes.video import write_flight_sheet
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.geometry.depth.prior import PriorSettings, estimate_prior
from scenewright_stages.vision.geometry.depth.provided import read_provided, window_depth
from scenewright_stages.vision.geometry.framing import outpaint_canvas, prepared_window
from scenewright_stages.vistadream.coarse import BackendFill, expansion_settings
from scenewright_stages.vistadream.depth import CanvasDepth, estimated_depth, on_canvas
from scenewright_stages.vistadream.expansion import ExpansionTools, expand
from scenewright_stages.vistadream.initialize import DepthPass, first_frames, initialize_scene
from scenewright_stages.vistadream.motion import candidate_path, flight_path
from scenewright_stages.vistadream.params import VistaDreamParams

INPUTS = Path(__file__).parents[2] / "examples" / "inputs"
YARD = "yard"
PHOTOGRAPHS = ("china.jpg", "motorcycle.png", "chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg")
FRAMES = 75
SHEET_WIDTH = 640
RENDERER = renderer_for("cpu")
Float32Array = NDArray[np.float32]
Change = Callable[[Float32Array, NDArray[np.bool_]], Float32Array]


@dataclass(frozen=True)
class Case:
    """A photograph and what is done to its depth, given where its sky is."""

    name: str
    photograph: str
    change: Change = lambda depth, sky: depth


def skies_and_units() -> list[Case]:
    """China's depth with two kinds of sky and in four units; the yard's with two kinds of sky."""
    noise = np.random.default_rng(0)

    def unknown(depth: Float32Array, sky: NDArray[np.bool_]) -> Float32Array:
        return np.where(sky, np.float32(np.nan), depth)

    def kilometres(depth: Float32Array, sky: NDArray[np.bool_]) -> Float32Array:
        return np.where(sky, 2000 * np.exp(noise.normal(0, 0.2, depth.shape)), depth).astype(np.float32)

    return [
        Case("as it is", "china.jpg"),
        Case("sky unknown", "china.jpg", lambda depth, sky: unknown(10 * depth, sky)),
        Case("sky at 2 km", "china.jpg", lambda depth, sky: kilometres(10 * depth, sky)),
        Case("yard, sky unknown", YARD, unknown),
        Case("yard, sky at 2 km", YARD, kilometres),
        *(
            Case(f"times {unit:g}", "china.jpg", lambda depth, sky, unit=unit: depth * np.float32(unit))
            for unit in (0.02, 0.1, 20.0)
        ),
    ]


def sky_of(srgb: Float32Array) -> NDArray[np.bool_]:
    """(H, W) bool: what is bright, in the upper 58 % and connected to the upper edge."""
    bright = srgb.min(axis=-1) > 0.55
    bright[int(0.58 * len(bright)) :] = False
    _, labels = cv2.connectedComponents(bright.astype(np.uint8))
    return np.isin(labels, np.setdiff1d(labels[0], [0]))


@cache
def yard_view(size: int) -> SyntheticView:
    """The yard, `size` pixels wide."""
    return render(yard(0), yard_camera(size, 3 * size // 4))


def prepared(case: Case, size: int, params: VistaDreamParams) -> PreparedPhotograph:
    """The working image of a case, as the pipeline's first stage makes it."""
    border = params.outpaint.expansion_percent
    if case.photograph != YARD:
        return prepare_photograph(INPUTS / case.photograph, size, border, params.mode)
    camera = yard_view(size).camera
    window = prepared_window(camera.width, camera.height, size)
    canvas = outpaint_canvas(camera.width, camera.height, border)
    layout = Layout(params.mode, camera.width, camera.height, None, window, canvas)
    return PreparedPhotograph(yard_view(size).srgb, layout, ())


def depth_of(case: Case, canvas: Float32Array, layout: Layout) -> CanvasDepth:
    """What the depth stage hands on: measured for the motorcycle, true for the yard, else the prior; as changed."""
    if case.photograph == YARD:
        view = yard_view(layout.source_width)
        true = case.change(view.depth, sky_of_yard(view))
        known = np.isfinite(true).astype(np.float32)
        return on_canvas(DepthEstimate(true, known, view.camera.intrinsics, is_metric=True), layout)
    if case.photograph.startswith("motorcycle"):
        found = read_provided(INPUTS / "motorcycle.disparity.npz", camera_file=INPUTS / "motorcycle.camera.json")
        shown = window_depth(found, (layout.source_width, layout.source_height), layout.crop)
        assert shown.camera is not None
        valid = np.isfinite(shown.depth).astype(np.float32)
        return on_canvas(DepthEstimate(shown.depth, valid, shown.camera.intrinsics, is_metric=True), layout)
    prior = estimate_prior(canvas, PriorSettings(), layout.canvas_camera(60.0).field_of_view[0])
    depth = case.change(prior.depth, sky_of(canvas)).astype(np.float32)
    confidence = np.where(np.isfinite(depth), prior.confidence, 0).astype(np.float32)
    return estimated_depth(DepthEstimate(depth, confidence, prior.camera.intrinsics, is_metric=False), layout)


def scene_quality(case: Case, size: int, steps: int, sheets: Path | None) -> tuple[FlightQuality, float]:
    """Makes the scene and flies through it; also what is uncovered without the added views."""
    params = VistaDreamParams.model_validate(
        {
            "mode": "coarse",
            "trajectory": {"motionPreset": "small"},
            # As in examples/scenejob-vistadream.yaml.
            "coarse": {"frames": 3, "minInpaintRatio": 0.03, "iterationsPerFrame": steps},
        }
    )
    photograph = prepared(case, size, params)
    canvas = photograph.layout.canvas
    painted = load(OUTPAINT, "classic").fill(canvas.paste(stored_precision(photograph.srgb)), canvas.hole(), seed=5)
    depth = depth_of(case, painted, photograph.layout)
    depth_pass = DepthPass(depth.depth, depth.confidence, depth.far, depth.camera.intrinsics)
    frames = first_frames(painted, depth_pass, photograph.layout, params)
    scene, _ = initialize_scene(frames, params, RENDERER, seed=5)
    tools = ExpansionTools(RENDERER, BackendFill(load(INPAINT, "classic"), ""), None, lambda share, text: None)
    candidates = cameras_along(frames, candidate_path(frames, params, 3 * params.coarse.dense_multiplier))
    grown = expand(scene, frames, candidates, expansion_settings(params, frames[0]), tools, seed=5)
    cameras = cameras_along(grown.frames, flight_path(grown.frames, params, FRAMES))
    flight = fly(grown.scene, cameras, RENDERER, lambda share, text: None)
    if sheets is not None:
        write_flight_sheet(flight, sheet_of(case, sheets))
    bare = fly(scene, cameras, RENDERER, lambda share, text: None).uncovered
    return flight_quality(grown.scene, grown.frames, flight, RENDERER), float(np.mean(bare))


def sheet_of(case: Case, folder: Path) -> Path:
    """Where the contact sheet of a case lies."""
    return folder / f"{case.name.replace(' ', '-')}-contact-sheet.jpg"


def write_overview(cases: list[Case], folder: Path) -> None:
    """All contact sheets in one picture, two in a row."""
    shown = []
    for case in cases:
        sheet = cv2.imread(str(sheet_of(case, folder)))
        assert sheet is not None
        height = round(sheet.shape[0] * SHEET_WIDTH / sheet.shape[1])
        shown.append(cv2.resize(sheet, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA))
    tallest = max(len(sheet) for sheet in shown)
    padded = [np.pad(sheet, ((0, tallest - len(sheet)), (0, 0), (0, 0)), constant_values=255) for sheet in shown]
    padded += [np.full_like(padded[0], 255)] * (len(padded) % 2)
    rows = [np.hstack(padded[first : first + 2]) for first in range(0, len(padded), 2)]
    assert cv2.imwrite(str(folder / "sheets.jpg"), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--skies", action="store_true")
    given = parser.parse_args()
    cases = skies_and_units() if given.skies else [Case(Path(name).stem, name) for name in PHOTOGRAPHS]
    if given.sheets is not None:
        given.sheets.mkdir(parents=True, exist_ok=True)
    good, scaled = True, []
    print("| case | photograph again | uncovered, mean | worst | without added views | clearance | stray colours |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in cases:
        found, bare = scene_quality(case, given.size, given.steps, given.sheets)
        good &= found.input_psnr >= 29.0 and found.uncovered_mean <= 0.01 and found.stray <= MAXIMUM_STRAY
        good &= case.photograph != YARD or bare > 0.01
        if case.name == "as it is" or case.name.startswith("times"):
            scaled.append(found.input_psnr)
        print(
            f"| {case.name} | {found.input_psnr:.2f} dB | {found.uncovered_mean:.2%} | {found.uncovered_max:.2%} "
            f"| {bare:.2%} | {found.clearance:.2f} | {found.stray:.4%} |",
            flush=True,
        )
    if given.sheets is not None:
        write_overview(cases, given.sheets)
    good &= not scaled or max(scaled) - min(scaled) <= 0.3
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
