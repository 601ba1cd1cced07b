"""Finds stray colours: pixels of a flight whose colour neither the photograph nor any filled view has at that place.

Training may give a Gaussian a wrong colour that is visible only from unsupervised poses: white or purple blobs beside
a silhouette, dark dots along its edge. Holes, sharpness and the photograph's PSNR do not reveal them. This module
projects every pixel of a flight into the views that the scene was built from, and compares its colour with the colours
around that place. `scenes.quality` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.scenes.flight import COVERED_ALPHA
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import project, sample_nearest, unproject
from scenewright_stages.vision.types import Mask

TOLERANCE = 0.06
"""A channel may leave the range of the colours around its place by this much (sRGB in [0, 1])."""

SAMPLED_CAMERAS = 12
"""Cameras of a flight that are looked at, evenly spaced."""

_REACH = 2
_SAME_PLACE = 0.1
_WINDOW = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
_BLOB = np.ones((2, 2), np.uint8)


@dataclass(frozen=True, eq=False)
class Palette:
    """The contribution of a source view: camera, depth (0 elsewhere), and the colour range around each pixel.

    A filled view contributes only its fill, because the rest of its image was rendered from the scene.
    """

    camera: Camera
    depth: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @classmethod
    def of(cls, frame: Frame) -> Palette:
        """The contribution of a frame."""
        own = frame.inpaint[..., None]
        low = np.asarray(cv2.erode(np.where(own, frame.srgb, np.float32(1)), _WINDOW), np.float32)
        high = np.asarray(cv2.dilate(np.where(own, frame.srgb, np.float32(0)), _WINDOW), np.float32)
        return cls(frame.camera, np.where(frame.inpaint, frame.depth, np.float32(0)), low, high)

    def excess(self, srgb: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
        """(N,) how far colours (N, 3) exceed the range at world points (N, 3); infinite for points the view misses."""
        pixels, distance = project(points, self.camera)
        shows = np.abs(sample_nearest(self.depth, pixels) / distance - 1) <= _SAME_PLACE
        columns, rows = pixels[shows].astype(np.intp).T
        colour, found = srgb[shows], np.full(len(srgb), np.inf, np.float32)
        leaving = np.maximum(self.low[rows, columns] - colour, colour - self.high[rows, columns])
        found[shows] = np.maximum(leaving.max(axis=1), 0)
        return found


def stray_share(scene: GaussianScene, cameras: Sequence[Camera], sources: Sequence[Frame], renderer: Renderer) -> float:
    """Mean share of stray pixels over some of the cameras.

    Args:
        cameras: of the whole flight.
        sources: the views that the scene was built from: photograph, border, filled views.
    """
    palettes = [Palette.of(frame) for frame in sources]
    numbers = np.unique(np.linspace(0, len(cameras) - 1, SAMPLED_CAMERAS).round().astype(int))
    shares = []
    for number in numbers:
        with torch.no_grad():
            seen = renderer.render(scene, [cameras[number]])
        srgb, depth, alpha = (values[0].cpu().numpy() for values in (seen.rgb.clamp(0, 1), seen.depth, seen.alpha))
        covered = np.where(alpha >= COVERED_ALPHA, depth, 0)
        shares.append(float(stray_pixels(cameras[number], srgb, covered, palettes).mean()))
    return float(np.mean(shares))


def stray_pixels(
    camera: Camera, srgb: NDArray[np.float32], depth: NDArray[np.float32], palettes: Sequence[Palette]
) -> Mask:
    """(H, W) bool: pixels of a view, (H, W, 3) with depth (H, W), whose colour no source has around that place.

    Only blocks of at least 2 x 2 pixels count, because single pixels at silhouettes are sampling artefacts. Pixels
    without depth, and places that no source sees, are ignored.
    """
    judged = depth > 0
    points, colours = unproject(depth, camera)[judged], srgb[judged]
    excess = np.full(len(points), np.inf, np.float32)
    for palette in palettes:
        excess = np.minimum(excess, palette.excess(colours, points))
    stray = np.zeros(depth.shape, np.uint8)
    stray[judged] = np.isfinite(excess) & (excess > TOLERANCE)
    return np.asarray(cv2.morphologyEx(stray, cv2.MORPH_OPEN, _BLOB) > 0)
