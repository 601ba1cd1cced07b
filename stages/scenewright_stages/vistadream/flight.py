"""The final flight through a scene, drawn and brought to the host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vistadream.holes import COVERED_ALPHA

CAMERAS_PER_BATCH = 25


@dataclass(frozen=True, eq=False)
class Flight:
    """The rendered final path: cameras, (F, H, W, 3) uint8 colour, (F, H, W) float32 depth in metres (0: nothing),
    and the share of uncovered pixels of each frame."""

    cameras: list[Camera]
    srgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    uncovered: list[float]


@dataclass(frozen=True, eq=False)
class _Batch:
    """Frames on their way to the host: colour, depth, numbers of uncovered pixels; and the CUDA event of arrival."""

    tensors: tuple[torch.Tensor, ...]
    copied: Any

    @classmethod
    @torch.no_grad()
    def drawn(cls, scene: GaussianScene, cameras: list[Camera], renderer: Renderer) -> _Batch:
        rendering = renderer.render(scene, cameras)
        srgb = (rendering.rgb.clamp(0, 1) * 255).round().to(torch.uint8)
        uncovered = (rendering.alpha < COVERED_ALPHA).sum(dim=(1, 2))
        tensors = tuple(tensor.to("cpu", non_blocking=True) for tensor in (srgb, rendering.depth, uncovered))
        if not srgb.is_cuda:
            return cls(tensors, None)
        copied: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        return cls(tensors, copied)

    def arrays(self) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
        """Waits until all have arrived."""
        if self.copied is not None:
            self.copied.synchronize()
        srgb, depth, uncovered = (tensor.numpy() for tensor in self.tensors)
        return srgb, depth.astype(np.float32, copy=False), uncovered


def fly(
    scene: GaussianScene, cameras: list[Camera], renderer: Renderer, progress: Callable[[float, str], None]
) -> Flight:
    """Renders the whole path in batches on a black background; one batch is stored while the next is drawn."""
    shape = (len(cameras), cameras[0].height, cameras[0].width)
    flight = Flight(cameras, np.empty((*shape, 3), np.uint8), np.empty(shape, np.float32), [])
    waiting: _Batch | None = None
    for start in range(0, len(cameras), CAMERAS_PER_BATCH):
        progress(0.8 * start / len(cameras), f"frame {start}/{len(cameras)}")
        batch = _Batch.drawn(scene, cameras[start : start + CAMERAS_PER_BATCH], renderer)
        if waiting is not None:
            _store(waiting, flight)
        waiting = batch
    if waiting is not None:
        _store(waiting, flight)
    return flight


def _store(batch: _Batch, flight: Flight) -> None:
    srgb, depth, uncovered = batch.arrays()
    start, stop = len(flight.uncovered), len(flight.uncovered) + len(srgb)
    flight.srgb[start:stop], flight.depth[start:stop] = srgb, depth
    flight.uncovered.extend(float(count / depth[0].size) for count in uncovered)
