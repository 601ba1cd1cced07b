"""Stable Diffusion 2 Inpainting and CLIP ViT-B/16 with few, random weights, in the published files' own formats."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from tiny_flux import clip_tokenizer, save_tiny_flux_dev
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from scenewright_stages.backends.inpaint.facts import SD2_INPAINTING
from scenewright_stages.backends.similarity.facts import CLIP_B16
from scenewright_stages.backends.text_to_image.facts import FLUX

WIDTH = 32
_SMALL = {"hidden_size": WIDTH, "intermediate_size": 37, "num_hidden_layers": 1, "num_attention_heads": 2}
_TEXT = {**_SMALL, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


def save_tiny_drawing(cache: Path) -> Path:
    """Writes a model cache with all that a scaffold from text may use: FLUX.1, SD 2 Inpainting, CLIP."""
    save_tiny_flux_dev(cache / FLUX.id)
    save_tiny_sd2(cache / SD2_INPAINTING.id)
    save_tiny_clip(cache / CLIP_B16.id)
    return cache


def save_tiny_sd2(folder: Path) -> Path:
    """Writes the inpainting pipeline."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    autoencoder = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=1,
        latent_channels=4,
    )
    network = UNet2DConditionModel(
        sample_size=64,
        in_channels=9,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
    )
    StableDiffusionInpaintPipeline(
        vae=autoencoder,
        text_encoder=CLIPTextModel(CLIPTextConfig(**_TEXT)).eval(),
        tokenizer=clip_tokenizer(folder.parent),
        unet=network,
        scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def save_tiny_clip(folder: Path) -> Path:
    """Writes model, as a pickle of tensors alone, and tokenizer."""
    torch.manual_seed(1)
    folder.mkdir(parents=True)
    vision = {**_SMALL, "image_size": 32, "patch_size": 16}
    model = CLIPModel(CLIPConfig(text_config=_TEXT, vision_config=vision, projection_dim=WIDTH))
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    tokenizer = clip_tokenizer(folder)
    tokenizer.save_pretrained(folder)
    return folder
