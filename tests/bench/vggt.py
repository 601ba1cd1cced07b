"""How long VGGT at its full size takes on a GPU, and how much memory, with random weights.

    python tests/bench/vggt.py [--pictures 8 40 64 100] [--json FILE]

Time and memory do not depend on the weights. Each number of pictures runs twice, and the second run counts. The last
reading is how far bfloat16 and float32 differ. Prints JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from benchmarks import show

from scenewright_stages.backends.geometry.vggt.network import VggtNetwork

SIDE = 518


def measured(network: VggtNetwork, count: int) -> dict[str, Any]:
    """Seconds and GiB of one answer."""
    pictures = torch.rand(count, 3, SIDE, SIDE, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        answer = network(pictures, torch.bfloat16)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
    memory = torch.cuda.max_memory_allocated() / 2**30
    finite = bool(torch.isfinite(answer.poses).all() and torch.isfinite(answer.depth).all())
    return {"pictures": count, "seconds": round(seconds, 3), "gib": round(memory, 2), "finite": finite}


def difference(network: VggtNetwork) -> dict[str, float]:
    """Largest differences between both arithmetics."""
    pictures = torch.rand(4, 3, SIDE, SIDE, device="cuda")
    full, half = network(pictures), network(pictures, torch.bfloat16)
    depth = ((full.depth - half.depth).abs() / full.depth).max()
    return {"poses": float((full.poses - half.poses).abs().max()), "depth": float(depth)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[8, 40, 64, 100])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with torch.device("cuda"):
        network = VggtNetwork().eval().requires_grad_(False)
    with torch.inference_mode():
        readings = [measured(network, count) for count in arguments.pictures]
        apart = difference(network)
    device = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    show({**device, "readings": readings, "bf16_against_fp32": apart}, arguments.json)


if __name__ == "__main__":
    main()
