"""Loads the published weights of SEVA's network, after validating every tensor's name and shape."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from scenewright_stages.backends.novel_views.seva.network import NetworkShape, SevaNetwork
from scenewright_stages.backends.runtime.checkpoints import check_tensors, network_shape

CHECKPOINT = "modelv1.1.safetensors"
WEIGHTS_ID = "stabilityai/stable-virtual-camera"


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
        network = SevaNetwork(network_shape(folder, WEIGHTS_ID, NetworkShape(), NetworkShape.from_json))
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_tensors(path, expected, WEIGHTS_ID, "SEVA 1.1")
    network.load_state_dict(load_file(path, device), assign=True)
    return network.to(dtype).eval().requires_grad_(False)
