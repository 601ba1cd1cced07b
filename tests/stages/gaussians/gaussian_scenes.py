"""Scenes and cameras that several tests of the Gaussian core share."""

from __future__ import annotations

import math

import numpy as np
import torch

from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, rigid


def random_scene(count: int, harmonics: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32) -> GaussianScene:
    """Anisotropic Gaussians in front of a camera at the origin, 1.5 to 4 m away."""
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    depth = 1.5 + 2.5 * uniform(count)
    means = torch.stack([(uniform(count) - 0.5) * depth, (uniform(count) - 0.5) * depth, depth], dim=1)
    return GaussianScene(
        means.to(dtype),
        (0.05 + 0.2 * uniform(count, 3)).log().to(dtype),
        normal(count, 4).to(dtype),
        normal(count).to(dtype),
        (0.3 * normal(count, harmonics, 3)).to(dtype),
    )


def turned_camera(width: int = 48, height: int = 40, degrees: float = 17.0) -> Camera:
    """A camera beside the origin, turned about the vertical axis, so that no matrix is the identity."""
    angle = math.radians(degrees)
    rotation = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    return Camera.from_field_of_view(width, height, 60.0, rigid(rotation, [0.1, 0.05, 0.6]))


def single_gaussian(
    depth: float = 2.0, sigma: float = 0.1, opacity: float = 0.7, srgb: tuple[float, float, float] = (1, 1, 1)
) -> GaussianScene:
    """One isotropic Gaussian on the optical axis of a camera at the origin."""
    point, colour = torch.tensor([[0.0, 0.0, depth]]), torch.tensor([srgb], dtype=torch.float32)
    return GaussianScene.from_points(point, colour, torch.tensor([sigma]), opacity)


def empty_scene(device: str = "cpu") -> GaussianScene:
    """A scene without Gaussians."""
    return GaussianScene(*(torch.zeros(shape, device=device) for shape in ((0, 3), (0, 3), (0, 4), (0,), (0, 1, 3))))


def base_srgb(scene: GaussianScene) -> torch.Tensor:
    """(N, 3) view-independent colours, clipped to [0, 1]."""
    return (scene.spherical_harmonics[:, 0] * C0 + 0.5).clamp(0, 1)


def equal_scenes(first: GaussianScene, second: GaussianScene) -> bool:
    """Whether all tensors are bit-identical."""
    return all(
        torch.equal(first.tensors[name].view(torch.int32), second.tensors[name].view(torch.int32))
        for name in first.tensors
    )
