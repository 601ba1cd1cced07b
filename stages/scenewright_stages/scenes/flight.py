"""The final flight through a scene, drawn and brought to the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gpu import HostCopy, arrived
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


def fly(
    scene: GaussianScene, cameras: list[Camera], renderer: Renderer, progress: Callable[[float, str], None]
) -> Flight:
    """Renders the whole path in batches on a black background; one batch is stored while the next is drawn."""
    shape = (len(cameras), cameras[0].height, cameras[0].width)
    flight = Flight(cameras, np.empty((*shape, 3), np.uint8), np.empty(shape, np.float32), [])
    for srgb, depth, uncovered in arrived(_batches(scene, cameras, renderer, progress)):
        start, stop = len(flight.uncovered), len(flight.uncovered) + len(srgb)
        flight.srgb[start:stop], flight.depth[start:stop] = srgb, depth
        flight.uncovered.extend(float(count / depth[0].size) for count in uncovered)
    return flight


def _batches(
    scene: GaussianScene, cameras: list[Camera], renderer: Renderer, progress: Callable[[float, str], None]
) -> Iterator[HostCopy]:
    """Colour, depth, and the number of uncovered pixels."""
    for start in range(0, len(cameras), CAMERAS_PER_BATCH):
        progress(0.8 * start / len(cameras), f"frame {start}/{len(cameras)}")
        with torch.no_grad():
            rendering = renderer.render(scene, cameras[start : start + CAMERAS_PER_BATCH])
            srgb = (rendering.rgb.clamp(0, 1) * 255).round().to(torch.uint8)
            uncovered = (rendering.alpha < COVERED_ALPHA).sum(dim=(1, 2))
        yield HostCopy.of(srgb, rendering.depth, uncovered)
