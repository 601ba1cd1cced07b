"""FLUX Fill (12 billion parameters) and FLUX.2 klein (4 billion) with random weights, on one GPU: seconds and memory.

    python tests/bench/flux_fill.py [--size 768] [--steps 25] [--modes eager bf16 fp8 klein klein-fp8] [--json out.json]

``eager`` is bf16 as diffusers runs it; ``bf16`` and ``fp8`` are compiled by block, and so are ``klein`` and
``klein-fp8``, which take their own four steps. ``klein-eager`` is not compiled. Random weights take the same
time as trained ones. Nothing is downloaded: the text conditioning is zeros, and the weights are drawn on the GPU.
:func:`random_flux_fill` gives the inpainter to other benchmarks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

SOURCE_ROOT = Path(__file__).parents[2] / "stages"
if str(SOURCE_ROOT) not in sys.path:
    sys.path.insert(0, str(SOURCE_ROOT))

from scenewright_stages.backends.inpaint.facts import FLUX_FILL, KLEIN_4B  # noqa: E402
from scenewright_stages.backends.inpaint.flux2_klein import STEPS, KleinInpainter  # noqa: E402
from scenewright_stages.backends.inpaint.flux_fill import FluxFillInpainter, FluxFillSettings, place_pipeline  # noqa: E402
from scenewright_stages.backends.inpaint.flux_prompts import FluxPrompts, PromptEmbeddings  # noqa: E402
from scenewright_stages.backends.runtime.capability import BackendRecord  # noqa: E402

# FLUX.1-Fill-dev's transformer/config.json: FLUX.1 [dev] with 384 input channels (latents, masked image, mask).
TRANSFORMER = {
    "patch_size": 1, "in_channels": 384, "out_channels": 64, "num_layers": 19, "num_single_layers": 38,
    "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
    "pooled_projection_dim": 768, "guidance_embeds": True, "axes_dims_rope": (16, 56, 56),
}  # fmt: skip
AUTOENCODER = {
    "block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 2, "latent_channels": 16, "sample_size": 1024,
    "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
SCHEDULER = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}

# FLUX.2-klein-4B's transformer/config.json.
KLEIN_TRANSFORMER = {
    "in_channels": 128, "num_layers": 5, "num_single_layers": 20, "attention_head_dim": 128, "num_attention_heads": 24,
    "joint_attention_dim": 7680, "guidance_embeds": False,
}  # fmt: skip
KLEIN_SCHEDULER = {**SCHEDULER, "base_image_seq_len": 256, "max_image_seq_len": 4096}

MODES = {"eager": ("bf16", "none"), "bf16": ("bf16", "blocks"), "fp8": ("fp8", "blocks")}
MODES |= {"klein-eager": ("bf16", "none"), "klein": ("bf16", "blocks"), "klein-fp8": ("fp8", "blocks")}
_GIB = 1 << 30


def random_flux_fill(
    precision: str = "bf16",
    compile: str = "blocks",
    steps: int = 25,
    device: str = "cuda",
    cache_dir: Path | None = None,
    seed: int = 0,
    transformer: dict[str, Any] = TRANSFORMER,
    autoencoder: dict[str, Any] = AUTOENCODER,
    beside: bool = False,
) -> FluxFillInpainter:
    """An ``Inpainter`` with the full-size network and random weights.

    Args:
        precision: ``bf16`` or ``fp8``.
        compile: ``blocks`` or ``none``.
        steps: denoising steps.
        device: where it runs.
        cache_dir: where compiled kernels are kept; None = a temporary folder, so that nothing is reused.
        seed: of the weights.
        transformer, autoencoder: their configurations.
        beside: run eagerly until a child process has compiled the blocks, unless the cache has the code.
    """
    settings = FluxFillSettings(precision=precision, compile=compile, beside=beside, steps=steps)
    pipeline = random_pipeline(transformer, autoencoder, device, seed)
    compiling = place_pipeline(pipeline, settings, device, cache_dir or Path(tempfile.mkdtemp(prefix="flux-fill-")))
    widths = (transformer["joint_attention_dim"], transformer["pooled_projection_dim"])
    nothing = PromptEmbeddings(torch.zeros(1, 512, widths[0]), torch.zeros(1, widths[1]))
    prompts = FluxPrompts("zeros, for random weights", None, {"": nothing})
    record = BackendRecord(
        "inpaint", "flux-fill", "model", weights_id=f"{FLUX_FILL.id} (random weights)", device=device
    )
    return FluxFillInpainter(pipeline, prompts, settings, record, compiling)


def random_klein(precision: str, compile: str, device: str = "cuda", cache_dir: Path | None = None) -> KleinInpainter:
    """FLUX.2 klein at its full size with random weights; the arguments are those of :func:`random_flux_fill`."""
    settings = FluxFillSettings(precision=precision, compile=compile, beside=False, steps=STEPS)
    diffusers: Any = importlib.import_module("diffusers")
    torch.manual_seed(0)
    pipeline = diffusers.Flux2KleinInpaintPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**KLEIN_SCHEDULER),
        transformer=_drawn(lambda: diffusers.Flux2Transformer2DModel(**KLEIN_TRANSFORMER), device),
        vae=_drawn(diffusers.AutoencoderKLFlux2, device),
        text_encoder=None,
        tokenizer=None,
        is_distilled=True,
    )
    compiling = place_pipeline(pipeline, settings, device, cache_dir or Path(tempfile.mkdtemp(prefix="klein-")))
    record = BackendRecord("inpaint", "flux2-klein", "model", weights_id=f"{KLEIN_4B.id} (random)", device=device)
    inpainter = KleinInpainter(pipeline, Path(), settings, record, device, compiling)
    inpainter._embeddings[""] = torch.zeros(1, 512, KLEIN_TRANSFORMER["joint_attention_dim"])
    return inpainter


def random_pipeline(transformer: dict[str, Any], autoencoder: dict[str, Any], device: str, seed: int) -> Any:
    """A ``FluxFillPipeline`` without text encoders, its bf16 weights drawn on the device itself."""
    diffusers: Any = importlib.import_module("diffusers")
    torch.manual_seed(seed)
    modules = {
        "transformer": _drawn(lambda: diffusers.FluxTransformer2DModel(**transformer), device),
        "vae": _drawn(lambda: diffusers.AutoencoderKL(**autoencoder), device),
    }
    absent = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULER)
    return diffusers.FluxFillPipeline(scheduler=scheduler, **modules, **absent)


@torch.no_grad()
def _drawn(build: Callable[[], Any], device: str) -> torch.nn.Module:
    """A module whose weights were never in main memory: matrices keep the scale of their input."""
    with torch.device("meta"):
        module: torch.nn.Module = build()
    # Not the models' own `to`, which warns about types that only matter for trained weights.
    torch.nn.Module.to(module, torch.bfloat16)
    module.to_empty(device=device)
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, parameter[0].numel() ** -0.5)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            buffer.fill_(1 if name.endswith("running_var") else 0)
    return module.eval()


@dataclass(frozen=True)
class Reading:
    """One mode.

    Attributes:
        build_seconds: drawing, quantising and placing the weights.
        first_fill_seconds: with compilation, where there is one.
        fill_seconds: median of ``fills`` more.
        resident_gib, peak_gib: held by the weights; most that a fill needs.
        rms_to_first_mode: difference of the filled colours to the first mode's, same seed; another seed's fill is
            ``rms_to_other_seed`` away.
    """

    mode: str
    build_seconds: float
    first_fill_seconds: float
    fill_seconds: float
    fills: int
    resident_gib: float
    peak_gib: float
    rms_to_first_mode: float
    rms_to_other_seed: float


@dataclass(frozen=True)
class Measurement:
    """A reading, and the filled colours of its last seed."""

    reading: Reading
    filled: np.ndarray


def measure(
    mode: str, size: int, steps: int, fills: int, cache_dir: Path | None, reference: np.ndarray | None
) -> Measurement:
    """Build, warm up and time one mode; the GPU is empty again afterwards."""
    precision, compiled = MODES[mode]
    started = time.perf_counter()
    inpainter: FluxFillInpainter | KleinInpainter
    if mode.startswith("klein"):
        inpainter = random_klein(precision, compiled, cache_dir=cache_dir)
    else:
        inpainter = random_flux_fill(precision, compiled, steps, cache_dir=cache_dir)
    torch.cuda.synchronize()
    build_seconds = time.perf_counter() - started
    resident = torch.cuda.memory_allocated() / _GIB
    srgb, hole = _request(size)
    first, first_filled = _timed_fill(inpainter, srgb, hole, seed=0)
    torch.cuda.reset_peak_memory_stats()
    timed = [_timed_fill(inpainter, srgb, hole, seed) for seed in range(1, fills + 1)]
    peak = torch.cuda.max_memory_allocated() / _GIB
    inpainter.release()
    filled = timed[-1][1]
    median = float(np.median([seconds for seconds, _ in timed]))
    to_first = 0.0 if reference is None else _rms(filled, reference)
    to_other = _rms(filled, first_filled)
    reading = Reading(mode, build_seconds, first, median, fills, resident, peak, to_first, to_other)
    return Measurement(reading, filled)


def _rms(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _request(size: int) -> tuple[np.ndarray, np.ndarray]:
    srgb = np.random.default_rng(0).random((size, size, 3), dtype=np.float32)
    hole = np.zeros((size, size), np.bool_)
    hole[:, -size // 5 :] = True
    return srgb, hole


def _timed_fill(
    inpainter: FluxFillInpainter | KleinInpainter, srgb: np.ndarray, hole: np.ndarray, seed: int
) -> tuple[float, np.ndarray]:
    """Seconds of one fill, and the colours in the hole."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    filled = inpainter.fill(srgb, hole, seed=seed)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    if not np.array_equal(filled[~hole], srgb[~hole]):
        raise AssertionError("known pixels were touched")
    return seconds, filled[hole]


