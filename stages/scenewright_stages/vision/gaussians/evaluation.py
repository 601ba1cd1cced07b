"""Quality of a scene in held-out views: PSNR, SSIM and coverage.

Never evaluate a scene on its training views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.imaging.metrics import psnr, ssim


@dataclass(frozen=True)
class ViewQuality:
    """Quality of one view, over the valid pixels alone.

    Attributes:
        psnr: dB.
        ssim: over the windows that lie on valid pixels.
        covered: share of the pixels with alpha of at least 0.7.
    """

    psnr: float
    ssim: float
    covered: float


@dataclass(frozen=True)
class Evaluation:
    """Quality per view, and its mean over views."""

    views: tuple[ViewQuality, ...]

    @property
    def psnr(self) -> float:
        return sum(view.psnr for view in self.views) / len(self.views)

    @property
    def ssim(self) -> float:
        return sum(view.ssim for view in self.views) / len(self.views)

    @property
    def covered(self) -> float:
        return sum(view.covered for view in self.views) / len(self.views)

    def to_json(self) -> dict[str, float]:
        """The means, rounded for reports."""
        return {"psnr": round(self.psnr, 3), "ssim": round(self.ssim, 4), "covered": round(self.covered, 4)}


_COVERED_ALPHA = 0.7


@torch.no_grad()
def evaluate(scene: GaussianScene, views: Sequence[View], renderer: Renderer) -> Evaluation:
    """Renders every view and compares it with its image; renders are clipped to [0, 1].

    Raises:
        ValueError: there are no views, or a view's mask is empty or a side is below 11 pixels.
    """
    if not views:
        raise ValueError("at least one view is needed")
    return Evaluation(tuple(_view_quality(scene, view, renderer) for view in views))


def _view_quality(scene: GaussianScene, view: View, renderer: Renderer) -> ViewQuality:
    rendering = renderer.render(scene, [view.camera])
    picture = rendering.rgb[0].clamp(0, 1)
    target, mask = view.srgb.to(picture), view.supervised().to(picture.device)
    covered = (rendering.alpha[0] >= _COVERED_ALPHA)[mask].float().mean()
    similarity = ssim(picture, target, None if view.mask is None else mask)
    return ViewQuality(float(psnr(picture, target, mask)), float(similarity), float(covered))
