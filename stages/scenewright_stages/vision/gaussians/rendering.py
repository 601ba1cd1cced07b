"""What a renderer is and what it returns.

Everything that draws or fits takes a `Renderer`, and `renderers` chooses one, so that no caller knows which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.gaussians.scene import GaussianScene

# Below this, nothing was drawn and the expected depth has no meaning.
ALPHA_FLOOR = 1e-10


@dataclass
class Rendering:
    """What B cameras of one size see.

    Attributes:
        rgb: (B, H, W, 3) sRGB, composited over the background (black by default); not clipped above 1.
        depth: (B, H, W) expected z-depth in metres, normalised by alpha; 0 where alpha is 0.
        alpha: (B, H, W) coverage in [0, 1].
    """

    rgb: torch.Tensor
    depth: torch.Tensor
    alpha: torch.Tensor


class Renderer(Protocol):
    """Draws Gaussian scenes; differentiable in the scene tensors that require grad."""

    @property
    def name(self) -> str:
        """Recorded with results: "cpu" or "gsplat"."""

    @property
    def device(self) -> torch.device:
        """Where scenes must be and results are."""

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        """Draw the scene for every camera.

        Args:
            cameras: all of one image size.
            background: (3,) sRGB, black if None; no gradient flows to it.

        Raises:
            ValueError: for no cameras or cameras of different sizes.
        """


def image_size(cameras: Sequence[Camera]) -> tuple[int, int]:
    """(width, height) that all cameras share.

    Raises:
        ValueError: if there are none or they differ.
    """
    sizes = {(camera.width, camera.height) for camera in cameras}
    if len(sizes) != 1:
        raise ValueError(f"cameras of one image size are needed, got {sorted(sizes)}")
    return sizes.pop()
