"""Chooses a renderer: compiled CPU kernels, or gsplat on CUDA.

Renderers are imported only when chosen, so a GPU job compiles no CPU kernels and a CPU job needs no gsplat. `warm_up`
compiles the CPU kernels once, when the package is installed.
"""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch

from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import optimise
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

RendererName = Literal["auto", "cpu", "gsplat"]


def renderer_for(name: RendererName = "auto", device: torch.device | str | None = None) -> Renderer:
    """The renderer of that name; "auto" uses gsplat on a CUDA device and the CPU kernels otherwise.

    With CUDA but without the package gsplat, "auto" falls back to the CPU; results record which renderer was used.

    Args:
        device: None means CUDA for gsplat, and CUDA if present for "auto".

    Raises:
        ValueError: unknown name, or a device that the renderer cannot use.
        RuntimeError: gsplat or CUDA is missing (the message says which).
    """
    if name == "auto":
        wanted = torch.device(device) if device is not None else _best_device()
        name = "gsplat" if wanted.type == "cuda" else "cpu"
    if name == "cpu":
        from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer

        if device is not None and torch.device(device).type != "cpu":
            raise ValueError(f'renderer "cpu" cannot draw on device {device}')
        return CpuRenderer()
    if name == "gsplat":
        from scenewright_stages.vision.gaussians.gsplat_renderer import GsplatRenderer

        return GsplatRenderer(torch.device(device if device is not None else "cuda"))
    raise ValueError(f'renderer "{name}" is unknown; there are auto, cpu and gsplat')


def warm_up() -> None:
    """Compiles every float32 kernel of the CPU path into numba's cache (tens of seconds the first time)."""

    from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer

    camera = Camera.from_field_of_view(20, 20, 60.0)
    colour = torch.full((20, 20, 3), 0.5)
    scene = GaussianScene.from_rgbd(colour, torch.full((20, 20), 2.0), camera)
    renderer = CpuRenderer()
    for part in (scene, scene.with_harmonics(4)):
        leaves = GaussianScene(**{k: v.clone().requires_grad_() for k, v in part.tensors.items()})
        torch.autograd.backward(renderer.render(leaves, [camera]).rgb.sum())
    view = View(camera, colour, depth=torch.full((20, 20), 2.0))
    settings = OptimisationSettings(iterations=1, depth_weight=0.1)
    optimise(scene, [view], settings, 0, renderer, trainable=slice(0, 10))


def _best_device() -> torch.device:
    draws_on_cuda = torch.cuda.is_available() and importlib.util.find_spec("gsplat") is not None
    return torch.device("cuda" if draws_on_cuda else "cpu")
