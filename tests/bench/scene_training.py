"""Training a scene of real size on one GPU beside the loop of gsplat's own example trainer, in parts of some minutes.

    python tests/bench/scene_training.py --folder FOLDER --world 0 --ways peer ours [--steps 30000] [--ours 15000]
        [--side 1024] [--views 120] [--maximum 1000000] [--limit SECONDS] [--profile] [--tiny]
    python tests/bench/scene_training.py --folder FOLDER --report [--json FILE]

A part is one way on one of three synthetic captures (``scene_capture.py``). ``peer`` is the loop of ``scene_peer.py``,
``ours`` the product's training, and the other ways are ours without one lever. All begin with the same points and are
measured by the same renderer at poses that none has seen; measuring is not counted. A part's file is written at each
point of its curve; finished parts are not run again. --report compares what the folder holds, and exits with 1 unless
ours reaches the peer's PSNR (-0.05) in half of its time on every capture. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from difix_step import busy
from scene_capture import Capture, capture
from scene_peer import Peer

from scenewright_stages.vision.cuda_graphs import PlainRunner
from scenewright_stages.vision.gaussians import gsplat_fitting
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings, train

PSNR_SLACK, TIME_BAR = 0.05, 0.5
LEAST_GAUSSIANS, LARGEST_PSNR = 500_000, 36.0
"""The peer must end above and below: else the capture is too smooth."""
LEVERS = ("without-schedule", "without-recording", "without-tight-bounds", "slow-growth")
WAYS = ("peer", "ours", *LEVERS)
POINTS = 10


class OutOfTimeError(Exception):
    """The part's limit has passed."""


class Part:
    """One way on one capture, and its file.

    Args:
        path: of the file.
        about: what the readings hold for.
        steps: of the whole training.
        limit: seconds after which it ends early, at a point of the curve.
    """

    def __init__(self, path: Path, about: dict[str, Any], steps: int, limit: float) -> None:
        self.path, self.readings, self.steps = path, {**about, "steps": steps, "finished": False}, steps
        self._limit, self._curve = limit, list[tuple[int, float, int, float]]()
        self._spent, self._began, self._shares = 0.0, 0.0, list[float]()

    @contextmanager
    def counted(self, device: str) -> Iterator[None]:
        """Counts time and the device's busy time within."""
        with busy(device) as self._shares:
            self._began = _now()
            yield

    def is_due(self, step: int) -> bool:
        """Whether a point of the curve is to be measured."""
        return step == self.steps or step * POINTS >= self.steps * (len(self._curve) + 1)

    def note(self, step: int, scene: GaussianScene, held: Any, renderer: Renderer) -> None:
        """Measures a point of the curve and writes the file. Raises OutOfTimeError at the limit."""
        self._spent += _now() - self._began
        quality = evaluate(scene, held, renderer).to_json()
        self._curve.append((step, round(self._spent, 2), len(scene), quality["psnr"]))
        print(self.path.stem, self._curve[-1], file=sys.stderr, flush=True)
        self.readings |= {
            "seconds": round(self._spent, 2), "steps_done": step, "gaussians": len(scene), **quality,
            "busy": round(sum(self._shares) / len(self._shares), 3) if self._shares else None,
            "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else 0.0,
            "curve": self._curve, "finished": step == self.steps,
        }  # fmt: skip
        self.path.write_text(json.dumps(self.readings, indent=1) + "\n")
        if step < self.steps and self._spent * (1 + 1 / len(self._curve)) > self._limit:
            raise OutOfTimeError(f"{self.path.stem} ends at step {step} of {self.steps}")
        self._began = _now()


def run_peer(shots: Capture, part: Part, options: argparse.Namespace, renderer: Renderer) -> None:
    """Trains as the peer does."""
    peer = Peer(shots.start, shots.seen, part.steps, options.maximum, str(renderer.device))
    peer.warm_up()
    with part.counted(str(renderer.device)):
        for number in range(part.steps):
            peer.step(number)
            if part.is_due(number + 1):
                part.note(number + 1, peer.scene(), shots.held, renderer)
    if options.profile:
        print(profiled(lambda: [peer.step(part.steps - 1) for _ in range(20)]), file=sys.stderr)


def run_ours(shots: Capture, part: Part, options: argparse.Namespace, renderer: Renderer, way: str) -> None:
    """Trains as the product does, without a lever where the way says so."""
    slow = way == "slow-growth"
    settings = TrainingSettings(
        # The peer adds a twentieth every 100 steps.
        steps=part.steps, segment=100 if slow else options.segment, growth=0.05 if slow else options.growth,
        maximum=options.maximum, harmonics_degree=3, exploration=True, growth_until=options.until,
        coarse=1 if way == "without-schedule" else options.coarse, coarse_until=options.coarse_until,
    )  # fmt: skip

    def note(step: int, scene: GaussianScene, loss: float) -> None:
        if part.is_due(step):
            part.note(step, scene, shots.held, renderer)

    with without(way, str(renderer.device)), part.counted(str(renderer.device)):
        scene = train(shots.start, shots.seen, settings, 3, renderer, on_segment=note)
    if options.profile:
        done = (settings.segments() - 1) * settings.segment
        print(profiled(lambda: train(scene, shots.seen, settings, 3, renderer, done=done)), file=sys.stderr)


