"""Qwen-Image-Edit at its full size (20 billion weights in the transformer) with random weights: seconds an edit.

    python tests/bench/qwen_edit.py [--edits 30] [--eager 6] [--steps 8] [--side 768] [--cache FOLDER] [--json FILE]

``eager`` is bf16 as diffusers runs it, ``fp8`` the product's float8 matrices with compiled blocks. Three instructions
of different lengths take turns, with guidance, which runs the network twice a step. What the text encoder would make of
picture and instruction is drawn, and kept as the product keeps it. Random weights take the same time as trained ones.
Prints JSON.
"""

from __future__ import annotations

import argparse
import gc
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
from flux_fill import _drawn

from scenewright_stages.backends.edit.qwen_edit import QwenEditor, QwenSettings, place_pipeline
from scenewright_stages.backends.edit.qwen_instructions import Instructions
from scenewright_stages.backends.runtime.acceleration import BLOCKS, NONE
from scenewright_stages.backends.runtime.capability import BackendRecord

# Qwen-Image-Edit-2511's transformer/config.json and vae/config.json.
TRANSFORMER = {
    "patch_size": 2, "in_channels": 64, "out_channels": 16, "num_layers": 60, "attention_head_dim": 128,
    "num_attention_heads": 24, "joint_attention_dim": 3584, "axes_dims_rope": (16, 56, 56), "zero_cond_t": True,
}  # fmt: skip
SCHEDULER = {
    "shift": 1.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192,
    "shift_terminal": 0.02,
}  # fmt: skip
INSTRUCTIONS = {"Put it on a beach.": 205, "Show it on a table in a cafe, in the rain.": 214, "Make it night.": 203}
"""Tokens of picture and instruction together, about what the encoder gives for them."""
NEGATIVE_TOKENS = 199
MODES = {"eager": ("bf16", NONE), "fp8": ("fp8", BLOCKS), "bf16": ("bf16", BLOCKS)}


class DrawnInstructions(Instructions):
    """Keeps what it has encoded as the product does; the encoder's answer is drawn."""

    def __init__(self, width: int) -> None:
        from collections import OrderedDict

        self._known, self._width, self.encoded = OrderedDict(), width, 0

    def _encoded(self, pipeline: Any, picture: Any, instruction: str) -> tuple[torch.Tensor, torch.Tensor]:
        self.encoded += 1
        tokens = INSTRUCTIONS.get(instruction, NEGATIVE_TOKENS)
        generator = torch.Generator().manual_seed(tokens)
        embeddings = torch.randn(1, tokens, self._width, generator=generator).to(pipeline.transformer.dtype)
        return embeddings, torch.ones(1, tokens, dtype=torch.long)


def editor_of(mode: str, steps: int, side: int, device: str, cache: Path, tiny: bool) -> QwenEditor:
    """The product's editor around random weights."""
    diffusers: Any = importlib.import_module("diffusers")
    precision, compiles = MODES[mode]
    if tiny:
        module: Any = importlib.import_module("diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus")
        module.VAE_IMAGE_SIZE = side * side
    transformer = {**TRANSFORMER, "num_layers": 2, "num_attention_heads": 2} if tiny else TRANSFORMER
    torch.manual_seed(0)
    drawn: Any = _drawn(lambda: diffusers.QwenImageTransformer2DModel(**transformer), device)
    # Its tables are no parameters, and were never filled.
    drawn.pos_embed = type(drawn.pos_embed)(theta=10000, axes_dim=[16, 56, 56], scale_rope=True)
    pipeline = diffusers.QwenImageEditPlusPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        vae=_drawn(lambda: diffusers.AutoencoderKLQwenImage(**({"base_dim": 16} if tiny else {})), device),
        text_encoder=None,
        tokenizer=None,
        processor=None,
        transformer=drawn,
    )
    settings = QwenSettings(precision, compiles, steps=steps, guidance=4.0, area=side * side)
    place_pipeline(pipeline, settings, device, cache)
    record = BackendRecord("edit", "qwen-edit", "model", device=device, precision=precision)
    return QwenEditor(pipeline, DrawnInstructions(int(TRANSFORMER["joint_attention_dim"])), settings, record)  # type: ignore[call-overload]


def measured(editor: QwenEditor, edits: int, side: int, device: str) -> tuple[dict[str, Any], np.ndarray]:
    """Seconds of an edit after two that warm up, GiB, the share of busy time; and the last picture."""
    random = np.random.default_rng(0)
    photo = random.random((side, side, 3), dtype=np.float32)
    names = list(INSTRUCTIONS)
    warm = [_timed(lambda n=n: editor.edit(photo, names[n], n), device)[0] for n in range(2)]
    with busy(device) as shares:
        seconds, pictures = _timed(lambda: [editor.edit(photo, names[n % 3], n) for n in range(edits)], device)
    return {
        "first_edit_seconds": round(warm[0], 1),
        "second_edit_seconds": round(warm[1], 1),
        "edits": edits,
        "edit_seconds": round(seconds / edits, 3),
        "gib": round(torch.cuda.max_memory_allocated() / 2**30, 1) if device == "cuda" else 0.0,
        "busy": round(sum(shares) / len(shares), 3) if shares else None,
        "encoded": editor._instructions.encoded,  # type: ignore[attr-defined]
    }, pictures[0]


def _timed(work: Any, device: str) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, answer


def main() -> None:
    """Measures the modes one after the other and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=30)
    parser.add_argument("--eager", type=int, default=6, help="edits of the eager mode, which are all alike")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--side", type=int, default=768)
    parser.add_argument("--modes", nargs="+", choices=sorted(MODES), default=["eager", "fp8"])
    parser.add_argument("--cache", type=Path, default=Path("/tmp/qwen-cache"))
    parser.add_argument("--tiny", action="store_true", help="two blocks, on the CPU, eager: tries the script")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    tiny, device = arguments.tiny, "cpu" if arguments.tiny else "cuda"
    found: dict[str, Any] = {"device": device if tiny else torch.cuda.get_device_name(), "torch": torch.__version__}
    pictures = {}
    for mode in ["eager"] if tiny else arguments.modes:
        began = time.perf_counter()
        editor = editor_of(mode, arguments.steps, arguments.side, device, arguments.cache, tiny)
        build = round(time.perf_counter() - began, 1)
        edits = arguments.eager if mode == "eager" else arguments.edits
        found[mode], pictures[mode] = measured(editor, edits, arguments.side, device)
        found[mode]["build_seconds"] = build
        editor.release()
        del editor
        print(mode, found[mode], file=sys.stderr, flush=True)
        if device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    if "eager" in found and "fp8" in found:
        found["ratio"] = round(found["eager"]["edit_seconds"] / found["fp8"]["edit_seconds"], 3)
        found["rms_apart"] = float(np.sqrt(np.mean((pictures["eager"] - pictures["fp8"]) ** 2)))
    show(found, arguments.json)


if __name__ == "__main__":
    main()
