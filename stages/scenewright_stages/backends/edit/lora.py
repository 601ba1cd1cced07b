"""Applies published LoRA weights to a transformer without PEFT: merged, or alongside quantised matrices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scenewright_stages.contract.errors import ConfigurationError

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_PREFIX = "transformer."


def add_lora(pipeline: Any, folder: Path, file: str, strength: float) -> int:
    """Applies the LoRA weights in a file to the pipeline's transformer.

    Args:
        pipeline: a diffusers pipeline that supports LoRA for its transformer.
        folder, file: location of the safetensors file.
        strength: LoRA scale.

    Returns:
        Number of changed matrices.

    Raises:
        ConfigurationError: they belong to another model.
    """
    # diffusers converts other programs' names of these weights, and divides by the rank if required.
    state, settings = pipeline.lora_state_dict(
        folder, weight_name=file, local_files_only=True, use_safetensors=True, return_lora_metadata=True
    )
    strength *= _scale(settings or {})
    modules = dict(pipeline.transformer.named_modules())
    downs = [name.removesuffix(_DOWN) for name in state if name.endswith(_DOWN)]
    for name in downs:
        module = modules.get(name.removeprefix(_PREFIX))
        down, up = state[name + _DOWN], state[name + _UP]
        if not isinstance(module, nn.Linear) or (up.shape[0], down.shape[1]) != (
            module.out_features,
            module.in_features,
        ):
            raise ConfigurationError(
                "models", file, f"{name} does not fit the model: these weights are for another one"
            )
        _add(module, down, up, strength)
    if not downs:
        raise ConfigurationError("models", file, "holds no LoRA weights")
    return len(downs)


@torch.no_grad()
def _add(module: nn.Linear, down: Tensor, up: Tensor, strength: float) -> None:
    weight = module.weight
    if weight.is_floating_point():
        change = strength * (up.to(weight.device, torch.float32) @ down.to(weight.device, torch.float32))
        weight.copy_((weight.float() + change).to(weight.dtype))
        return
    device = weight.device
    first, second = down.to(device, torch.bfloat16), (strength * up.float()).to(device, torch.bfloat16)

    def beside(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        value = inputs[0]
        return output + functional.linear(functional.linear(value, first.to(value)), second.to(value)).to(output)

    module.register_forward_hook(beside)


def _scale(settings: Mapping[str, Any]) -> float:
    """The weights' own scale, if the file states one."""
    rank, alpha = settings.get(f"{_PREFIX}r"), settings.get(f"{_PREFIX}lora_alpha")
    return float(alpha) / float(rank) if rank and alpha else 1.0
