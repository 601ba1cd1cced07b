"""Loads the published weights of VGGT, after validating every tensor's name and shape."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch

from scenewright_stages.backends.geometry.vggt.network import VggtNetwork, VggtShape, expected_shapes
from scenewright_stages.backends.runtime.checkpoints import check_tensors, network_shape
from scenewright_stages.backends.runtime.errors import BrokenWeights

CHECKPOINT = "model.safetensors"


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
        network = VggtNetwork(network_shape(folder, weights_id, VggtShape(), VggtShape.from_json))
    check_tensors(path, expected_shapes(network), weights_id, "VGGT")
    try:
        with safetensors.safe_open(path, "pt", device=device) as file:
            # Do not load the point tracking head.
            tensors = {name: file.get_tensor(name).float() for name in network.state_dict()}
    except (OSError, safetensors.SafetensorError) as error:
        raise BrokenWeights(weights_id, path, f"it cannot be read: {error}") from error
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)
