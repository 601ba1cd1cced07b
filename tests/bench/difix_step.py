"""How long a training step of DiFix takes at full size on a GPU, beside a plain loop, with random weights.

    python tests/bench/difix_step.py [--steps 50] [--size 576 1024] [--tiny] [--json FILE]

Both train the product's network with its loss on the same pictures: batch 1 with a reference, L2 + LPIPS + Gram,
float32 masters, bfloat16 autocast, SDPA and fused AdamW. ``plain`` runs it as it stands; ``compiled`` compiles the
U-Net, the two halves of the autoencoder and VGG, with channels last. Time does not depend on the weights. Prints JSON.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from benchmarks import show
from diffusers import AutoencoderKL, UNet2DConditionModel

from scenewright_stages.backends.capability import BackendRecord
from scenewright_stages.backends.fix.difix_network import DifixNetwork
from scenewright_stages.backends.perception.lpips import LAYERS, Lpips, VggFeatures, read_layers
from scenewright_stages.difix.difix_learning import difix_loss
from scenewright_stages.difix.fixer_params import DifixLossParams

WARM = 3
LEARNING_RATE = 2e-5


def network_of(device: str, tiny: bool) -> DifixNetwork:
    """SD-Turbo's layout with random weights; `tiny` has a fraction of the channels."""
    torch.manual_seed(0)
    widths = (32, 64, 64, 64) if tiny else (320, 640, 1280, 1280)
    depths = (16, 32, 32, 32) if tiny else (128, 256, 512, 512)
    context = 64 if tiny else 1024
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=widths,
            attention_head_dim=[each // 32 if tiny else each // 64 for each in widths],
            cross_attention_dim=context,
            use_linear_projection=True,
            norm_num_groups=8 if tiny else 32,
        )
        vae = AutoencoderKL(
            block_out_channels=depths,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            norm_num_groups=8 if tiny else 32,
            latent_channels=4,
            scaling_factor=0.18215,
        )
        return DifixNetwork(unet, vae, torch.randn(1, 77, context))


def perception_of(device: str) -> Lpips:
    """VGG's layout with random weights, and LPIPS's own layers."""
    torch.manual_seed(1)
    features = VggFeatures()
    for value in features.parameters():
        torch.nn.init.kaiming_normal_(value) if value.dim() > 1 else torch.nn.init.zeros_(value)
    record = BackendRecord("perception", "lpips-vgg", "vgg", "random", device=device)
    return Lpips(features, read_layers(LAYERS), record)


def compiled(network: DifixNetwork, perception: Lpips) -> None:
    """Compiles what a step consists of, in place."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.unet.compile()
    network._encoded = torch.compile(network._encoded)  # type: ignore[method-assign]
    network._decoded = torch.compile(network._decoded)  # type: ignore[method-assign]
    assert perception._features is not None
    perception._features.to(memory_format=torch.channels_last).compile()  # type: ignore[call-overload]


def measured(
    device: str, tiny: bool, size: tuple[int, int], steps: int, prepare: Callable[[DifixNetwork, Lpips], None]
) -> dict[str, Any]:
    """Seconds of a step, GiB, share of time in which the device was busy, and the losses."""
    network, perception = network_of(device, tiny), perception_of(device)
    learned = [each for each in network.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=LEARNING_RATE, fused=device != "cpu")
    prepare(network, perception)
    pictures = torch.Generator(device).manual_seed(2)
    weights, corner = DifixLossParams(gram_after=0), np.array([0.3, 0.6])
    losses: list[torch.Tensor] = []

    def step() -> None:
        truth = torch.rand(1, 3, *size, device=device, generator=pictures)
        views = torch.stack([truth * 0.8 + 0.1, truth], dim=1)
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            fixed = network(views)
        loss = difix_loss(fixed.float(), truth, weights, perception, True, corner)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())

    began = time.perf_counter()
    step()
    _wait(device)
    first = time.perf_counter() - began
    for _ in range(WARM):
        step()
    _wait(device)
    with busy(device) as shares:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        _wait(device)
        seconds = (time.perf_counter() - began) / steps
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {
        "first_step_seconds": round(first, 1),
        "step_seconds": round(seconds, 4),
        "gib": round(memory, 2),
        "busy": round(float(np.mean(shares)), 3) if shares else None,
        "losses": [round(float(each), 5) for each in losses],
    }


@contextmanager
def busy(device: str) -> Iterator[list[float]]:
    """The device's own counter of busy time, ten times a second."""
    shares: list[float] = []
    if device == "cpu":
        yield shares
        return
    import pynvml

    pynvml.nvmlInit()
    handle, stop = pynvml.nvmlDeviceGetHandleByIndex(0), threading.Event()

    def sample() -> None:
        while not stop.wait(0.1):
            shares.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield shares
    finally:
        stop.set()
        thread.join()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measures both and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", type=int, nargs=2, default=[576, 1024])
    parser.add_argument("--tiny", action="store_true", help="few channels, on the CPU: tries the script")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = "cpu" if arguments.tiny else "cuda"
    found: dict[str, Any] = {"device": device if arguments.tiny else torch.cuda.get_device_name()}
    for name, prepare in (("plain", lambda *_: None), ("compiled", compiled)):
        found[name] = measured(device, arguments.tiny, tuple(arguments.size), arguments.steps, prepare)
        # Compiling takes minutes, in which somebody may lose patience.
        print(name, {key: value for key, value in found[name].items() if key != "losses"}, file=sys.stderr, flush=True)
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    plain, fast = (np.array(found[name]["losses"]) for name in ("plain", "compiled"))
    found["ratio"] = round(found["plain"]["step_seconds"] / found["compiled"]["step_seconds"], 3)
    found["largest_difference_of_losses"] = round(float(np.abs(plain - fast).max() / np.abs(plain).mean()), 5)
    found["torch"] = torch.__version__
    show(found, arguments.json)


if __name__ == "__main__":
    main()
