"""Seconds that a whole coarse scene takes on one GPU, and what they go into.

    python tests/bench/scene_h200.py [--precisions bf16 fp8] [--size 768] [--frames 10] [--json out.json]

The pipeline's own code makes a scene of a synthetic room and its exact depth: one fill of the outpainting canvas, the
first frames and their optimisation, the coarse loop with gsplat, and the frames of the final flight, drawn and copied
to the host but not encoded. FLUX Fill has its full size and random weights, which take the same time as trained ones.
Loading, compiling and one small scene come before and are not counted. A second scene tells what the seconds go into:
the device is waited for before and after each part, which costs time of its own. Exit code 1 if a bar is missed.

GPU busy is counted by the device itself (NVML's GPM, "graphics utilisation": the share of the whole scene in which the
compute engine had work). Beside it stands the mean of NVML's older utilisation, read every 50 ms, which is a sample: on
the same scene it comes out up to five points lower or higher from one run to the next. Parts are told by the latter.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from flux_fill import random_flux_fill
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from synthetic import box_room, cameras_inside, render, trace_depth

from scenewright_stages.backends.inpaint.interface import Inpainter
from scenewright_stages.scenes import flight
from scenewright_stages.scenes.flight import cameras_along
from scenewright_stages.scenes.preparation import Layout
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Renderer, Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.framing import PixelWindow, outpaint_canvas
from scenewright_stages.vision.imaging.metrics import psnr
from scenewright_stages.vistadream import expansion, initialize
from scenewright_stages.vistadream.coarse import BackendFill, expansion_settings
from scenewright_stages.vistadream.initialize import DepthPass
from scenewright_stages.vistadream.motion import candidate_path, flight_path
from scenewright_stages.vistadream.params import VistaDreamParams

SECONDS_BAR = {"bf16": 75.0, "fp8": 60.0}
BUSY_BAR = 0.9
SAMPLE_SECONDS = 0.05
_GIB = 1 << 30

# Functions that the coarse loop calls, and the part of the scene that they count to.
LOOP_PARTS = {
    "score_candidates": "scoring: hole masks",
    "render_holed_view": "holed view",
    "fill_view": "depth that a fill did not hide",
    "gaussians_of": "new Gaussians",
    "training_view": "new Gaussians",
    "behind_photograph": "behind the photograph",
    "optimise": "optimisation",
}
INITIAL_PARTS = {"gaussians_of": "new Gaussians", "training_view": "new Gaussians", "optimise": "first optimisation"}


class Stopwatch:
    """Wall seconds of each part, without the parts inside it. The device is idle when a part begins and ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._names: list[str] = []
        self._inner: list[float] = []

    @property
    def current(self) -> str:
        """The innermost open part."""
        names = self._names[-1:]
        return names[0] if names else ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        torch.cuda.synchronize()
        started = time.perf_counter()
        self._names.append(name)
        self._inner.append(0.0)
        try:
            yield
        finally:
            torch.cuda.synchronize()
            spent = time.perf_counter() - started
            self._names.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner.pop()
            if self._inner:
                self._inner[-1] += spent

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return call

    @contextmanager
    def around(self, module: ModuleType, parts: Mapping[str, str]) -> Iterator[None]:
        """Times the functions that a module calls by these names."""
        with ExitStack() as stack:
            for function, name in parts.items():
                stack.enter_context(mock.patch.object(module, function, self.timed(getattr(module, function), name)))
            yield


class NoStopwatch(Stopwatch):
    """Times nothing, and waits for nothing."""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        yield

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        return function


