"""SEVA's three sets of weights, few and random, saved in the published files' own formats."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from scenewright_stages.backends.novel_views.facts import AUTOENCODER, CLIP, SEVA
from scenewright_stages.backends.novel_views.seva.checkpoint import CHECKPOINT
from scenewright_stages.backends.novel_views.seva.network import NetworkShape, SevaNetwork
from scenewright_stages.backends.runtime.checkpoints import SHAPE

TINY = NetworkShape(channels=32, multiples=(1, 1, 1, 1), residual_blocks=1, head_width=16, context=16)
LICENCES = frozenset({SEVA.licence})


def save_tiny_seva(cache: Path) -> Path:
    """Writes a model cache with the three repositories."""
    torch.manual_seed(0)
    save_tiny_network(cache / SEVA.id)
    AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=1,
        latent_channels=4,
    ).save_pretrained(cache / AUTOENCODER.id / "vae")
    part = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(
        text_config={**part, "vocab_size": 8},
        vision_config={**part, "image_size": 32, "patch_size": 16},
        projection_dim=TINY.context,
    )
    CLIPModel(config).save_pretrained(cache / CLIP.id)
    return cache


def save_tiny_network(folder: Path) -> SevaNetwork:
    """Writes the checkpoint and the sizes beside it."""
    network = SevaNetwork(TINY)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / CHECKPOINT)
    (folder / SHAPE).write_text(json.dumps(asdict(TINY)))
    return network.eval()
