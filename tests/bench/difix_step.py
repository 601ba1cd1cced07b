"""How long a training step of DiFix takes at full size on a GPU, beside a plain loop, with random weights.

    python tests/bench/difix_step.py [--steps 50] [--size 576 1024] [--cache FOLDER] [--tiny] [--json FILE]

``plain`` is the loop that a user would write: the network with its loss on pictures in memory, eager, with bfloat16
autocast, float32 masters, SDPA and fused AdamW. ``eager`` and ``compiled`` are steps of the product's learner on
files, with reading, clipping and the running mean of weights. Batch 1 with a reference, L2 + LPIPS + Gram. Time does
not depend on the weights. The learning rate is small: random weights under a Gram loss amplify every rounding, and at
the rate of a tuning run two ways of rounding drift apart whatever they compute. Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from benchmarks import show
from diffusers import AutoencoderKL, UNet2DConditionModel

from scenewright_stages.backends.fix.difix import views_of
from scenewright_stages.backends.fix.difix_network import DifixNetwork
from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.backends.perception.lpips import LAYERS, Lpips, VggFeatures, read_layers
from scenewright_stages.backends.runtime.acceleration import compile_network
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.difix.difix_learning import DifixLearner, difix_loss
from scenewright_stages.difix.fixer_params import DifixLossParams, DifixTuningParams, FixerParams
from scenewright_stages.difix.pairs_data import PairFiles, load_pair, load_reference
from scenewright_stages.difix.team import Team

WARM = 3
LEARNING_RATE = 1e-6
PAIRS = 8
LOSSES = DifixLossParams(gram_after=0)


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


def perception_of(device: str, compiles: bool, cache: Path | None) -> Lpips:
    """VGG's layout with random weights, and LPIPS's own layers."""
    torch.manual_seed(1)
    features = VggFeatures()
    for value in features.parameters():
        torch.nn.init.kaiming_normal_(value) if value.dim() > 1 else torch.nn.init.zeros_(value)
    if compiles:
        compile_network(features, cache)
    record = BackendRecord("perception", "lpips-vgg", "vgg", "random", device=device)
    return Lpips(features, read_layers(LAYERS), record)


def write_pairs(folder: Path, size: tuple[int, int]) -> list[PairFiles]:
    """Noise at several sizes, and the same blurred; the reference is the photograph's neighbour."""
    random, found = np.random.default_rng(2), []
    for number in range(PAIRS):
        truth = sum(
            cv2.resize(random.random((size[0] // step + 1, size[1] // step + 1, 3)), size[::-1]) / 3
            for step in (4, 16, 64)
        )
        names = [folder / f"{number}-{kind}.png" for kind in ("image", "target", "reference")]
        pictures = (cv2.GaussianBlur(np.asarray(truth), (0, 0), 3), truth, np.roll(np.asarray(truth), 20, axis=1))
        for path, picture in zip(names, pictures, strict=True):
            cv2.imwrite(str(path), (np.asarray(picture) * 255).astype(np.uint8))
        found.append(PairFiles(str(number), "room", *names, None))
    return found


def plain_steps(device: str, tiny: bool, pairs: Sequence[PairFiles], cache: Path | None) -> Callable[[int], float]:
    """Takes a step of the loop that a user would write."""
    del cache
    network, perception = network_of(device, tiny), perception_of(device, False, None)
    learned = [each for each in network.parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=LEARNING_RATE, fused=device != "cpu")
    loaded = []
    for each in pairs:
        assert each.reference is not None
        seen = replace(FlawedView.alone(load_pair(each).view.srgb), reference=load_reference(each.reference))
        truth = torch.from_numpy(load_pair(each).target.transpose(2, 0, 1).copy())[None]
        loaded.append((views_of(seen)[None].to(device), truth.to(device)))

    def step(number: int) -> float:
        views, truth = loaded[number % len(loaded)]
        optimiser.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            fixed = network(views)
        loss = difix_loss(fixed.float(), truth, LOSSES, perception, True, np.array([0.3, 0.6]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


def product_steps(
    device: str, tiny: bool, pairs: Sequence[PairFiles], cache: Path | None, *, compiles: bool
) -> Callable[[int], float]:
    """Takes a step of the product's learner."""
    params = FixerParams(
        backend="difix", steps=1000, batch=1, learning_rate=LEARNING_RATE, difix=DifixTuningParams(losses=LOSSES)
    )
    perception = perception_of(device, compiles, cache)
    learner = DifixLearner(network_of(device, tiny), params, 3, {}, perception, Team(device=device))
    if compiles:
        learner.compile(cache)
    return lambda number: learner.step(number, pairs)


def measured(device: str, step: Callable[[int], float], steps: int) -> dict[str, Any]:
    """Seconds of a step, GiB, share of time in which the device was busy, and the losses."""
    began = time.perf_counter()
    losses = [step(1)]
    _wait(device)
    first = time.perf_counter() - began
    losses += [step(2 + number) for number in range(WARM)]
    _wait(device)
    with busy(device) as shares:
        began = time.perf_counter()
        losses += [step(2 + WARM + number) for number in range(steps)]
        _wait(device)
        seconds = (time.perf_counter() - began) / steps
    memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    return {
        "first_step_seconds": round(first, 1),
        "step_seconds": round(seconds, 4),
        "gib": round(memory, 2),
        "busy": round(float(np.mean(shares)), 3) if shares else None,
        "losses": [round(each, 6) for each in losses],
    }


@contextmanager
def busy(device: str) -> Iterator[list[float]]:
    """The device's own counter of busy time, ten times a second; of the first GPU that is visible."""
    shares: list[float] = []
    if device == "cpu":
        yield shares
        return
    import pynvml

    pynvml.nvmlInit()
    # NVML counts all GPUs of the machine.
    number = int(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or 0)
    handle, stop = pynvml.nvmlDeviceGetHandleByIndex(number), threading.Event()

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
    """Measures all three and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", type=int, nargs=2, default=[576, 1024])
    parser.add_argument("--ways", nargs="+", default=["plain", "eager", "compiled"])
    parser.add_argument("--cache", type=Path, help="where compiled code is kept; else in the library's own folder")
    parser.add_argument("--tiny", action="store_true", help="few channels, on the CPU: tries the script")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    device = "cpu" if arguments.tiny else "cuda"
    found: dict[str, Any] = {"device": device if arguments.tiny else torch.cuda.get_device_name()}
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), tuple(arguments.size))
        for name in arguments.ways:
            if name == "plain":
                step = plain_steps(device, arguments.tiny, pairs, None)
            else:
                compiles = name == "compiled" and not arguments.tiny
                step = product_steps(device, arguments.tiny, pairs, arguments.cache, compiles=compiles)
            found[name] = measured(device, step, arguments.steps)
            del step
            # Compiling takes minutes, in which somebody may lose patience.
            print(name, {**found[name], "losses": "..."}, file=sys.stderr, flush=True)
            if device == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
    show({**found, **compared(found), "torch": torch.__version__}, arguments.json)


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """Ratio to the plain loop, and how far the losses of compiled steps are from eager ones, step by step."""
    if not {"plain", "eager", "compiled"} <= set(found):
        return {}
    eager, fast = (np.array(found[name]["losses"]) for name in ("eager", "compiled"))
    apart = np.abs(eager - fast) / eager
    return {
        "ratio": round(found["plain"]["step_seconds"] / found["compiled"]["step_seconds"], 3),
        "losses_apart": {"largest": round(float(apart.max()), 5), "mean": round(float(apart.mean()), 5)},
        "loss_of_the_first_and_last_step": [float(eager[0]), float(eager[-1])],
    }


if __name__ == "__main__":
    main()