class TimedRenderer:
    """Counts what is drawn outside of an optimisation, whose steps must not be waited for."""

    def __init__(self, inner: Renderer, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch
        self.name, self.device = inner.name, inner.device

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        if torch.is_grad_enabled():
            return self._inner.render(scene, cameras, background)
        with self._watch.part("drawing"):
            return self._inner.render(scene, cameras, background)


class BusySampler:
    """Reads NVML's utilisation in the background, by part of the scene."""

    def __init__(self, watch: Stopwatch) -> None:
        self.samples: dict[str, list[float]] = {}
        self._watch = watch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> BusySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.samples.setdefault(self._watch.current, []).append(torch.cuda.utilization() / 100)

    @property
    def mean(self) -> float:
        """Over the whole time."""
        return float(np.mean([value for values in self.samples.values() for value in values]))

    def by_part(self) -> dict[str, float]:
        """Means of the parts that lasted long enough to tell."""
        return {name: round(float(np.mean(values)), 3) for name, values in self.samples.items() if len(values) >= 20}


class BusyCounter:
    """The share of a time in which the compute engine had work, by the device's own counters.

    Read each second, and weighted by the time between: what a counter holds is bounded.
    """

    def __init__(self) -> None:
        self._nvml = _nvml()
        self._device = self._nvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        self._shares: list[float] = []
        self._seconds: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> BusyCounter:
        self._before, self._at = self._sample(), time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        """Over the whole time, 0 to 1."""
        return float(np.average(self._shares, weights=self._seconds))

    def _count(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(1.0)
            sample, at = self._sample(), time.perf_counter()
            self._shares.append(self._between(self._before, sample))
            self._seconds.append(at - self._at)
            self._nvml.nvmlGpmSampleFree(self._before)
            self._before, self._at = sample, at

    def _sample(self) -> Any:
        return self._nvml.nvmlGpmSampleGet(self._device, self._nvml.nvmlGpmSampleAlloc())

    def _between(self, before: Any, after: Any) -> float:
        request = self._nvml.c_nvmlGpmMetricsGet_t()
        request.version, request.numMetrics = self._nvml.NVML_GPM_METRICS_GET_VERSION, 1
        request.metrics[0].metricId = self._nvml.NVML_GPM_METRIC_GRAPHICS_UTIL
        request.sample1, request.sample2 = before, after
        return float(self._nvml.nvmlGpmMetricsGet(request).metrics[0].value) / 100


@dataclass(frozen=True, eq=False)
class Inputs:
    """A photograph with exact depth; srgb (H, W, 3), canvas_depth (H', W') of the whole canvas."""

    srgb: NDArray[np.float32]
    layout: Layout
    canvas_depth: NDArray[np.float32]
    canvas_camera: Camera


@dataclass(frozen=True, eq=False)
class Made:
    """What a scene came to: (F, H, W, 3) uint8 flight, hole shares of the chosen views, Gaussians, dB of the input."""

    flight: NDArray[np.uint8]
    hole_shares: tuple[float, ...]
    gaussians: int
    input_psnr: float


@dataclass(frozen=True)
class Reading:
    """One scene; `busy`, `busy_sampled` from 0 to 1; `parts` in seconds of a second scene, most expensive first."""

    precision: str
    seconds: float
    bar: float
    busy: float
    busy_sampled: float
    parts: dict[str, float]
    busy_by_part: dict[str, float]
    peak_gib: float
    reserved_gib: float
    warm_up_seconds: float
    hole_shares: tuple[float, ...] = field(default=())
    gaussians: int = 0
    input_psnr: float = 0.0
    flight_frames: int = 0


def parameters(size: int, frames: int, iterations: int, gap_views: int) -> VistaDreamParams:
    """The pipeline's defaults with a path that uncovers enough, and the closest pose when none lies in the band."""
    coarse = {
        "frames": frames,
        "iterations_per_frame": iterations,
        "fallback_mode": "closest",
        "gap_views": gap_views,
    }
    return VistaDreamParams.model_validate(
        {
            "mode": "coarse",
            "max_resolution": size,
            "depth": {"backend": "provided"},
            "trajectory": {"motion_preset": "outdoor"},
            "coarse": coarse,
        }
    )


def room_inputs(size: int, expansion_percent: float) -> Inputs:
    world = box_room(0)
    camera = cameras_inside(world, 1, size, size)[0]
    canvas = outpaint_canvas(size, size, expansion_percent)
    outer = canvas.camera(camera)
    layout = Layout("coarse", size, size, None, PixelWindow(0, 0, 1, size, size), canvas)
    depth = trace_depth(world, outer).astype(np.float32)
    return Inputs(render(world, camera, 2).srgb, layout, depth, outer.with_pose(np.eye(4)))


def make_scene(inputs: Inputs, params: VistaDreamParams, inpainter: Inpainter, watch: Stopwatch) -> Made:
    """From the photograph to the frames of the flight."""
    renderer = TimedRenderer(renderer_for("gsplat", "cuda"), watch)
    canvas = inputs.layout.canvas
    with watch.part("outpainting fill"):
        painted = inpainter.fill(canvas.paste(inputs.srgb), canvas.hole(), "", 0)
    nothing = np.zeros(inputs.canvas_depth.shape, np.bool_)
    intrinsics = inputs.canvas_camera.intrinsics
    depth = DepthPass(inputs.canvas_depth, np.ones_like(inputs.canvas_depth), nothing, intrinsics)
    with watch.part("first frames"):
        frames = initialize.first_frames(painted, depth, inputs.layout, params)
    with watch.around(initialize, INITIAL_PARTS):
        scene, _ = initialize.initialize_scene(frames, params, renderer, seed=0)
    grown = grow(scene, frames, params, inpainter, renderer, watch)
    pictures = fly(grown, params, renderer, watch)
    with watch.part("quality"), torch.no_grad():
        again = renderer.render(grown.scene, [frames[0].camera]).rgb[0].cpu()
        reproduced = float(psnr(again, torch.as_tensor(frames[0].srgb)))
    shares = tuple(round(frame.inpaint_ratio, 4) for frame in grown.summary.frames)
    return Made(pictures, shares, len(grown.scene), reproduced)


def grow(
    scene: GaussianScene,
    frames: list[Any],
    params: VistaDreamParams,
    inpainter: Inpainter,
    renderer: TimedRenderer,
    watch: Stopwatch,
) -> expansion.Expansion:
    poses = params.coarse.frames * params.coarse.dense_multiplier
    candidates = cameras_along(frames, candidate_path(frames, params, poses))
    tools = expansion.ExpansionTools(
        renderer=renderer,
        fill_colour=watch.timed(BackendFill(inpainter, ""), "fills"),
        predict_depth=None,
        on_progress=lambda share, text: None,
    )
    with watch.around(expansion, LOOP_PARTS):
        return expansion.expand(scene, frames, candidates, expansion_settings(params, frames[0]), tools, seed=0)


def fly(
    grown: expansion.Expansion, params: VistaDreamParams, renderer: TimedRenderer, watch: Stopwatch
) -> NDArray[np.uint8]:
    """The frames of the final flight, colour and depth on the host."""
    count = min(params.render.max_frames, params.render.frames_per_view * len(grown.frames))
    with watch.part("flight: to the host"):
        cameras = cameras_along(grown.frames, flight_path(grown.frames, params, count))
        return flight.fly(grown.scene, cameras, renderer, lambda share, text: None).srgb


def warm_up(inputs: Inputs, params: VistaDreamParams, inpainter: Inpainter) -> float:
    """Compiles everything for both sizes; the size of the views first, since the first one's code is the fastest."""
    started = time.perf_counter()
    side = params.max_resolution + params.coarse.margin
    noise = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    hole = np.zeros((side, side), np.bool_)
    hole[:, : side // 5] = True
    inpainter.fill(noise, hole)
    small = params.coarse.model_copy(update={"frames": 1, "iterations_per_frame": 20, "gap_views": 0})
    make_scene(inputs, params.model_copy(update={"coarse": small}), inpainter, Stopwatch())
    return time.perf_counter() - started


def measure(precision: str, inputs: Inputs, params: VistaDreamParams, pictures: Path | None) -> Reading:
    cache = Path(tempfile.mkdtemp(prefix="compiled-"))
    inpainter = random_flux_fill(precision, "blocks", params.coarse.inpaint.steps, cache_dir=cache)
    warm_up_seconds = warm_up(inputs, params, inpainter)
    torch.cuda.reset_peak_memory_stats()
    with BusyCounter() as busy, BusySampler(NoStopwatch()) as sampled:
        torch.cuda.synchronize()
        started = time.perf_counter()
        made = make_scene(inputs, params, inpainter, NoStopwatch())
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    shares = f"GPU busy {busy.mean:.1%}, sampled {sampled.mean:.1%}"
    print(f"{precision}: {seconds:.1f} s, {shares}, warm-up {warm_up_seconds:.0f} s", flush=True)
    watch = Stopwatch()
    with BusySampler(watch) as busy_parts, watch.part("other"):
        make_scene(inputs, params, inpainter, watch)
    reading = Reading(
        precision=precision,
        seconds=round(seconds, 2),
        bar=SECONDS_BAR[precision],
        busy=round(busy.mean, 3),
        busy_sampled=round(sampled.mean, 3),
        parts={k: round(v, 2) for k, v in sorted(watch.seconds.items(), key=lambda part: -part[1])},
        busy_by_part=busy_parts.by_part(),
        peak_gib=round(torch.cuda.max_memory_allocated() / _GIB, 1),
        reserved_gib=round(torch.cuda.max_memory_reserved() / _GIB, 1),
        warm_up_seconds=round(warm_up_seconds, 1),
    )
    if pictures is not None:
        save_pictures(made.flight, pictures / f"flight-{precision}.jpg")
    inpainter.release()
    gc.collect()
    torch.cuda.empty_cache()
    return replace(
        reading,
        hole_shares=made.hole_shares,
        gaussians=made.gaussians,
        input_psnr=round(made.input_psnr, 2),
        flight_frames=len(made.flight),
    )


def save_pictures(flight: NDArray[np.uint8], path: Path) -> None:
    """Eight frames side by side."""
    picks = flight[np.linspace(0, len(flight) - 1, 8).astype(int)]
    rows = [np.concatenate([cv2.resize(frame, (384, 384)) for frame in row], axis=1) for row in (picks[:4], picks[4:])]
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


def table(readings: Sequence[Reading]) -> str:
    """Seconds by part as Markdown, a column for each precision."""
    names = list(dict.fromkeys(name for reading in readings for name in reading.parts))
    lines = [_row(["", *(reading.precision for reading in readings)]), _row(["---"] * (1 + len(readings)))]
    lines.append(_row(["seconds a scene", *(f"{r.seconds:.1f} (bar {r.bar:.0f})" for r in readings)]))
    lines.append(_row(["GPU busy", *(f"{r.busy:.1%} (bar {BUSY_BAR:.0%})" for r in readings)]))
    lines.append(_row(["the same, sampled", *(f"{r.busy_sampled:.1%}" for r in readings)]))
    lines.append(_row(["peak GiB", *(f"{r.peak_gib:.1f}" for r in readings)]))
    lines += [_row([name, *(f"{r.parts.get(name, 0.0):.2f}" for r in readings)]) for name in names]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine() -> dict[str, str]:
    """Device and versions."""
    packages = ("torch", "gsplat", "diffusers", "numba", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"device": torch.cuda.get_device_name(), "driver": str(_nvml().nvmlSystemGetDriverVersion())} | versions


def _nvml() -> Any:
    nvml: Any = importlib.import_module("pynvml")
    nvml.nvmlInit()
    return nvml


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--precisions", nargs="+", choices=list(SECONDS_BAR), default=list(SECONDS_BAR))
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=500, help="optimisation steps of each frame")
    parser.add_argument("--gap-views", type=int, default=0, help="further fills without optimisation")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for a contact sheet of each flight")
    options = parser.parse_args()
    params = parameters(options.size, options.frames, options.iterations, options.gap_views)
    inputs = room_inputs(options.size, params.outpaint.expansion_percent)
    readings: list[Reading] = []
    for precision in options.precisions:
        readings.append(measure(precision, inputs, params, options.pictures))
        print(json.dumps(asdict(readings[-1])), flush=True)
        if options.json:
            content = {"machine": machine(), "settings": vars(options), "readings": [asdict(r) for r in readings]}
            options.json.write_text(json.dumps(content, indent=1, default=str) + "\n")
    print(table(readings))
    short = any(len(reading.hole_shares) < options.frames for reading in readings)
    return int(short or any(r.seconds > r.bar or r.busy < BUSY_BAR for r in readings))


if __name__ == "__main__":
    sys.exit(main())
