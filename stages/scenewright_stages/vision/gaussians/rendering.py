"""One interface to the renderers: compiled CPU kernels, or gsplat on CUDA."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from ..cameras import Camera
from .scene import GaussianScene

RendererName = Literal["auto", "cpu", "gsplat"]
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


def renderer_for(name: RendererName = "auto", device: torch.device | str | None = None) -> Renderer:
    """The renderer of that name; "auto" takes gsplat on a CUDA device and the CPU kernels otherwise.

    A machine with CUDA but without the package gsplat draws on the CPU: results record which renderer it was.

    Args:
        device: None means CUDA for gsplat, CUDA if present for "auto".

    Raises:
        ValueError: for an unknown name or a device that the renderer cannot use.
        RuntimeError: if gsplat or CUDA is missing (the message says which).
    """
    if name == "auto":
        wanted = torch.device(device) if device is not None else _best_device()
        name = "gsplat" if wanted.type == "cuda" else "cpu"
    if name == "cpu":
        from .cpu_renderer import CpuRenderer

        if device is not None and torch.device(device).type != "cpu":
            raise ValueError(f'renderer "cpu" cannot draw on device {device}')
        return CpuRenderer()
    if name == "gsplat":
        from .gsplat_renderer import GsplatRenderer

        return GsplatRenderer(torch.device(device if device is not None else "cuda"))
    raise ValueError(f'renderer "{name}" is unknown; there are auto, cpu and gsplat')


def image_size(cameras: Sequence[Camera]) -> tuple[int, int]:
    """(width, height) that all cameras share.

    Raises:
        ValueError: if there are none or they differ.
    """
    sizes = {(camera.width, camera.height) for camera in cameras}
    if len(sizes) != 1:
        raise ValueError(f"cameras of one image size are needed, got {sorted(sizes)}")
    return sizes.pop()


def _best_device() -> torch.device:
    draws_on_cuda = torch.cuda.is_available() and importlib.util.find_spec("gsplat") is not None
    return torch.device("cuda" if draws_on_cuda else "cpu")
