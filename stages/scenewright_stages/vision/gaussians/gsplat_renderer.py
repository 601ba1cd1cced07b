"""gsplat (CUDA) behind the renderer interface."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.kernels.layout import COVARIANCE_BLUR, FAR_PLANE, NEAR_PLANE, TILE
from scenewright_stages.vision.gaussians.rendering import Rendering, image_size
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

# Pixels and projected Gaussians per rasterisation call: about 4 GiB of intermediate buffers.
_PIXEL_BUDGET = 64 * 1024 * 1024
_PROJECTION_BUDGET = 32 * 1024 * 1024


class GsplatRenderer:
    """gsplat 1.5 in "classic" mode, cameras batched in chunks of bounded memory.

    Raises:
        RuntimeError: gsplat or a CUDA device is missing.
        ValueError: the device is not CUDA.
    """

    name = "gsplat"

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise ValueError(f'renderer "gsplat" needs a CUDA device, not {device}')
        if not torch.cuda.is_available():
            raise RuntimeError('renderer "gsplat" needs a CUDA device and torch sees none; use renderer "cpu"')
        self._gsplat = _import_gsplat()
        self.device = device

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        """See `Renderer.render`; float32 scene on this renderer's device."""
        width, height = image_size(cameras)
        if len(scene) == 0:
            return _nothing(len(cameras), width, height, background, self.device)
        views, lenses = camera_tensors(tuple(cameras), self.device)
        size = max(1, min(_PIXEL_BUDGET // (width * height), _PROJECTION_BUDGET // len(scene)))
        parts = [
            self._rasterise(scene, views[start:stop], lenses[start:stop], width, height, background)
            for start, stop in _chunks(len(cameras), size)
        ]
        rgbd, alpha = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return Rendering(rgbd[..., :3], rgbd[..., 3], alpha[..., 0])

    def _rasterise(
        self,
        scene: GaussianScene,
        views: torch.Tensor,
        lenses: torch.Tensor,
        width: int,
        height: int,
        background: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        backgrounds = None
        if background is not None:
            backgrounds = background.detach().to(views).expand(len(views), 3)
        colours, degree = _colours(scene)
        rgbd, alpha, _ = self._gsplat.rasterization(
            scene.means,
            scene.quaternions,
            scene.log_scales.exp(),
            torch.sigmoid(scene.opacity_logits),
            colours,
            views,
            lenses,
            width,
            height,
            near_plane=NEAR_PLANE,
            far_plane=FAR_PLANE,
            eps2d=COVARIANCE_BLUR,
            sh_degree=degree,
            packed=False,
            tile_size=TILE,
            backgrounds=backgrounds,
            render_mode="RGB+ED",
            rasterize_mode="classic",
        )
        return rgbd, alpha


@lru_cache(maxsize=256)
def camera_tensors(cameras: tuple[Camera, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(C, 4, 4) camera_from_world and (C, 3, 3) intrinsics, float32.

    Cached, because training uses the same cameras in every iteration.
    """
    views = torch.from_numpy(np.stack([camera.camera_from_world for camera in cameras]).astype(np.float32))
    lenses = torch.from_numpy(np.stack([camera.intrinsics for camera in cameras]).astype(np.float32))
    return views.to(device), lenses.to(device)


def _colours(scene: GaussianScene) -> tuple[torch.Tensor, int | None]:
    """Colours for gsplat and their SH degree; degree None means final colours.

    Without view dependence one colour serves all cameras, which saves C x N evaluations.
    """
    if scene.harmonics_degree > 0:
        return scene.spherical_harmonics, scene.harmonics_degree
    return (scene.spherical_harmonics[:, 0] * C0 + 0.5).clamp(min=0), None


def _import_gsplat() -> Any:
    try:
        return importlib.import_module("gsplat")
    except ImportError as error:
        raise RuntimeError(
            f'renderer "gsplat" needs the package gsplat (pip install "scenewright[gsplat]"): {error}'
        ) from error


def _chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, size):
        yield start, min(count, start + size)


def _nothing(count: int, width: int, height: int, background: torch.Tensor | None, device: torch.device) -> Rendering:
    rgb = torch.zeros(count, height, width, 3, device=device)
    if background is not None:
        rgb = rgb + background.detach().to(rgb)
    flat = torch.zeros(count, height, width, device=device)
    return Rendering(rgb, flat, flat.clone())
