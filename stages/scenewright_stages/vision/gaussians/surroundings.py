"""Continues a trained scene into what no photograph shows.

A few photographs leave gaps above, below and between them, and from elsewhere a viewer sees black there. Each camera's
view is widened and drawn at a coarse size. Where nothing covers it, colour and inverse depth are continued smoothly
from what does, and blurred Gaussians stand there. A camera draws what those before it added, so there is one layer.
Nothing is added that would stand before a surface that a photograph shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import points_of_pixels
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import inside_picture, project
from scenewright_stages.vision.imaging.inpainting.continuation import continued
from scenewright_stages.vision.types import Float32Array, Float64Array, Mask

_SIDE = 48
"""Longest side in pixels of the coarse views in which gaps are looked for."""
_MARGIN = 0.5
"""How far a view is widened on each side, relative to its longest side."""
_COVERED, _GAP = 0.9, 0.8
"""Coverage from which a pixel is continued, and below which it is a gap."""
_SIGMA = 0.7
"""Standard deviation of the Gaussians, in coarse pixels."""
_OPACITY = 0.95


@dataclass(frozen=True, eq=False)
class _CoarseView:
    """A coarse render: colours (H, W, 3), z-depth (H, W), coverage (H, W)."""

    camera: Camera
    rgb: Float32Array
    depth: Float32Array
    alpha: Float32Array

    def hides(self, points: Float64Array) -> Mask:
        """(N,) bool: points that would stand before a surface of this view."""
        pixels, depth = project(points, self.camera)
        found = inside_picture(pixels, depth, self.camera)
        columns, rows = pixels[found].astype(np.intp).T
        found[found] = (self.alpha[rows, columns] >= _GAP) & (depth[found] < self.depth[rows, columns])
        return found


def with_surroundings(scene: GaussianScene, cameras: Sequence[Camera], renderer: Renderer) -> GaussianScene:
    """The scene, followed by Gaussians in the gaps beside and between the cameras' views.

    Args:
        scene: trained, on the renderer's device; without Gaussians nothing is continued.
        cameras: of the photographs that it was trained on.
    """
    shown = [_drawn(scene, _coarse(camera), renderer) for camera in cameras]
    for view in shown:
        added = _continuation(_drawn(scene, view.camera.expanded(round(_MARGIN * _SIDE)), renderer), shown)
        if added is not None:
            scene = GaussianScene.concatenate([scene, added.to(scene.device)])
    return scene


def _coarse(camera: Camera) -> Camera:
    return camera.resized(_SIDE / max(camera.width, camera.height))


@torch.no_grad()
def _drawn(scene: GaussianScene, camera: Camera, renderer: Renderer) -> _CoarseView:
    rendering = renderer.render(scene, [camera])
    return _CoarseView(camera, *(each[0].cpu().numpy() for each in (rendering.rgb, rendering.depth, rendering.alpha)))


def _continuation(view: _CoarseView, shown: Sequence[_CoarseView]) -> GaussianScene | None:
    """Gaussians in the gaps of a widened view; None if it has none, or nothing to continue."""
    known = (view.alpha >= _COVERED) & (view.depth > 0)
    pixels = np.flatnonzero(view.alpha < _GAP)
    if not known.any() or not len(pixels):
        return None
    inverse = 1 / np.where(known, view.depth, 1)
    colours = view.rgb / np.where(known, view.alpha, 1)[..., None]
    planes = continued(np.dstack([colours, inverse]).astype(np.float32), known).reshape(-1, 4)[pixels]
    depth: NDArray[np.float64] = 1 / planes[:, 3].astype(np.float64)
    points = points_of_pixels(view.camera, pixels, depth)
    free = ~np.any([each.hides(points) for each in shown], axis=0)
    sigma = _SIGMA * depth[free] / view.camera.focal[0]
    return GaussianScene.from_points(
        torch.from_numpy(points[free]), torch.from_numpy(planes[free, :3].clip(0, 1)), torch.from_numpy(sigma), _OPACITY
    )
