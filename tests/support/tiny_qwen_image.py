"""Qwen-Image-Edit pipelines with few, random weights, saved in the published repositories' own format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from safetensors.torch import save_file
from tiny_qwen import save_tiny_qwen

LATENT_CHANNELS = 4
TEXT_WIDTH = 32
LORA_FILE = "qwen-image-edit-2511-multiple-angles-lora.safetensors"
_PARTS = {
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "processor": ["transformers", "Qwen2VLProcessor"],
    "transformer": ["diffusers", "QwenImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKLQwenImage"],
}


def save_tiny_qwen_image(folder: Path, newer: bool = True, seed: int = 0) -> Path:
    """Writes the pipeline of 2509 and 2511, or the first one."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    tiny_transformer().save_pretrained(folder / "transformer")
    _autoencoder().save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(
        shift=1.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
    ).save_pretrained(folder / "scheduler")
    whole = save_tiny_qwen(folder / "text_encoder")
    for name, files in (("tokenizer", "tokenizer*"), ("processor", "preprocessor_config.json")):
        (folder / name).mkdir()
        for file in list(whole.glob(files)):
            shutil.move(file, folder / name / file.name)
    kind = "QwenImageEditPlusPipeline" if newer else "QwenImageEditPipeline"
    index = {"_class_name": kind, "_diffusers_version": "0.36.0", **_PARTS}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def tiny_transformer() -> QwenImageTransformer2DModel:
    """Two blocks."""
    return QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=4 * LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def save_tiny_lora(folder: Path, seed: int = 1, rank: int = 2) -> Path:
    """Weights for every attention of the transformer, named as published ones are."""
    folder.mkdir(parents=True)
    drawn = torch.Generator().manual_seed(seed)
    state = {}
    for name, module in tiny_transformer().named_modules():
        if isinstance(module, torch.nn.Linear) and ".attn." in name:
            shapes = {"lora_A": (rank, module.in_features), "lora_B": (module.out_features, rank)}
            for part, shape in shapes.items():
                state[f"transformer.{name}.{part}.weight"] = torch.randn(shape, generator=drawn) * 0.3
    save_file(state, folder / LORA_FILE)
    return folder


def _autoencoder() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    ).eval()