@contextmanager
def without(way: str, device: str) -> Iterator[None]:
    """Takes a lever of the GPU's code away."""
    if way == "without-recording":
        with patch.object(gsplat_fitting, "graph_runner", lambda _: nullcontext(PlainRunner())):
            yield
    elif way == "without-tight-bounds" and device != "cpu":
        gsplat: Any = importlib.import_module("gsplat")
        project = gsplat.fully_fused_projection
        # With the opacities gsplat ends a splat where it can no longer be seen, without them at three deviations.

        def by_deviations(*arguments: Any, opacities: Tensor, **named: Any) -> Any:
            return project(*arguments, **named)

        with patch.object(gsplat, "fully_fused_projection", by_deviations):
            yield
    else:
        yield


def run_part(shots: Capture, way: str, options: argparse.Namespace, renderer: Renderer) -> None:
    """Runs a way unless its file says that it is finished."""
    path = options.folder / f"scene-{options.world}-{way}.json"
    if path.is_file() and json.loads(path.read_text())["finished"]:
        return
    about = {
        "world": options.world, "way": way, "side": options.side, "views": len(shots.seen), "held": len(shots.held),
        "device": torch.cuda.get_device_name() if renderer.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }  # fmt: skip
    part = Part(path, about, options.steps if way == "peer" else options.ours, options.limit)
    try:
        if way == "peer":
            run_peer(shots, part, options, renderer)
        else:
            run_ours(shots, part, options, renderer, way)
    except OutOfTimeError as ended:
        print(ended, file=sys.stderr, flush=True)
    gc.collect()
    if renderer.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def report(folder: Path) -> dict[str, Any]:
    """Ours beside the peer on every capture, and what each lever is worth."""
    parts = {
        (found["world"], found["way"]): found
        for found in (json.loads(path.read_text()) for path in sorted(folder.glob("scene-[0-9]-*.json")))
    }
    captures, shares = {}, {}
    for world in sorted({world for world, _ in parts}):
        peer, ours = parts.get((world, "peer")), parts.get((world, "ours"))
        if peer and ours:
            captures[str(world)] = compared(ours, peer)
        wanted = ours["psnr"] - PSNR_SLACK if ours else 0.0
        for way in LEVERS:
            if ours and (found := parts.get((world, way))):
                shares[f"{world} {way}"] = {
                    "seconds_to_ours": seconds_to(found, wanted), "ours": seconds_to(ours, wanted),
                    "seconds": found["seconds"], "psnr": found["psnr"], "gaussians": found["gaussians"],
                }  # fmt: skip
    return {
        "captures": captures,
        "levers": shares,
        "passed": len(captures) == 3 and all(each["passed"] for each in captures.values()),
        "parts": list(parts.values()),
    }


def compared(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, Any]:
    """Seconds that ours needs for the peer's quality."""
    seconds = seconds_to(ours, peer["psnr"] - PSNR_SLACK)
    fits = peer["gaussians"] > LEAST_GAUSSIANS and peer["psnr"] < LARGEST_PSNR
    share = None if seconds is None else round(seconds / peer["seconds"], 3)
    return {
        "peer": {name: peer[name] for name in ("finished", "steps_done", "seconds", "gaussians", "psnr")},
        "ours": {name: ours[name] for name in ("finished", "steps_done", "seconds", "gaussians", "psnr")},
        "fine_enough": fits,
        "seconds_to_the_peers_psnr": seconds,
        "share_of_its_time": share,
        "passed": peer["finished"] and fits and share is not None and share <= TIME_BAR,
    }


def seconds_to(found: dict[str, Any], psnr: float) -> float | None:
    """When the curve first reaches a quality; None if it does not."""
    return next((seconds for _, seconds, _, reached in found["curve"] if reached >= psnr), None)


def profiled(work: Callable[[], object]) -> str:
    """A table of the kernels that take longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        work()
        _now()
    return str(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="of the parts' files")
    parser.add_argument("--world", type=int, default=0, help="of the three synthetic captures, 0 to 2")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["peer", "ours"])
    parser.add_argument("--report", action="store_true", help="trains nothing")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds of training for a part")
    parser.add_argument("--steps", type=int, default=30_000, help="of the peer")
    parser.add_argument("--ours", type=int, default=15_000, help="steps of all other ways")
    parser.add_argument("--segment", type=int, default=400)
    parser.add_argument("--coarse", type=int, default=4)
    parser.add_argument("--coarse-until", type=float, default=0.3, help="share of the steps until pictures are whole")
    parser.add_argument("--growth", type=float, default=0.5)
    parser.add_argument("--until", type=float, default=0.8, help="share of the steps in which ours grows")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--views", type=int, default=120)
    parser.add_argument("--held", type=int, default=12)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--maximum", type=int, default=1_000_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="small and short, on the CPU: tries the script")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.tiny:
        options.side, options.views, options.held, options.points, options.maximum = 48, 8, 2, 400, 600
        options.steps, options.ours, options.segment = 20, 20, 5
    return options


def main() -> int:
    """Runs parts, or compares them; 1 if a bar is missed."""
    options = parsed()
    if options.report:
        found = report(options.folder)
        show(found, options.json)
        return int(not found["passed"])
    options.folder.mkdir(parents=True, exist_ok=True)
    device = "cpu" if options.tiny else "cuda"
    renderer = renderer_for("cpu" if options.tiny else "gsplat")
    began = _now()
    shots = capture(options.world, options.side, options.views, options.held, options.points, device)
    print(f"photographs in {_now() - began:.1f} s", file=sys.stderr, flush=True)
    evaluate(shots.start.scene().to(device), shots.held[:1], renderer)
    for way in options.ways:
        run_part(shots, way, options, renderer)
    show(report(options.folder), options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
