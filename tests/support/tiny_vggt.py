"""VGGT's weights, few and made by a formula, saved in the published file's own format."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from scenewright_stages.backends.geometry.facts import COMMERCIAL
from scenewright_stages.backends.geometry.vggt.checkpoint import CHECKPOINT
from scenewright_stages.backends.geometry.vggt.heads import DenseShape
from scenewright_stages.backends.geometry.vggt.network import VggtNetwork, VggtShape, expected_shapes
from scenewright_stages.backends.geometry.vggt.transformer import TrunkShape
from scenewright_stages.backends.runtime.checkpoints import SHAPE

TINY = VggtShape(
    trunk=TrunkShape(width=32, heads=2, depth=4, grid=4),
    dense=DenseShape(channels=(8, 12, 16, 16), features=8),
    layers=(0, 1, 2, 3),
    camera_depth=2,
    tracking=4,
)
LICENCES = frozenset({COMMERCIAL.licence})


def formula(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Values that depend on a tensor's name and shape alone; norms and scales are near 1.

    The last bias of the camera head turns the answer into cameras that can be.
    """
    if name == "camera_head.pose_branch.fc2.bias":
        return torch.tensor([0.1, -0.05, 0.2, 0.0, 0.0, 0.0, 2.0, 0.4, 0.4])
    if name == "camera_head.pose_branch.fc2.weight":
        return 0.02 * torch.sin(torch.arange(torch.Size(shape).numel()) * 0.731).reshape(shape)
    phase = sum(ord(letter) * (at + 1) for at, letter in enumerate(name)) % 1009
    count = torch.Size(shape).numel()
    waves = torch.sin(torch.arange(count, dtype=torch.float64) * 0.731 + phase)
    fan = torch.Size(shape[1:]).numel()
    near_one = len(shape) == 1 and name.endswith(("weight", "gamma"))
    values = 1 + 0.1 * waves if near_one else waves * (1.2 / max(1, fan) ** 0.5 if len(shape) > 1 else 0.1)
    return values.reshape(shape).float()


def tiny_network() -> VggtNetwork:
    """A network of few parameters, all made by the formula."""
    network = VggtNetwork(TINY)
    network.load_state_dict({name: formula(name, value.shape) for name, value in network.state_dict().items()})
    return network.eval()


def tiny_pictures(count: int, height: int, width: int) -> torch.Tensor:
    """(S, 3, H, W) smooth patterns in [0, 1]."""
    numbers, channels, rows, columns = torch.meshgrid(
        *(torch.arange(each, dtype=torch.float64) for each in (count, 3, height, width)), indexing="ij"
    )
    return (0.5 + 0.5 * torch.sin(0.9 * numbers + 0.13 * rows + 0.21 * columns + 1.7 * channels)).float()


def save_tiny_vggt(cache: Path) -> Path:
    """Writes a model cache with the repository."""
    save_tiny_checkpoint(cache / COMMERCIAL.id)
    return cache


def save_tiny_checkpoint(folder: Path) -> VggtNetwork:
    """Writes all tensors, those of the head that follows points too, and the sizes beside them."""
    network = tiny_network()
    tensors = {name: formula(name, shape) for name, shape in expected_shapes(network).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / CHECKPOINT)
    (folder / SHAPE).write_text(json.dumps(asdict(TINY)))
    return network
