"""SAM with few, random weights in the published format, and with attention that looks at single places."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import SamConfig, SamModel

SIDE, CELLS, CHANNELS = 128, 8, 32


def tiny_sam(seed: int = 0, peaked: float = 6.0) -> SamModel:
    """A model at 128 pixels with 8 x 8 cells of features."""
    torch.manual_seed(seed)
    config = SamConfig(
        vision_config={
            "hidden_size": 32, "output_channels": CHANNELS, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": 16, "mlp_dim": 48, "window_size": 4, "global_attn_indexes": [1],
            "num_pos_feats": CHANNELS // 2,
        },
        prompt_encoder_config={
            "hidden_size": CHANNELS, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 16,
        },
        mask_decoder_config={
            "hidden_size": CHANNELS, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32,
        },
    )  # fmt: skip
    model = SamModel(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() in (2, 4):
                torch.nn.init.kaiming_normal_(weights)
        transformer = model.mask_decoder.transformer
        blocks = [layer.cross_attn_token_to_image for layer in transformer.layers]
        for attention in (*blocks, transformer.final_attn_token_to_image):
            attention.q_proj.weight *= peaked**0.5
            attention.k_proj.weight *= peaked**0.5
        model.shared_image_embedding.positional_embedding.copy_(torch.randn(2, CHANNELS // 2))
    return model


def save_tiny_sam(folder: Path, seed: int = 0) -> Path:
    """Model and configuration as in facebook/sam-vit-huge."""
    tiny_sam(seed).save_pretrained(folder)
    return folder
