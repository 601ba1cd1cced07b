"""Finds stray colours: pixels of a flight whose colour neither the photograph nor any filled view has at that place.

Training may give a Gaussian a wrong colour that is visible only from unsupervised poses: white or purple blobs beside
a silhouette, dark dots along its edge. Holes, sharpness and the photograph's PSNR do not reveal them. This module
projects every pixel of a flight into the views that the scene was built from, and compares its colour with the colours
around that place, on the device that renders. `scenes.quality` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from scenewright_stages.scenes.flight import COVERED_ALPHA
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene, backproject
from scenewright_stages.vision.geometry.cameras import Camera
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
    depth: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of(cls, frame: Frame, device: torch.device | str = "cpu") -> Palette:
        """The contribution of a frame."""
        own = frame.inpaint[..., None]
        low = cv2.erode(np.where(own, frame.srgb, np.float32(1)), _WINDOW)
        high = cv2.dilate(np.where(own, frame.srgb, np.float32(0)), _WINDOW)
        depth = np.where(frame.inpaint, frame.depth, np.float32(0))
        return cls(frame.camera, *(torch.from_numpy(values).to(device) for values in (depth, low, high)))

    def excess(self, srgb: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """(N,) how far colours (N, 3) exceed the range at world points (N, 3); infinite for points the view misses."""
        camera, device = self.camera, points.device
        pose = torch.tensor(camera.camera_from_world, device=device)
        seen = points @ pose[:3, :3].T + pose[:3, 3]
        distance = seen[:, 2]
        pixels = seen[:, :2] / distance[:, None] * torch.tensor(camera.focal, dtype=torch.float64, device=device)
        pixels = pixels + torch.tensor(camera.principal_point, dtype=torch.float64, device=device)
        x, y = pixels.unbind(-1)
        inside = (distance > 0) & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
        place = torch.where(inside, y, 0).long() * camera.width + torch.where(inside, x, 0).long()
        surface = self.depth.flatten()[place].double()
        shows = inside & (surface > 0) & ((surface / distance - 1).abs() <= _SAME_PLACE)
        low, high = (colours.reshape(-1, 3)[place] for colours in (self.low, self.high))
        leaving = torch.maximum(low - srgb, srgb - high).amax(dim=1).clamp(min=0)
        return torch.where(shows, leaving, torch.inf)


def stray_share(scene: GaussianScene, cameras: Sequence[Camera], sources: Sequence[Frame], renderer: Renderer) -> float:
    """Mean share of stray pixels over some of the cameras.

    Args:
        cameras: of the whole flight.
        sources: the views that the scene was built from: photograph, border, filled views.
    """
    palettes = [Palette.of(frame, renderer.device) for frame in sources]
    numbers = np.unique(np.linspace(0, len(cameras) - 1, SAMPLED_CAMERAS).round().astype(int))
    shares = []
    for number in numbers:
        with torch.no_grad():
            seen = renderer.render(scene, [cameras[number]])
            covered = torch.where(seen.alpha[0] >= COVERED_ALPHA, seen.depth[0], 0)
            stray = stray_pixels(cameras[number], seen.rgb[0].clamp(0, 1), covered, palettes)
        shares.append(float(stray.mean()))
    return float(np.mean(shares))


def stray_pixels(camera: Camera, srgb: torch.Tensor, depth: torch.Tensor, palettes: Sequence[Palette]) -> Mask:
    """(H, W) bool: pixels of a view, (H, W, 3) with depth (H, W), whose colour no source has around that place.

    Only blocks of at least 2 x 2 pixels count, because single pixels at silhouettes are sampling artefacts. Pixels
    without depth, and places that no source sees, are ignored.
    """
    judged = depth > 0
    rows, columns = torch.nonzero(judged, as_tuple=True)
    points, colours = backproject(rows, columns, depth[judged].double(), camera), srgb[judged]
    excess = torch.full_like(points[:, 0], torch.inf, dtype=torch.float32)
    for palette in palettes:
        excess = torch.minimum(excess, palette.excess(colours, points))
    stray = torch.zeros(depth.shape, dtype=torch.uint8, device=depth.device)
    stray[judged] = (excess.isfinite() & (excess > TOLERANCE)).to(torch.uint8)
    return np.asarray(cv2.morphologyEx(stray.cpu().numpy(), cv2.MORPH_OPEN, _BLOB) > 0)
