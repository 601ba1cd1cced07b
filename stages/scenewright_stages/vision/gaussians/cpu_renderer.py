"""The CPU renderer behind torch autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..cameras import Camera
from . import splatting
from .kernels.records import SceneArrays, Viewpoint
from .rendering import ALPHA_FLOOR, Rendering, image_size
from .scene import GaussianScene


class CpuRenderer:
    """Compiled kernels; same picture as gsplat within rounding (see `kernels.layout`).

    Results are equal bit by bit for any number of threads.
    """

    name = "cpu"
    device = torch.device("cpu")

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        """See `Renderer.render`; scene on the CPU, float32 or float64."""
        image_size(cameras)
        frames = [self._render_one(scene, camera, background) for camera in cameras]
        rgb, depth, alpha = (torch.stack(part) for part in zip(*frames, strict=True))
        return Rendering(rgb, depth, alpha)

    @staticmethod
    def _render_one(
        scene: GaussianScene, camera: Camera, background: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        colour, depth_sum, transmittance = _Splatting.apply(camera, *scene.tensors.values())
        alpha = 1 - transmittance
        depth = torch.where(alpha > 0, depth_sum / alpha.clamp(min=ALPHA_FLOOR), torch.zeros_like(alpha))
        if background is not None:
            colour = colour + transmittance[..., None] * background.detach().to(colour)
        return colour, depth, alpha


class _Splatting(torch.autograd.Function):
    """(camera, five scene tensors) -> colour (H, W, 3) over black, depth sum, transmittance (H, W)."""

    @staticmethod
    def forward(ctx: Any, camera: Camera, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scene = scene_arrays(tensors)
        viewpoint = Viewpoint.of(camera, scene.means.dtype)
        canvas = splatting.Canvas.empty(viewpoint.width, viewpoint.height, scene.means.dtype)
        moving = splatting.project_scene(scene, viewpoint)
        still = splatting.no_splats(viewpoint, scene.means.dtype)
        lists = splatting.merge(moving, still, moving.tiles)
        splatting.draw(lists, moving, still, canvas)
        ctx.state = (scene, viewpoint, canvas, moving, still, lists)
        # The canvas keeps its own transmittance: the way back starts from it.
        pictures = (canvas.colour, canvas.depth_sum, canvas.transmittance.copy())
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scene, viewpoint, canvas, moving, still, lists = ctx.state
        dtype = scene.means.dtype
        pixels = [np.ascontiguousarray(gradient.numpy(), dtype) for gradient in gradients]
        slots = splatting.draw_backward(lists, moving, still, canvas, *pixels)
        gradient = scene.zeros()
        splatting.project_backward(scene, viewpoint, moving, slots, gradient)
        return (None, *(torch.from_numpy(group) for group in gradient))


def scene_arrays(tensors: Sequence[torch.Tensor]) -> SceneArrays:
    """Views of (or contiguous copies from) the five scene tensors."""
    return SceneArrays(*(np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors))


def warm_up() -> None:
    """Compile every float32 kernel of the CPU path into numba's cache (tens of seconds the first time)."""
    from .optimisation import OptimisationSettings, View, optimise

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
