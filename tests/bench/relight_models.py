"""The models of ``relight_h200.py`` at their full size, with random weights: they take the time of trained ones."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scenewright_stages.backends.marigold import MarigoldNormals, MarigoldSettings
from scenewright_stages.backends.normals.dpt import DptNormals
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.segment.sam3 import Sam3Segmenter

_RECORD = BackendRecord("bench", "bench", "model", device="cuda", precision="bf16")
_CPU_RECORD = BackendRecord("bench", "bench", "model", device="cpu")


class LetterTokenizer:
    """Stands in for SAM 3's tokenizer, whose vocabulary is not at hand: a token for each letter."""

    def __init__(self, words: int = 1000) -> None:
        self._words = words

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> dict[str, torch.Tensor]:
        tokens = [0, *(ord(letter) % self._words + 2 for letter in texts[0]), 1][:max_length]
        mask = [1] * len(tokens) + [0] * (max_length - len(tokens))
        padded = tokens + [1] * (max_length - len(tokens))
        return {"input_ids": torch.tensor([padded]), "attention_mask": torch.tensor([mask])}


def random_sam3(batch: int, tiny: bool = False) -> Sam3Segmenter:
    """SAM 3 as published (0.8 billion weights), random, bf16."""
    transformers: Any = importlib.import_module("transformers")
    if tiny:
        model = _saved_tiny("save_tiny_sam3", transformers.Sam3Model)
        return Sam3Segmenter(model, LetterTokenizer(50), _CPU_RECORD, "cpu", batch, threshold=0.0)
    model = _on_gpu(lambda: transformers.Sam3Model(transformers.Sam3Config()), torch.bfloat16)
    # Random scores are low; every picture has to go through the whole pipeline.
    return Sam3Segmenter(model, LetterTokenizer(), _RECORD, "cuda", batch, threshold=0.0)


def random_dpt(batch: int, tiny: bool = False) -> DptNormals:
    """DPT-Large as published (0.34 billion weights), random, fp16."""
    transformers: Any = importlib.import_module("transformers")
    if tiny:
        return DptNormals(_saved_tiny("save_tiny_dpt", transformers.DPTForDepthEstimation), _CPU_RECORD, "cpu", batch)
    config = transformers.DPTConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, image_size=384,
        backbone_out_indices=[5, 11, 17, 23], neck_hidden_sizes=[256, 512, 1024, 1024], is_hybrid=False,
    )  # fmt: skip
    return DptNormals(
        _on_gpu(lambda: transformers.DPTForDepthEstimation(config), torch.float16), _RECORD, "cuda", batch
    )


def random_marigold(batch: int, tiny: bool = False) -> MarigoldNormals:
    """Marigold as published (Stable Diffusion 2's U-Net and autoencoder), random, fp16, four steps at 768 pixels."""
    assert not tiny, "the script is tried with DPT"
    diffusers: Any = importlib.import_module("diffusers")
    unet = _on_gpu(
        lambda: diffusers.UNet2DConditionModel(
            sample_size=96, in_channels=8, out_channels=4, block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True,
        ),
        torch.float16,
    )  # fmt: skip
    coder = _on_gpu(
        lambda: diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=768,
        ),
        torch.float16,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing")
    pipeline = diffusers.MarigoldNormalsPipeline(
        unet, coder, scheduler, None, None, prediction_type="normals", default_denoising_steps=4,
        default_processing_resolution=768,
    )  # fmt: skip
    pipeline.empty_text_embedding = torch.zeros((1, 2, 1024), device="cuda", dtype=torch.float16)
    return MarigoldNormals(pipeline, _RECORD, "cuda", MarigoldSettings("fp16", batch))


def _on_gpu(make: Callable[[], Any], kind: torch.dtype) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        with torch.device("cuda"):
            return make().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)


def _saved_tiny(save: str, kind: Any) -> Any:
    """A model with few weights, as the tests make it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "stages" / "relight_vision"))
    with tempfile.TemporaryDirectory() as folder:
        getattr(importlib.import_module("tiny_portrait_models"), save)(Path(folder) / "model")
        return kind.from_pretrained(Path(folder) / "model").eval()
