"""FLUX Fill and FLUX.1 pipelines with few, random weights, saved in the published repositories' own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from scenewright_stages.backends.inpaint.flux_prompts import EMPTY_PROMPT_FILE, PromptEmbeddings

LATENT_CHANNELS = 4
SEQUENCE_WIDTH = 32
POOLED_WIDTH = 32
_SPATIAL_REDUCTION = 8


def save_tiny_flux(folder: Path, seed: int = 0, with_encoders: bool = False) -> Path:
    """Write the pipeline to ``folder``: with its text encoders, or with the empty prompt's embedding (zeros) alone."""
    torch.manual_seed(seed)
    pipeline = FluxFillPipeline(
        scheduler=_scheduler(),
        vae=_autoencoder(),
        transformer=_transformer(),
        **(_encoders(folder.parent) if with_encoders else dict.fromkeys(_ENCODER_PARTS)),
    )
    pipeline.save_pretrained(folder)
    if not with_encoders:
        empty = zero_embeddings(SEQUENCE_WIDTH, POOLED_WIDTH)
        save_file({"sequence": empty.sequence, "pooled": empty.pooled}, folder / EMPTY_PROMPT_FILE)
    return folder


def zero_embeddings(sequence_width: int, pooled_width: int) -> PromptEmbeddings:
    """An empty prompt of zeros, for networks with random weights."""
    return PromptEmbeddings(torch.zeros(1, 512, sequence_width), torch.zeros(1, pooled_width))


def save_tiny_flux_dev(folder: Path, seed: int = 0) -> Path:
    """Write the pipeline that draws from texts to ``folder``, with its text encoders."""
    torch.manual_seed(seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    transformer = _transformer(mask_channels=None)
    FluxPipeline(
        scheduler=_scheduler(), vae=_autoencoder(), transformer=transformer, **_encoders(folder.parent)
    ).save_pretrained(folder)
    return folder


_ENCODER_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


def _transformer(mask_channels: int | None = _SPATIAL_REDUCTION**2 * 4) -> FluxTransformer2DModel:
    """With the channels of a picture and its mask beside the noise, or with the noise alone."""
    beside = 0 if mask_channels is None else 4 * LATENT_CHANNELS + mask_channels
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS + beside,
        out_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=SEQUENCE_WIDTH,
        pooled_projection_dim=POOLED_WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=32,
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=1,
        latent_channels=LATENT_CHANNELS,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0609,
        scaling_factor=1.5035,
    )


def _scheduler() -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15)


def _encoders(scratch: Path) -> dict[str, Any]:
    clip = CLIPTextConfig(
        vocab_size=64, hidden_size=POOLED_WIDTH, intermediate_size=37, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, projection_dim=32, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    t5 = T5Config(vocab_size=64, d_model=SEQUENCE_WIDTH, d_kv=8, d_ff=37, num_layers=1, num_heads=2)
    return {
        "text_encoder": CLIPTextModel(clip).eval(),
        "tokenizer": clip_tokenizer(scratch),
        "text_encoder_2": T5EncoderModel(t5).eval(),
        "tokenizer_2": _t5_tokenizer(),
    }


def _letters() -> list[str]:
    return [chr(code) for code in range(ord("a"), ord("z") + 1)]


def clip_tokenizer(scratch: Path) -> CLIPTokenizer:
    """Of letters alone."""
    words = ["<|startoftext|>", "<|endoftext|>", *_letters(), *(f"{letter}</w>" for letter in _letters())]
    vocabulary, merges = scratch / "vocab.json", scratch / "merges.txt"
    vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
    merges.write_text("#version: 0.2\n")
    return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=77)


def _t5_tokenizer() -> T5TokenizerFast:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *_letters()]
    return T5TokenizerFast(vocab=[(piece, 0.0) for piece in pieces], extra_ids=0, model_max_length=512)
