"""Renders the flight through a scene, and finds the holes that a moved camera reveals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.trajectories import Trajectory
from scenewright_stages.vision.gpu import HostCopy, arrived

CAMERAS_PER_BATCH = 25
COVERED_ALPHA = 0.7
"""Below this accumulated alpha a pixel counts as uncovered (VistaDream's ``alpha_thres``)."""

_SPECK_PIXELS = 3
_GAP_PIXELS = 40
_SMALL_GROWTH = np.ones((3, 3), np.uint8)
_LARGE_GROWTH = np.ones((5, 5), np.uint8)


def cameras_along(frames: Sequence[Frame], trajectory: Trajectory) -> list[Camera]:
    """The first frame's camera at every pose of the path."""
    return [frames[0].camera.with_pose(pose) for pose in trajectory.camera_from_world]


@dataclass(frozen=True, eq=False)
class Flight:
    """The images along a path.

    Attributes:
        cameras: F cameras.
        srgb: (F, H, W, 3) uint8.
        depth: (F, H, W) float32 metres; 0 where nothing is hit.
        uncovered: share of uncovered pixels per frame.
    """

    cameras: list[Camera]
    srgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    uncovered: list[float]


def fly(
    scene: GaussianScene, cameras: list[Camera], renderer: Renderer, progress: Callable[[float, str], None]
) -> Flight:
    """Renders the whole path in batches on a black background; copies one batch while the next one renders."""
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
    """Batches of colour, depth, and the number of uncovered pixels."""
    for start in range(0, len(cameras), CAMERAS_PER_BATCH):
        progress(0.8 * start / len(cameras), f"frame {start}/{len(cameras)}")
        with torch.no_grad():
            rendering = renderer.render(scene, cameras[start : start + CAMERAS_PER_BATCH])
            srgb = (rendering.rgb.clamp(0, 1) * 255).round().to(torch.uint8)
            uncovered = (rendering.alpha < COVERED_ALPHA).sum(dim=(1, 2))
        yield HostCopy.of(srgb, rendering.depth, uncovered)


def hole_around(uncovered: NDArray[np.bool_], specks: bool = False) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels to fill, from the (H, W) mask of pixels with too little accumulated alpha.

    Ignores specks of up to three pixels, unless `specks` asks for them. Dilates holes, because pixels at their border
    are half transparent: by two pixels, and by one for gaps between stretched Gaussians (up to 40 pixels).
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(uncovered.view(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA]
    area[0] = 0
    gaps = ((area > (0 if specks else _SPECK_PIXELS)) & (area <= _GAP_PIXELS)).astype(np.uint8)[labels]
    large = (area > _GAP_PIXELS).astype(np.uint8)[labels]
    grown = np.maximum(cv2.dilate(gaps, _SMALL_GROWTH), cv2.dilate(large, _LARGE_GROWTH))
    return np.asarray(grown > 0)
