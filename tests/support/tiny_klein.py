"""A FLUX.2 klein pipeline with few, random weights, saved in the published repository's own format."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2TokenizerFast, Qwen3Config, Qwen3ForCausalLM

LATENT_CHANNELS = 4
TEXT_WIDTH = 16
_LAYERS = 28
"""The conditioning is what layers 9, 18 and 27 of the text encoder say."""
_TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"


def save_tiny_klein(folder: Path, seed: int = 0) -> Path:
    """Writes the pipeline as in black-forest-labs/FLUX.2-klein-4B, with its text encoder."""
    torch.manual_seed(seed)
    tokenizer = Qwen2TokenizerFast(
        vocab={letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[],
        unk_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", "<|endoftext|>"],
    )  # fmt: skip
    tokenizer.chat_template = _TEMPLATE
    text = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=16, num_hidden_layers=_LAYERS,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=1024,
    )  # fmt: skip
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
            max_image_seq_len=4096, time_shift_type="exponential",
        ),
        vae=_autoencoder(),
        text_encoder=Qwen3ForCausalLM(text).eval(),
        tokenizer=tokenizer,
        transformer=Flux2Transformer2DModel(
            in_channels=4 * LATENT_CHANNELS, num_layers=1, num_single_layers=2, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=3 * TEXT_WIDTH, timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ).eval(),
        is_distilled=True,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _autoencoder() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(
        block_out_channels=(4, 4, 8, 8), layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=1,
        sample_size=32,
    ).eval()  # fmt: skip
