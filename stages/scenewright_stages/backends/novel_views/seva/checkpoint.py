"""The published weights of SEVA's network, checked name by name before they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file

from scenewright_stages.backends.errors import BrokenWeights
from scenewright_stages.backends.novel_views.seva.network import NetworkShape, SevaNetwork

CHECKPOINT = "modelv1.1.safetensors"
SHAPE = "network.json"
"""Beside the checkpoint of a network of other sizes than the published one."""
WEIGHTS_ID = "stabilityai/stable-virtual-camera"
_NAMED_AT_MOST = 3


def load_network(folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> SevaNetwork:
    """The network of a folder of weights, ready to run.

    Args:
        folder: with the checkpoint.
        device: where it runs.
        dtype: of its parameters and its arithmetic.

    Raises:
        BrokenWeights: the checkpoint cannot be read, or a tensor's name or shape is not the network's.
    """
    path = folder / CHECKPOINT
    with torch.device("meta"):
        network = SevaNetwork(_shape_of(folder))
    check_tensors(network, _shapes_in(path), path)
    network.load_state_dict(load_file(path, device), assign=True)
    return network.to(dtype).eval().requires_grad_(False)


def check_tensors(network: SevaNetwork, found: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Raises BrokenWeights, with the first names and shapes that differ, unless the network's tensors are all there."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    problems = [f"it lacks {name}" for name in expected if name not in found]
    problems += [f"{name} is not a tensor of SEVA 1.1" for name in found if name not in expected]
    problems += [
        f"{name} has the shape {found[name]}, not {shape}"
        for name, shape in expected.items()
        if found.get(name, shape) != shape
    ]
    if problems:
        more = f" (and {len(problems) - _NAMED_AT_MOST} more)" if len(problems) > _NAMED_AT_MOST else ""
        raise BrokenWeights(WEIGHTS_ID, path, "; ".join(problems[:_NAMED_AT_MOST]) + more)


def _shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise BrokenWeights(WEIGHTS_ID, path, f"it cannot be read: {error}") from error


def _shape_of(folder: Path) -> NetworkShape:
    path = folder / SHAPE
    if not path.exists():
        return NetworkShape()
    try:
        return NetworkShape.from_json(path)
    except (TypeError, ValueError) as error:
        raise BrokenWeights(WEIGHTS_ID, path, f"it does not describe a network: {error}") from error
