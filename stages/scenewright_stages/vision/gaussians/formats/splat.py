"""Reads and writes ``.splat`` files, 32 bytes for each splat, as antimatter15's viewer reads them.

Position and scale are float32, colour with opacity and rotation are bytes. There are no harmonics, axes or metadata.
Splats are in order of importance, since viewers draw the file while it loads.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.scene import GaussianScene

_RECORD = np.dtype([("position", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
_LEAST_OPACITY = 0.5 / 255


def write_splat(scene: GaussianScene, path: Path) -> None:
    """Writes a scene without its view-dependent colour. Equal scenes give equal bytes."""
    table = np.zeros(len(scene), _RECORD)
    opacity = torch.sigmoid(scene.opacity_logits).numpy()
    size = scene.log_scales.sum(dim=1).numpy()
    table["position"] = scene.means.numpy()
    table["scale"] = np.exp(scene.log_scales.numpy())
    colour = np.clip(scene.spherical_harmonics[:, 0].numpy() * C0 + 0.5, 0, 1)
    table["rgba"] = np.rint(np.concatenate([colour, opacity[:, None]], axis=1) * 255)
    unit = torch.nn.functional.normalize(scene.quaternions, dim=1).numpy()
    table["rotation"] = np.clip(np.rint(unit * 128 + 128), 0, 255)
    order = np.argsort(-(np.exp(size) * opacity), kind="stable")
    path.write_bytes(table[order].tobytes())


def read_splat(path: Path) -> GaussianScene:
    """The scene of a ``.splat`` file.

    Raises:
        FormatError: its size is not a whole number of splats.
    """
    data = path.read_bytes()
    if not data or len(data) % _RECORD.itemsize:
        raise FormatError(f"{path.name} has {len(data)} bytes, which are not whole splats of {_RECORD.itemsize}")
    table = np.frombuffer(data, _RECORD)
    colour = (table["rgba"][:, :3] / np.float32(255) - 0.5) / C0
    share = np.clip(table["rgba"][:, 3] / 255.0, _LEAST_OPACITY, 1 - _LEAST_OPACITY)
    return GaussianScene(
        torch.from_numpy(table["position"].copy()),
        torch.from_numpy(np.log(np.maximum(table["scale"], 1e-12))),
        torch.from_numpy((table["rotation"].astype(np.float32) - 128) / 128),
        torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)),
        torch.from_numpy(colour.astype(np.float32)[:, None]),
    )
