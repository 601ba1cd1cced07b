"""The relighting models with few, random weights, saved in the published repositories' own formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    MarigoldIntrinsicsPipeline,
    MarigoldNormalsPipeline,
    UNet2DConditionModel,
)
from sam2.build_sam import build_sam2
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    DPTConfig,
    DPTForDepthEstimation,
    Sam3Config,
    Sam3Model,
)


def save_tokenizer(folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer that knows single letters."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_tiny_sam3(folder: Path) -> Path:
    """Model, tokenizer and configuration as in facebook/sam3, at 112 pixels."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 2, "image_size": 112, "pretrain_image_size": 56, "patch_size": 14,
                "window_size": 4, "global_attn_indexes": [1],
            },
        },
        text_config={
            "model_type": "clip_text_model", "vocab_size": 54, "hidden_size": 32, "intermediate_size": 32,
            "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
            "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        },
        geometry_encoder_config=dict(small),
        detr_encoder_config=dict(small),
        detr_decoder_config=small | {"num_queries": 7},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )  # fmt: skip
    model = Sam3Model(config).eval()
    _make_sensitive(model, (2, 4))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


SAM2_SIZES = {
    "image_size": 128,
    "image_encoder.trunk.embed_dim": 8,
    "image_encoder.trunk.stages": [1, 1, 2, 1],
    "image_encoder.trunk.global_att_blocks": [3],
    "image_encoder.trunk.window_pos_embed_bkg_spatial_size": [4, 4],
    "image_encoder.trunk.window_spec": [8, 4, 4, 2],
    "image_encoder.neck.d_model": 32,
    "image_encoder.neck.backbone_channel_list": [64, 32, 16, 8],
    "image_encoder.neck.position_encoding.num_pos_feats": 32,
    "memory_attention.num_layers": 1,
    "memory_attention.d_model": 32,
    "memory_attention.layer.d_model": 32,
    "memory_attention.layer.dim_feedforward": 32,
    "memory_attention.layer.self_attention.embedding_dim": 32,
    "memory_attention.layer.cross_attention.embedding_dim": 32,
    "memory_encoder.fuser.layer.dim": 32,
    "memory_encoder.fuser.num_layers": 1,
}


def save_tiny_sam2(folder: Path) -> Path:
    """A checkpoint as in facebook/sam2.1-hiera-large, of a network that sees 128 pixels."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    sizes = [f"++model.{name}={json.dumps(value)}" for name, value in SAM2_SIZES.items()]
    model = build_sam2("configs/sam2.1/sam2.1_hiera_l.yaml", None, "cpu", hydra_overrides_extra=sizes)
    torch.save({"model": model.state_dict()}, folder / "sam2.1_hiera_large.pt")
    (folder / "network.json").write_text(json.dumps(SAM2_SIZES))
    return folder


def save_tiny_dpt(folder: Path) -> Path:
    """Model and configuration as in Intel/dpt-large, at 64 pixels."""
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
    )  # fmt: skip
    model = DPTForDepthEstimation(config).eval()
    with torch.no_grad():
        _make_sensitive(model, (4,))
        model.head.head[-2].bias.fill_(2.0)
    model.save_pretrained(folder)
    return folder


def save_tiny_marigold(folder: Path, kind: str = "intrinsics", linear: bool = False) -> Path:
    """A pipeline as in prs-eth/marigold-iid-appearance-v1-1 (two targets) or marigold-normals-v1-1."""
    torch.manual_seed(0)
    targets = 2 if kind == "intrinsics" else 1
    text = CLIPTextConfig(
        vocab_size=54, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    parts: dict[str, Any] = {
        "unet": _unet(4 * (1 + targets), 4 * targets),
        "vae": _autoencoder(),
        "scheduler": DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", steps_offset=1),
        "text_encoder": CLIPTextModel(text).eval(),
        "tokenizer": save_tokenizer(folder.parent / f"{folder.name}-tokenizer"),
        "default_denoising_steps": 2,
        "default_processing_resolution": 64,
    }
    if kind == "intrinsics":
        properties: dict[str, Any] = {"target_names": ["albedo", "material"]}
        if linear:
            properties["albedo"] = {"prediction_space": "linear", "up_to_scale": False}
        pipeline = MarigoldIntrinsicsPipeline(**parts, prediction_type="intrinsics", target_properties=properties)
    else:
        pipeline = MarigoldNormalsPipeline(**parts, prediction_type="normals", use_full_z_range=True)
    pipeline.save_pretrained(folder)
    return folder


def _make_sensitive(model: torch.nn.Module, dimensions: tuple[int, ...]) -> None:
    """As initialised, small random models answer nearly the same to everything."""
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() in dimensions:
                torch.nn.init.kaiming_normal_(weights)


def _unet(channels_in: int, channels_out: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8, in_channels=channels_in, out_channels=channels_out, block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1, cross_attention_dim=16, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip


def _autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=32, block_out_channels=(4, 4, 8, 8), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, norm_num_groups=1, latent_channels=4,
    )  # fmt: skip
