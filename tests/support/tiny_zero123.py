"""Zero123++ with few, random weights, saved in the published repository's own format."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from tiny_flux import clip_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

WIDTH, SIDE, CLIP_SIDE = 16, 32, 28
RAMPING = [round(number / 76, 4) for number in range(77)]


def save_tiny_zero123(folder: Path) -> Path:
    """Networks, tokenizer and settings; the autoencoder works on ``SIDE`` pixels."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    UNet2DConditionModel(
        sample_size=SIDE // 8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4, norm_num_groups=4, use_linear_projection=True,
    ).save_pretrained(folder / "unet")  # fmt: skip
    AutoencoderKL(
        block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=1,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4, scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=WIDTH, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    seen = CLIPVisionConfig(
        hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2, image_size=CLIP_SIDE,
        patch_size=14, projection_dim=WIDTH,
    )  # fmt: skip
    CLIPVisionModelWithProjection(seen).save_pretrained(folder / "vision_encoder")
    clip_tokenizer(folder).save_pretrained(folder / "tokenizer")
    for name in ("vocab.json", "merges.txt"):
        (folder / name).replace(folder / "tokenizer" / name)
    EulerAncestralDiscreteScheduler(
        beta_schedule="linear", prediction_type="v_prediction", timestep_spacing="linspace"
    ).save_pretrained(folder / "scheduler")
    for name, side, mean, deviation in (("vae", SIDE, 0.5, 0.8), ("clip", CLIP_SIDE, 0.45, 0.27)):
        settings = {"image_mean": [mean] * 3, "image_std": [deviation] * 3, "size": {"shortest_edge": side}}
        settings["crop_size"] = {"height": side, "width": side}
        (folder / f"feature_extractor_{name}").mkdir()
        (folder / f"feature_extractor_{name}" / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "Zero123PlusPipeline", "ramping_coefficients": RAMPING})
    )
    return folder
