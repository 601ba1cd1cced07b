"""How soon a second process makes its first fp8 fill of FLUX, when the first one left its compiled code in the cache.

    python tests/bench/compile_cache.py [--size 800] [--processes 2] [--folder FOLDER] [--timed-choices] [--tiny]
        [--json FILE]

Every process draws the full-size network with the same random weights, quantises and compiles it as the product does,
and fills the same picture three times. Counted is the time from the loaded weights to the first fill. --folder keeps
the cache and the pictures, with which later runs go on. --timed-choices lets the compiler choose kernels by timing, as
it does by itself and the product forbids: with it pictures differ. Exit code 1 if the last process takes longer than
30 s or fills otherwise. Prints JSON.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show

BAR_SECONDS = 30.0
_FILLS = 3


def one_process(options: argparse.Namespace) -> dict[str, Any]:
    """Loads, fills and keeps the first filled picture."""
    import torch
    from flux_fill import _request, random_flux_fill
    from torch._dynamo.utils import counters

    from scenewright_stages.backends.runtime import acceleration

    size, answer, profiled = options.size, options.answer, options.profile
    if options.timed_choices:
        acceleration.INDUCTOR_OPTIONS.clear()
    began = time.perf_counter()
    inpainter = random_flux_fill(options.precision, cache_dir=options.folder / "cache", **_sizes(options.tiny))
    if not options.tiny:
        torch.cuda.synchronize()
    loaded = time.perf_counter()
    seconds, pictures = [], []
    for number in range(_FILLS):
        begin, profile = time.perf_counter(), cProfile.Profile()
        if profiled and number == 0:
            profile.enable()
        pictures.append(inpainter.fill(*_request(size), seed=7))
        profile.disable()
        seconds.append(round(time.perf_counter() - begin, 2))
        if number == 0:
            np.save(answer, pictures[0])
            if profiled:
                pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(90)
    found = {name: count for kind in ("inductor", "aot_autograd") for name, count in counters[kind].items()}
    return {
        "device": "cpu" if options.tiny else torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "load_seconds": round(loaded - began, 1),
        "first_fill_seconds": seconds[0],
        "later_fill_seconds": seconds[1:],
        "difference_of_fills": max(float(np.abs(each - pictures[0]).max()) for each in pictures),
        "graphs": counters["stats"]["unique_graphs"],
        "caches": {name: count for name, count in found.items() if "cache" in name},
    }


def main() -> int:
    """Starts the processes one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=800)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--precision", default="fp8")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--timed-choices", action="store_true", help="kernels may be chosen by timing")
    parser.add_argument("--tiny", action="store_true", help="few weights, on the CPU: tries the script")
    parser.add_argument("--profile", action="store_true", help="say what the host does in the first fill, more slowly")
    parser.add_argument("--answer", type=Path, help="of a single process, which this script starts itself")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.size, arguments.precision = 64, "bf16"
    if arguments.answer:
        print(json.dumps(one_process(arguments)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        before = len(list(folder.glob("*.npy")))
        answers = [folder / f"{number}.npy" for number in range(before + arguments.processes)]
        runs = [_started(arguments, folder, answer) for answer in answers[before:]]
        size = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file())
        pictures = [np.load(answer) for answer in answers]
    apart = [float(np.abs(each - pictures[0]).max()) for each in pictures]
    found = {
        "processes": runs, "largest_difference": apart, "cache_mib": round(size / 2**20, 1), "bar": BAR_SECONDS,
        "timed_choices": arguments.timed_choices,
    }  # fmt: skip
    show(found, arguments.json)
    late = not arguments.tiny and runs[-1]["first_fill_seconds"] > BAR_SECONDS
    return int(late or max(apart) > 0)


def _sizes(tiny: bool) -> dict[str, Any]:
    """Arguments of ``random_flux_fill`` for a network of few weights."""
    if not tiny:
        return {}
    from flux_fill import AUTOENCODER, TRANSFORMER

    channels = {"block_out_channels": (4, 4, 8, 8), "layers_per_block": 1, "norm_num_groups": 1, "latent_channels": 4}
    blocks = {
        "in_channels": 288, "out_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8),
    }  # fmt: skip
    return {"device": "cpu", "steps": 2, "transformer": TRANSFORMER | blocks, "autoencoder": AUTOENCODER | channels}


def _started(arguments: argparse.Namespace, folder: Path, answer: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--size", str(arguments.size), "--precision", arguments.precision]
    command += ["--profile"] if arguments.profile else []
    command += ["--tiny"] if arguments.tiny else []
    command += ["--timed-choices"] if arguments.timed_choices else []
    done = subprocess.run(
        [*command, "--folder", folder, "--answer", answer],
        check=True,
        stdout=subprocess.PIPE,
    )
    found: dict[str, Any] = json.loads(done.stdout.decode().strip().splitlines()[-1])
    print(found, file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
