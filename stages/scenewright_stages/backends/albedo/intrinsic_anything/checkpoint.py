"""Reads the published checkpoint, a latent diffusion model in its training framework's format, as plain tensors.

It contains a U-Net (``model.diffusion_model``), its EMA (``model_ema``, used for inference), an image autoencoder
(``first_stage_model``) and OpenAI's CLIP ViT-L/14 (``cond_stage_model.model.visual``). diffusers converts the first
two; this module renames the image encoder.
"""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scenewright_stages.backends.runtime.errors import BrokenWeights
from scenewright_stages.backends.runtime.pretrained import quiet_diffusers

CHECKPOINT = Path("weights") / "albedo" / "checkpoints" / "last.ckpt"
_WEIGHTS_ID = "LittleFrog/IntrinsicAnything"
_UNET, _VISUAL = "model.diffusion_model.", "cond_stage_model.model.visual."
_HEADS = 8  # of the U-Net's attention (albedo_project.yaml)
_HEAD_WIDTH = 64  # of CLIP's attention
_LATENT_SCALE = 0.18215

_RENAMED = (
    ("conv1.weight", "embeddings.patch_embedding.weight"),
    ("class_embedding", "embeddings.class_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("ln_pre.", "pre_layrnorm."),
    ("ln_post.", "post_layernorm."),
    ("transformer.resblocks.", "encoder.layers."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
)


@dataclass(frozen=True)
class IntrinsicNetworks:
    """The three networks, in evaluation mode on the CPU."""

    unet: Any
    autoencoder: Any
    picture_encoder: Any


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint; executes no code in it.

    Raises:
        BrokenWeights: it cannot be read, or contains more than tensors and plain values (a user who trusts it can
            re-save only its ``state_dict``).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        problem = f"it holds objects that would run code ({str(error).splitlines()[0]}); keep only its state_dict"
        raise BrokenWeights(_WEIGHTS_ID, path, problem) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise BrokenWeights(_WEIGHTS_ID, path, f"it cannot be read: {error}") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    if f"{_UNET}input_blocks.0.0.weight" not in state:
        raise BrokenWeights(_WEIGHTS_ID, path, "it holds no latent diffusion model")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def networks_of(state: Mapping[str, Tensor], path: Path) -> IntrinsicNetworks:
    """Builds the networks from a checkpoint's tensors, which must match exactly.

    Raises:
        BrokenWeights: tensors are missing, unexpected or of the wrong shape.
    """
    try:
        return IntrinsicNetworks(_unet(state), _autoencoder(state), _picture_encoder(state))
    except (KeyError, RuntimeError, IndexError) as error:
        problem = f"its tensors do not fit the network: {str(error)[:300]}"
        raise BrokenWeights(_WEIGHTS_ID, path, problem) from error


def _unet(state: Mapping[str, Tensor]) -> Any:
    convert = importlib.import_module("diffusers.loaders.single_file_utils").convert_ldm_unet_checkpoint
    widths = _widths(state)
    levels = len(widths)
    crossed, plain = "CrossAttn", ("DownBlock2D", "UpBlock2D")
    unet = quiet_diffusers().UNet2DConditionModel(
        sample_size=32,
        in_channels=int(state[f"{_UNET}input_blocks.0.0.weight"].shape[1]),
        out_channels=int(state[f"{_UNET}out.2.weight"].shape[0]),
        block_out_channels=widths,
        down_block_types=(*(f"{crossed}{plain[0]}",) * (levels - 1), plain[0]),
        up_block_types=(plain[1], *(f"{crossed}{plain[1]}",) * (levels - 1)),
        layers_per_block=2,
        cross_attention_dim=int(state[_first(state, "attn2.to_k.weight")].shape[1]),
        attention_head_dim=_HEADS,
    )
    has_mean = any(name.startswith("model_ema.diffusion_model") for name in state)
    converted = convert(dict(state), unet.config, extract_ema=has_mean)
    unet.load_state_dict(converted, strict=True)
    return unet.eval()


def _widths(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Channels of each level: two residual blocks per level and, except for the last, a downsampling."""
    widths: list[int] = []
    while (name := f"{_UNET}input_blocks.{1 + 3 * len(widths)}.0.out_layers.3.weight") in state:
        widths.append(int(state[name].shape[0]))
    return tuple(widths)


def _first(state: Mapping[str, Tensor], ending: str) -> str:
    return next(name for name in state if name.startswith(_UNET) and name.endswith(ending))


def _autoencoder(state: Mapping[str, Tensor]) -> Any:
    convert = importlib.import_module("diffusers.loaders.single_file_utils").convert_ldm_vae_checkpoint
    prefix = "first_stage_model.encoder.down."
    levels = 1 + max(int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix))
    widths = tuple(int(state[f"{prefix}{level}.block.0.conv2.weight"].shape[0]) for level in range(levels))
    autoencoder = quiet_diffusers().AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=2,
        latent_channels=int(state["first_stage_model.post_quant_conv.weight"].shape[0]),
        scaling_factor=_LATENT_SCALE,
    )
    parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    known = tuple(f"first_stage_model.{part}" for part in parts)
    tensors = {name: value for name, value in state.items() if name.startswith(known)}
    autoencoder.load_state_dict(convert(tensors, autoencoder.config), strict=True)
    return autoencoder.eval()


def _picture_encoder(state: Mapping[str, Tensor]) -> Any:
    visual = {name[len(_VISUAL) :]: value for name, value in state.items() if name.startswith(_VISUAL)}
    patch, width = visual["conv1.weight"], int(visual["conv1.weight"].shape[0])
    places = int(visual["positional_embedding"].shape[0]) - 1
    transformers: Any = importlib.import_module("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=int(visual["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]),
        num_hidden_layers=1 + max(int(found[1]) for name in visual if (found := _block(name))),
        num_attention_heads=max(1, width // _HEAD_WIDTH),
        image_size=round(places**0.5) * int(patch.shape[-1]),
        patch_size=int(patch.shape[-1]),
        projection_dim=int(visual["proj"].shape[1]),
        hidden_act="quick_gelu",
    )
    encoder = transformers.CLIPVisionModelWithProjection(config)
    encoder.load_state_dict(clip_names(visual), strict=True)
    return encoder.eval()


def _block(name: str) -> re.Match[str] | None:
    return re.match(r"transformer\.resblocks\.(\d+)\.", name)


def clip_names(visual: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a CLIP image encoder's tensors from OpenAI's to transformers' names; splits joint projections."""
    renamed: dict[str, Tensor] = {}
    for name, value in visual.items():
        if name == "proj":
            renamed["visual_projection.weight"] = value.T.contiguous()
            continue
        new = name
        for old, other in _RENAMED:
            new = new.replace(old, other)
        if ".attn.in_proj_" in new:
            before, _, kind = new.partition(".attn.in_proj_")
            for part, third in zip("qkv", value.chunk(3), strict=True):
                renamed[f"vision_model.{before}.self_attn.{part}_proj.{kind}"] = third
        else:
            renamed[f"vision_model.{new}"] = value
    return renamed
