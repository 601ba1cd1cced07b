"""How long SEVA's network takes for a window at full size on a GPU, plain and compiled, with random weights.

    python tests/bench/seva.py [--steps 20] [--json FILE]

A window is 21 frames at 576 pixels, twice for the guidance, as each of a scene's 303 forwards of 50 steps has it.
Time and memory do not depend on the weights. Prints JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from difix_step import busy

from scenewright_stages.backends.novel_views.seva.network import NetworkShape, SevaNetwork

FRAMES, LATENT = 21, 72
FORWARDS_OF_A_SCENE, STEPS_OF_A_FORWARD = 303, 50


def measured(network: SevaNetwork, steps: int) -> dict[str, Any]:
    """Seconds of one step, GiB and the share of busy time."""
    torch.manual_seed(1)
    dtype = next(network.parameters()).dtype
    shape = network.shape
    make = {"device": "cuda", "dtype": dtype}
    given = torch.randn(2 * FRAMES, shape.latents + 7, LATENT, LATENT, **make)
    context = torch.randn(2 * FRAMES, 1, shape.context, **make)
    rays, times = given[:, -6:].contiguous(), torch.full((2 * FRAMES,), 500, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    answer = network(given, times, context, rays, FRAMES)
    torch.cuda.synchronize()
    first = time.perf_counter() - began
    network(given, times, context, rays, FRAMES)
    torch.cuda.synchronize()
    with busy("cuda") as shares:
        began = time.perf_counter()
        for _ in range(steps):
            network(given, times, context, rays, FRAMES)
        torch.cuda.synchronize()
        seconds = (time.perf_counter() - began) / steps
    return {
        "first_seconds": round(first, 1),
        "step_seconds": round(seconds, 4),
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        "busy": round(sum(shares) / len(shares), 3) if shares else None,
        "hours_of_a_scene": round(seconds * FORWARDS_OF_A_SCENE * STEPS_OF_A_FORWARD / 3600, 2),
        "answer": answer.float(),
    }


def main() -> None:
    """Measures both and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with torch.device("cuda"):
        network = SevaNetwork(NetworkShape()).eval().requires_grad_(False).half()
    with torch.inference_mode():
        plain = measured(network, arguments.steps)
        network.to(memory_format=torch.channels_last).compile()  # type: ignore[call-overload]
        fast = measured(network, arguments.steps)
    apart = (plain.pop("answer") - fast.pop("answer")).abs().max()
    show(
        {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "plain": plain,
            "compiled": fast,
            "ratio": round(plain["step_seconds"] / fast["step_seconds"], 3),
            "largest_difference": float(apart),
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
