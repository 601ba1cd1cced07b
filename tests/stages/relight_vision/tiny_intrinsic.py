"""A latent diffusion checkpoint with few, random weights under the names of IntrinsicAnything's training framework."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

WIDTHS = (32, 32, 64, 64)
CODER_WIDTHS = (32, 32, 32, 32)
CONTEXT = 24


def save_tiny_checkpoint(path: Path, seed: int = 0) -> dict[str, Tensor]:
    """Write the checkpoint; its tensors."""
    torch.manual_seed(seed)
    state = {f"model.diffusion_model.{name}": value for name, value in _unet().items()}
    mean = {f"model_ema.diffusion_model{name.replace('.', '')}": value + 0.01 for name, value in _unet().items()}
    coder = {f"first_stage_model.{name}": value for name, value in _coder().items()}
    visual = {f"cond_stage_model.model.visual.{name}": value for name, value in _visual().items()}
    rest = {
        "betas": torch.rand(1000),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(3),
    }
    text = {"cond_stage_model.model.logit_scale": torch.tensor(4.6)}
    state |= mean | coder | visual | rest | text
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "epoch": 3, "global_step": 100}, path)
    return state


def _layer(name: str, *shape: int) -> dict[str, Tensor]:
    weight = torch.randn(shape) / max(shape[1:], default=1) ** 0.5 * 0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(shape[0])}


def _norm(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}


def _residual(name: str, before: int, after: int) -> dict[str, Tensor]:
    tensors = {
        **_norm(f"{name}.in_layers.0", before),
        **_layer(f"{name}.in_layers.2", after, before, 3, 3),
        **_layer(f"{name}.emb_layers.1", after, 4 * WIDTHS[0]),
        **_norm(f"{name}.out_layers.0", after),
        **_layer(f"{name}.out_layers.3", after, after, 3, 3),
    }
    return tensors | (_layer(f"{name}.skip_connection", after, before, 1, 1) if before != after else {})


def _attention(name: str, width: int) -> dict[str, Tensor]:
    block = f"{name}.transformer_blocks.0"
    tensors = {**_norm(f"{name}.norm", width), **_layer(f"{name}.proj_in", width, width, 1, 1)}
    for number, context in ((1, width), (2, CONTEXT)):
        for part, inputs in (("q", width), ("k", context), ("v", context)):
            tensors[f"{block}.attn{number}.to_{part}.weight"] = torch.randn(width, inputs) / inputs**0.5
        tensors |= _layer(f"{block}.attn{number}.to_out.0", width, width)
    for number in (1, 2, 3):
        tensors |= _norm(f"{block}.norm{number}", width)
    tensors |= _layer(f"{block}.ff.net.0.proj", 8 * width, width) | _layer(f"{block}.ff.net.2", width, 4 * width)
    return tensors | _layer(f"{name}.proj_out", width, width, 1, 1)


def _unet() -> dict[str, Tensor]:
    first = WIDTHS[0]
    tensors = _layer("time_embed.0", 4 * first, first) | _layer("time_embed.2", 4 * first, 4 * first)
    tensors |= _layer("input_blocks.0.0", first, 8, 3, 3)
    skips, width, place = [first], first, 1
    for level, wide in enumerate(WIDTHS):
        for _ in range(2):
            tensors |= _residual(f"input_blocks.{place}.0", width, wide)
            tensors |= _attention(f"input_blocks.{place}.1", wide) if level < 3 else {}
            width, place = wide, place + 1
            skips.append(width)
        if level < 3:
            tensors |= _layer(f"input_blocks.{place}.0.op", width, width, 3, 3)
            place += 1
            skips.append(width)
    tensors |= _residual("middle_block.0", width, width) | _attention("middle_block.1", width)
    tensors |= _residual("middle_block.2", width, width)
    place = 0
    for level in (3, 2, 1, 0):
        for step in range(3):
            tensors |= _residual(f"output_blocks.{place}.0", width + skips.pop(), WIDTHS[level])
            width = WIDTHS[level]
            tensors |= _attention(f"output_blocks.{place}.1", width) if level < 3 else {}
            if step == 2 and level > 0:
                tensors |= _layer(f"output_blocks.{place}.{2 if level < 3 else 1}.conv", width, width, 3, 3)
            place += 1
    return tensors | _norm("out.0", first) | _layer("out.2", 4, first, 3, 3)


def _coder() -> dict[str, Tensor]:
    tensors = _layer("encoder.conv_in", CODER_WIDTHS[0], 3, 3, 3) | _layer("decoder.conv_in", CODER_WIDTHS[-1], 4, 3, 3)
    width = CODER_WIDTHS[0]
    for level, wide in enumerate(CODER_WIDTHS):
        for block in range(2):
            tensors |= _coder_block(f"encoder.down.{level}.block.{block}", width, wide)
            width = wide
        if level < len(CODER_WIDTHS) - 1:
            tensors |= _layer(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    for side in ("encoder", "decoder"):
        for block in (1, 2):
            tensors |= _coder_block(f"{side}.mid.block_{block}", width, width)
        tensors |= _norm(f"{side}.mid.attn_1.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            tensors |= _layer(f"{side}.mid.attn_1.{part}", width, width, 1, 1)
    for level in (3, 2, 1, 0):
        for block in range(3):
            tensors |= _coder_block(f"decoder.up.{level}.block.{block}", width, CODER_WIDTHS[level])
            width = CODER_WIDTHS[level]
        if level > 0:
            tensors |= _layer(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    tensors |= _norm("encoder.norm_out", CODER_WIDTHS[-1]) | _layer("encoder.conv_out", 8, CODER_WIDTHS[-1], 3, 3)
    tensors |= _norm("decoder.norm_out", width) | _layer("decoder.conv_out", 3, width, 3, 3)
    return tensors | _layer("quant_conv", 8, 8, 1, 1) | _layer("post_quant_conv", 4, 4, 1, 1)


def _coder_block(name: str, before: int, after: int) -> dict[str, Tensor]:
    tensors = {
        **_norm(f"{name}.norm1", before), **_layer(f"{name}.conv1", after, before, 3, 3),
        **_norm(f"{name}.norm2", after), **_layer(f"{name}.conv2", after, after, 3, 3),
    }  # fmt: skip
    return tensors | (_layer(f"{name}.nin_shortcut", after, before, 1, 1) if before != after else {})


def _visual() -> dict[str, Tensor]:
    width = 64
    tensors = {
        "conv1.weight": torch.randn(width, 3, 8, 8) * 0.1,
        "class_embedding": torch.randn(width),
        "positional_embedding": torch.randn(17, width),
        "proj": torch.randn(width, CONTEXT) * 0.2,
        **_norm("ln_pre", width),
        **_norm("ln_post", width),
    }
    for block in range(2):
        name = f"transformer.resblocks.{block}"
        tensors |= {f"{name}.attn.in_proj_weight": torch.randn(3 * width, width) * 0.1}
        tensors |= {f"{name}.attn.in_proj_bias": torch.zeros(3 * width)}
        tensors |= _layer(f"{name}.attn.out_proj", width, width)
        tensors |= _layer(f"{name}.mlp.c_fc", 4 * width, width) | _layer(f"{name}.mlp.c_proj", width, 4 * width)
        tensors |= _norm(f"{name}.ln_1", width) | _norm(f"{name}.ln_2", width)
    return tensors
