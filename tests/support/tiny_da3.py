"""Weights of Depth Anything 3, few and made by a formula, saved in the published file's own format."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_vggt import formula

from scenewright_stages.backends.depth.da3.checkpoint import CHECKPOINT
from scenewright_stages.backends.depth.da3.heads import HeadShape
from scenewright_stages.backends.depth.da3.network import Da3Network, Da3Shape, expected_shapes
from scenewright_stages.backends.runtime.checkpoints import SHAPE

_HEAD = HeadShape((8, 12, 16, 16), 8)
MAIN = Da3Shape(32, 2, 6, (1, 3, 4, 5), 2, _HEAD, grid=4)
"""As the main series: with a camera, and attention across pictures from the third block on."""
PLAIN = Da3Shape(32, 2, 4, (0, 1, 2, 3), None, _HEAD, grid=4)
"""As the metric and mono networks: with a sky."""
SKY_BIAS = -2.88
FOLDERS = {
    "base": ("DA3-BASE",),
    "small": ("DA3-SMALL",),
    "large": ("DA3-LARGE-1.1",),
    "metric-large": ("DA3METRIC-LARGE", "DA3-BASE"),
    "mono-large": ("DA3MONO-LARGE",),
}


def tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The formula's values, but a field of view near 50 by 60 degrees, and sky in a part of the picture."""
    if name.endswith("fc_fov.0.bias"):
        return torch.tensor([0.85, 1.05])
    if name.endswith("sky_output_conv2.2.bias"):
        return torch.tensor([SKY_BIAS])
    values = formula(name.removeprefix("model."), shape)
    # Attention that is sharp enough to show where a patch is.
    scale = {"attn.qkv.weight": 8.0, "fc_fov.0.weight": 0.05, "sky_output_conv2.2.weight": 20.0}
    return values * next((each for end, each in scale.items() if name.endswith(end)), 1.0)


def tiny_network(shape: Da3Shape) -> Da3Network:
    """A network of few parameters, all made by the formula."""
    network = Da3Network(shape)
    network.load_state_dict({name: tensor(name, tuple(value.shape)) for name, value in network.state_dict().items()})
    return network.eval().requires_grad_(False)


def save_tiny_da3(cache: Path) -> Path:
    """Writes a model cache with every repository."""
    for name in {name for names in FOLDERS.values() for name in names}:
        folder = cache / "depth-anything" / name
        folder.mkdir(parents=True)
        shape = PLAIN if name.startswith(("DA3METRIC", "DA3MONO")) else MAIN
        network = tiny_network(shape)
        tensors = {name: tensor(name, each) for name, each in expected_shapes(network).items()}
        save_file(tensors, folder / CHECKPOINT)
        (folder / SHAPE).write_text(json.dumps(asdict(shape)))
    return cache
