"""How fast two GPUs draw the paths of a WorldExplorer scene by SEVA beside one, with random weights at full size.

    python tests/bench/seva_scene.py [--gpus 2] [--views 8] [--steps 6] [--cache FOLDER] [--tiny] [--json FILE]

One process a GPU, as a run's shards are: every process draws its share of the views' paths by the product's generator,
with encoding and decoding, motion after motion, and remembers the anchors of the motions before. All wait for each
other between two motions. Loading and compiling are counted apart. --views 2 draws a quarter of a scene. An earlier
reading of one GPU in the JSON file is compared. Exit code 1 if two draw less than 0.9 times as fast as twice one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from difix_step import busy
from seva import SIDE, coder_of, network_of

from scenewright_stages.backends.novel_views.interface import DrawingSettings, PathTask, PosedPicture
from scenewright_stages.backends.novel_views.seva.engine import SevaViews
from scenewright_stages.backends.novel_views.seva.sampling import Denoiser
from scenewright_stages.backends.runtime.acceleration import compile_network
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.vision.places.worlds.motions import MOTIONS, VIEWS, target_cameras, targets_of, view_camera
from scenewright_stages.worldexplorer.drawing import _BEHIND, _FORGOTTEN

BAR = 0.9
WINDOWS_OF_A_SCENE = 303


def drawn_share(options: argparse.Namespace) -> dict[str, Any]:
    """What one process draws: its views of all motions."""
    tiny, device, side = options.tiny, *(("cpu", 64) if options.tiny else ("cuda", SIDE))
    began = time.perf_counter()
    network = network_of(device, tiny)
    if not tiny:
        compile_network(network, options.cache)
    denoiser = Denoiser(network, device, next(network.parameters()).dtype)
    coder, record = coder_of(device, tiny), BackendRecord("novel-views", "seva", "model", device=device)
    views = SevaViews(denoiser, coder, record, device)
    random = np.random.default_rng(options.rank)
    pictures = [random.random((side, side, 3), dtype=np.float32) for _ in range(VIEWS)]
    inputs = [PosedPicture(each, view_camera(view, side)) for view, each in enumerate(pictures)]
    settings = DrawingSettings(steps=options.steps)
    stride = 45 if tiny else 1

    def task(view: int, motion: str, memory: list[tuple[int, PosedPicture]]) -> PathTask:
        targets = target_cameras(view, motion, targets_of(motion, stride), 1.0, side)
        usable = [(start - view) % VIEWS not in _BEHIND for start, _ in memory]
        return PathTask(inputs, targets, [each for _, each in memory], usable, settings=settings, seed=view)

    # Compiles, and makes everything that is made once.
    views.draw(PathTask(inputs, task(0, "in", []).targets[:2], settings=DrawingSettings(steps=1)))
    loaded = time.perf_counter() - began
    own = range(options.rank, options.views, options.gpus)
    remembered: list[tuple[int, PosedPicture]] = []
    steps, seconds, frames = list[float](), 0.0, 0
    if not tiny:
        torch.cuda.reset_peak_memory_stats()
    shares = list[float]()
    for motion in MOTIONS:
        _meet(options, motion)
        begin, fresh = time.perf_counter(), list[tuple[int, PosedPicture]]()
        with busy(device) as counted:
            for view in own:
                wanted = task(view, motion, remembered)
                drawn = views.draw(wanted, steps.append)
                frames += len(drawn)
                places = views.anchors_of(len(drawn), VIEWS)[_FORGOTTEN:]
                fresh += [(view, PosedPicture(drawn[place], wanted.targets[place])) for place in places]
        # Paths of the views that other processes draw look as these do.
        for other in range(options.gpus):
            remembered += [((view - options.rank + other) % VIEWS, each) for view, each in fresh]
        _meet(options, f"{motion}-end")
        seconds += time.perf_counter() - begin
        shares += counted
    return {
        "windows": len(steps) // options.steps, "frames": frames, "seconds": round(seconds, 2),
        "loading_seconds": round(loaded, 1), "busy": round(float(np.mean(shares)), 3) if shares else None,
        "gib": 0.0 if tiny else round(torch.cuda.max_memory_allocated() / 2**30, 2),
    }  # fmt: skip


def _meet(options: argparse.Namespace, name: str) -> None:
    """Waits until all processes are here."""
    (options.meeting / f"{name}-{options.rank}").touch()
    while len(list(options.meeting.glob(f"{name}-[0-9]"))) < options.gpus:
        time.sleep(0.02)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Starts a process for each GPU; their work together."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3").split(",")
    with tempfile.TemporaryDirectory() as meeting:
        command = [sys.executable, __file__, "--gpus", str(options.gpus), "--views", str(options.views)]
        command += ["--steps", str(options.steps), "--meeting", meeting, *(["--tiny"] if options.tiny else [])]
        command += ["--cache", str(options.cache)] if options.cache else []
        processes = [
            subprocess.Popen(
                [*command, "--rank", str(rank)],
                stdout=subprocess.PIPE,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": shown[rank]},
            )
            for rank in range(options.gpus)
        ]
        parts = [json.loads(each.communicate()[0].decode().strip().splitlines()[-1]) for each in processes]
    windows, seconds = sum(each["windows"] for each in parts), max(each["seconds"] for each in parts)
    return {
        "windows": windows,
        "views": options.views,
        "seconds": seconds,
        "windows_per_second": round(windows / seconds, 4),
        "minutes_of_a_scene": round(seconds / windows * WINDOWS_OF_A_SCENE / 60, 2),
        "processes": parts,
    }


def main() -> int:
    """Measures and prints; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--cache", type=Path, help="where compiled code is kept; else in the library's own folder")
    parser.add_argument("--tiny", action="store_true", help="few channels, on the CPU: tries the script")
    parser.add_argument("--rank", type=int, help="of a single process, which this script starts itself")
    parser.add_argument("--meeting", type=Path, help="likewise")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.rank is not None:
        print(json.dumps(drawn_share(options)))
        return 0
    found: dict[str, Any] = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    if not options.tiny:
        found |= {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    found[str(options.gpus)] = measured(options)
    if {"1", "2"} <= set(found):
        one, two = (found[number]["windows_per_second"] for number in ("1", "2"))
        found["share_of_twice_one"] = round(two / (2 * one), 3)
    show(found, options.json)
    return int(not options.tiny and found.get("share_of_twice_one", 1.0) < BAR)


if __name__ == "__main__":
    sys.exit(main())
