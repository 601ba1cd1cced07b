"""MapAnything's weights, few and made by a formula, saved in the published file's own format."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_vggt import formula as wave

from scenewright_stages.backends.geometry.map_anything.estimator import CHECKPOINT
from scenewright_stages.backends.geometry.map_anything.network import (
    MapAnythingNetwork,
    MapAnythingShape,
    expected_shapes,
)
from scenewright_stages.backends.runtime.checkpoints import SHAPE

TINY = MapAnythingShape(
    width=32, heads=2, encoder_depth=2, depth=6, layers=(1, 3), channels=(8, 12, 16, 16), features=8, scale_width=12,
    dense_inputs=(6, 8, 8), grid=4,
)  # fmt: skip
RAY_BIAS = "dense_head.1.conv2.2.bias"


def formula(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that depend on a tensor's name and shape alone; rays look ahead, and the scale is not 1."""
    if name == RAY_BIAS:
        return torch.tensor([0.1, -0.2, 1.0, 0.7, 0.2, 1.5])
    if name == "scale_head.output_proj.bias":
        return torch.tensor([0.4])
    return wave(name, shape)


def tiny_network() -> MapAnythingNetwork:
    """A network of few parameters, all made by the formula."""
    network = MapAnythingNetwork(TINY)
    network.load_state_dict({name: formula(name, value.shape) for name, value in network.state_dict().items()})
    return network.eval()


def save_tiny_map_anything(folder: Path, **renamed: str) -> Path:
    """Writes all tensors, those of the encoders of given geometry too, and the sizes beside them."""
    tensors = {name: formula(name, shape) for name, shape in expected_shapes(tiny_network()).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / CHECKPOINT)
    (folder / SHAPE).write_text(json.dumps(asdict(TINY)))
    return folder
