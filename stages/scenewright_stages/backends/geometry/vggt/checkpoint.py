"""The published weights of VGGT, checked name by name before they are read."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch

from scenewright_stages.backends.errors import BrokenWeights
from scenewright_stages.backends.geometry.vggt.network import Shapes, VggtNetwork, VggtShape, expected_shapes

CHECKPOINT = "model.safetensors"
SHAPE = "network.json"
"""Beside the checkpoint of a network of other sizes than the published one."""
_NAMED_AT_MOST = 3


def load_network(folder: Path, weights_id: str, device: str = "cpu") -> VggtNetwork:
    """The network of a folder of weights, in float32.

    Args:
        folder: with the checkpoint.
        weights_id: what to call it in errors.
        device: where it runs.

    Raises:
        BrokenWeights: the checkpoint cannot be read, or a tensor's name or shape is not the network's.
    """
    path = folder / CHECKPOINT
    with torch.device("meta"):
        network = VggtNetwork(_shape_of(folder, weights_id))
    try:
        with safetensors.safe_open(path, "pt", device=device) as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            _check(expected_shapes(network), found, path, weights_id)
            # The head that follows points stays on disk.
            tensors = {name: file.get_tensor(name).float() for name in network.state_dict()}
    except (OSError, safetensors.SafetensorError) as error:
        raise BrokenWeights(weights_id, path, f"it cannot be read: {error}") from error
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)


def _check(expected: Shapes, found: Shapes, path: Path, weights_id: str) -> None:
    """Raises BrokenWeights, with the first names and shapes that differ, unless the tensors are the expected ones."""
    problems = [f"it lacks {name}" for name in expected if name not in found]
    problems += [f"{name} is not a tensor of VGGT" for name in found if name not in expected]
    problems += [
        f"{name} has the shape {found[name]}, not {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        more = f" (and {len(problems) - _NAMED_AT_MOST} more)" if len(problems) > _NAMED_AT_MOST else ""
        raise BrokenWeights(weights_id, path, "; ".join(problems[:_NAMED_AT_MOST]) + more)


def _shape_of(folder: Path, weights_id: str) -> VggtShape:
    path = folder / SHAPE
    if not path.exists():
        return VggtShape()
    try:
        return VggtShape.from_json(path)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenWeights(weights_id, path, f"it does not describe a network: {error}") from error
