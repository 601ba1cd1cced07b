"""How long SEVA takes at full size on a GPU, eager and as the product compiles it, with random weights.

    python tests/bench/seva.py [--steps 20] [--path 61] [--cache FOLDER] [--tiny] [--json FILE]

First a window of 21 frames at 576 pixels, denoised twice a step for the guidance, as each of a scene's 303 windows is.
Then a whole path of the product at 6 denoising steps, with encoding and decoding. Time and memory do not depend on the
weights. Prints JSON.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).parent))
from benchmarks import show
from difix_step import busy

from scenewright_stages.backends.novel_views.interface import DrawingSettings, PathTask, PosedPicture
from scenewright_stages.backends.novel_views.seva.conditioning import PictureCoder
from scenewright_stages.backends.novel_views.seva.engine import SevaViews
from scenewright_stages.backends.novel_views.seva.network import NetworkShape, SevaNetwork
from scenewright_stages.backends.novel_views.seva.sampling import Denoiser, Window
from scenewright_stages.backends.runtime.acceleration import compile_network
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.vision.places.worlds.motions import target_cameras, targets_of, view_camera

FRAMES, SIDE = 21, 576
WINDOWS_OF_A_SCENE, STEPS_OF_A_WINDOW, FEWER_STEPS = 303, 50, 6
TINY = NetworkShape(channels=32, multiples=(1, 1, 1, 1), residual_blocks=1, head_width=16, context=16)


def network_of(device: str, tiny: bool) -> SevaNetwork:
    """With random weights, fp16 on a GPU."""
    torch.manual_seed(0)
    with torch.device(device):
        network = SevaNetwork(TINY if tiny else NetworkShape()).eval().requires_grad_(False)
    return network if tiny else network.half()


def coder_of(device: str, tiny: bool) -> PictureCoder:
    """The autoencoder of Stable Diffusion 2.1 and the picture encoder of CLIP ViT-H, random."""
    diffusers: Any = importlib.import_module("diffusers")
    transformers: Any = importlib.import_module("transformers")
    widths = (4, 4, 4, 4) if tiny else (128, 256, 512, 512)
    part = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16,
            "patch_size": 14, "image_size": 224, "projection_dim": 1024}  # fmt: skip
    if tiny:
        part = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
                "patch_size": 16, "image_size": 32, "projection_dim": 16}  # fmt: skip
    dtype = torch.float32 if tiny else torch.float16
    with torch.device(device):
        autoencoder = diffusers.AutoencoderKL(
            block_out_channels=widths, down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, norm_num_groups=min(32, widths[0]),
        )  # fmt: skip
        clip = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**part))
    return PictureCoder(autoencoder.to(dtype), clip.to(dtype), device, dtype)


def window_of(network: SevaNetwork, device: str, side: int) -> Window:
    """Three known frames, the rest to be drawn."""
    latent = side // 8
    known = torch.arange(FRAMES, device=device) < 3
    return Window(
        latents=torch.randn(FRAMES, 4, latent, latent, device=device) * known[:, None, None, None],
        known=known,
        rays=torch.randn(FRAMES, 6, latent, latent, device=device),
        embedding=torch.randn(network.shape.context, device=device),
        guidance=torch.full((FRAMES,), 2.0, device=device),
    )


def window_readings(network: SevaNetwork, device: str, side: int, steps: int) -> dict[str, Any]:
    """Seconds of a denoising step, GiB and the share of busy time."""
    torch.manual_seed(1)
    window, dtype = window_of(network, device, side), next(network.parameters()).dtype
    denoiser = Denoiser(network, device, dtype)
    _reset(device)
    first, _ = _timed(device, lambda: denoiser.sample(window, 1, torch.Generator().manual_seed(1)))
    _timed(device, lambda: denoiser.sample(window, 2, torch.Generator().manual_seed(1)))
    with busy(device) as shares:
        seconds, answer = _timed(device, lambda: denoiser.sample(window, steps, torch.Generator().manual_seed(1)))
    return {
        "first_seconds": round(first, 1),
        "step_seconds": round(seconds / steps, 4),
        "gib": _gib(device),
        "busy": round(sum(shares) / len(shares), 3) if shares else None,
        "hours_of_a_scene": round(seconds / steps * WINDOWS_OF_A_SCENE * STEPS_OF_A_WINDOW / 3600, 2),
        "answer": answer.float(),
    }


def path_readings(network: SevaNetwork, coder: PictureCoder, device: str, side: int, targets: int) -> dict[str, Any]:
    """Seconds of a whole path at few denoising steps, with encoding and decoding, and the share of busy time."""
    record = BackendRecord("novel-views", "seva", "model", device=device)
    views = SevaViews(Denoiser(network, device, next(network.parameters()).dtype), coder, record, device)
    random, cameras = np.random.default_rng(3), [view_camera(view, side) for view in range(8)]
    task = PathTask(
        inputs=[PosedPicture(random.random((side, side, 3), dtype=np.float32), camera) for camera in cameras],
        targets=target_cameras(0, "right", targets_of("right", 1)[:targets], 1.0, side),
        settings=DrawingSettings(steps=FEWER_STEPS),
        seed=1,
    )
    done: list[float] = []
    _reset(device)
    with busy(device) as shares:
        seconds, frames = _timed(device, lambda: views.draw(task, done.append))
    windows = len(done) // FEWER_STEPS
    return {
        "frames": len(frames),
        "windows": windows,
        "seconds": round(seconds, 2),
        "window_seconds": round(seconds / windows, 3),
        "gib": _gib(device),
        "busy": round(sum(shares) / len(shares), 3) if shares else None,
        "minutes_of_a_scene": round(seconds / windows * WINDOWS_OF_A_SCENE / 60, 1),
    }


def _timed(device: str, work: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, answer


def _reset(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _gib(device: str) -> float:
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else 0.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--path", type=int, default=61, help="targets of the path; 0 draws none")
    parser.add_argument("--cache", type=Path, help="where compiled code is kept; else in the library's own folder")
    parser.add_argument("--tiny", action="store_true", help="few channels, on the CPU: tries the script")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tiny, device, side = arguments.tiny, *(("cpu", 64) if arguments.tiny else ("cuda", SIDE))
    network = network_of(device, tiny)
    found: dict[str, Any] = {"device": device if tiny else torch.cuda.get_device_name(), "torch": torch.__version__}
    plain = window_readings(network, device, side, arguments.steps)
    if not tiny:
        compile_network(network, arguments.cache)
    fast = window_readings(network, device, side, arguments.steps)
    found["largest_difference"] = float((plain.pop("answer") - fast.pop("answer")).abs().max())
    found |= {"plain": plain, "compiled": fast, "ratio": round(plain["step_seconds"] / fast["step_seconds"], 3)}
    print(found, file=sys.stderr, flush=True)
    if arguments.path:
        found["path"] = path_readings(network, coder_of(device, tiny), device, side, arguments.path)
    show(found, arguments.json)


if __name__ == "__main__":
    main()
