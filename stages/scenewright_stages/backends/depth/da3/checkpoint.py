"""Loads the published weights of Depth Anything 3, after validating every tensor's name and shape."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch

from scenewright_stages.backends.depth.da3.network import PUBLISHED, Da3Network, Da3Shape, expected_shapes
from scenewright_stages.backends.runtime.checkpoints import check_tensors, network_shape
from scenewright_stages.backends.runtime.errors import BrokenWeights

CHECKPOINT = "model.safetensors"


def load_network(folder: Path, weights_id: str, device: str = "cpu") -> Da3Network:
    """The network of a folder of weights, in float32.

    Args:
        folder: with the checkpoint.
        weights_id: the repository, which decides the sizes; its name in errors.
        device: where it runs.

    Raises:
        BrokenWeights: the checkpoint cannot be read, or a tensor's name or shape is not the network's.
    """
    path = folder / CHECKPOINT
    shape = network_shape(folder, weights_id, PUBLISHED[weights_id.rpartition("/")[2]], Da3Shape.from_json)
    with torch.device("meta"):
        network = Da3Network(shape)
    check_tensors(path, expected_shapes(network), weights_id, "Depth Anything 3")
    try:
        with safetensors.safe_open(path, "pt", device=device) as file:
            tensors = {name: file.get_tensor(f"model.{name}").float() for name in network.state_dict()}
    except (OSError, safetensors.SafetensorError) as error:
        raise BrokenWeights(weights_id, path, f"it cannot be read: {error}") from error
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)