def table(readings: list[Reading]) -> str:
    """The readings as Markdown; ratios against the first row."""
    columns = ("mode", "s / fill", "ratio", "first fill s", "build s", "resident GiB", "peak GiB", "rms to first")
    lines = [_row(columns), _row(["---"] * len(columns))]
    for reading in readings:
        ratio = readings[0].fill_seconds / reading.fill_seconds
        numbers = (reading.fill_seconds, ratio, reading.first_fill_seconds, reading.build_seconds)
        memory = (reading.resident_gib, reading.peak_gib)
        rms = f"{reading.rms_to_first_mode:.3f} (other seed {reading.rms_to_other_seed:.3f})"
        lines.append(_row([reading.mode, *(f"{number:.2f}" for number in (*numbers, *memory)), rms]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure the modes one after the other in this process, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--fills", type=int, default=3)
    parser.add_argument("--modes", nargs="+", choices=sorted(MODES), default=["eager", "bf16", "fp8"])
    parser.add_argument("--cache-dir", type=Path, help="keep compiled kernels here")
    parser.add_argument("--json", type=Path, help="write the readings to this file")
    arguments = parser.parse_args()
    readings: list[Reading] = []
    reference = None
    for mode in arguments.modes:
        measured = measure(mode, arguments.size, arguments.steps, arguments.fills, arguments.cache_dir, reference)
        reference = measured.filled if reference is None else reference
        readings.append(measured.reading)
        print(json.dumps(asdict(measured.reading)), flush=True)
    print(table(readings))
    if arguments.json:
        content = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "size": arguments.size,
            "steps": arguments.steps,
            "readings": [asdict(reading) for reading in readings],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
