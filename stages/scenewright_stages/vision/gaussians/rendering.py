"""The renderer interface and its result.

Code that renders or fits takes a `Renderer`; `renderers` chooses the implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

# Below this alpha, expected depth is meaningless.
ALPHA_FLOOR = 1e-10


@dataclass
class Rendering:
    """The render of B cameras of equal size.

    Attributes:
        rgb: (B, H, W, 3) sRGB, composited over the background (black by default); not clipped above 1.
        depth: (B, H, W) expected z-depth in metres, normalised by alpha; 0 where alpha is 0.
        alpha: (B, H, W) coverage in [0, 1].
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    alpha: torch.Tensor


class Renderer(Protocol):
    """Renders Gaussian scenes; differentiable in the scene tensors that require grad."""

    @property
    def name(self) -> str:
        """Recorded with results: "cpu" or "gsplat"."""

    @property
    def device(self) -> torch.device:
        """The device of input scenes and of results."""

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        """Renders the scene for every camera.

        Args:
            cameras: all of one image size.
            background: (3,) sRGB, black if None; no gradient flows to it.

        Raises:
            ValueError: there are no cameras, or their sizes differ.
        """


def image_size(cameras: Sequence[Camera]) -> tuple[int, int]:
    """The common (width, height) of all cameras.

    Raises:
        ValueError: there are no cameras, or their sizes differ.
    """
    sizes = {(camera.width, camera.height) for camera in cameras}
    if len(sizes) != 1:
        raise ValueError(f"cameras of one image size are needed, got {sorted(sizes)}")
    return sizes.pop()
