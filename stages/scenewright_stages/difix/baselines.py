"""Baselines for a tuned fixer: classical filters, each with its strength tuned on the training pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.difix.pairs_data import LoadedPair
from scenewright_stages.vision.imaging.metrics import array_psnr
from scenewright_stages.vision.types import Float32Array

Filter = Callable[[FlawedView, float], Float32Array]


@dataclass(frozen=True)
class Baseline:
    """A filter with the strength that works best on the training pairs."""

    name: str
    apply: Filter
    strength: float

    def __call__(self, view: FlawedView) -> Float32Array:
        """The filtered render."""
        return self.apply(view, self.strength)


def tuned_baselines(pairs: Sequence[LoadedPair]) -> list[Baseline]:
    """Identity, Gaussian, non-local means and fill-and-paste."""
    return [
        Baseline("identity", lambda view, _: view.srgb, 0.0),
        _tuned("gaussian", gaussian, (0.3, 0.5, 0.8, 1.2, 2.0), pairs),
        _tuned("nlm", non_local_means, (2.0, 4.0, 7.0, 11.0, 16.0), pairs),
        _tuned("fill_and_paste", fill_and_paste, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), pairs),
    ]


def gaussian(view: FlawedView, sigma: float) -> Float32Array:
    """Blurs the render."""
    return np.asarray(cv2.GaussianBlur(view.srgb, (0, 0), sigma), np.float32)


def non_local_means(view: FlawedView, strength: float) -> Float32Array:
    """OpenCV's non-local means in colour."""
    levels = np.round(np.clip(view.srgb, 0, 1) * 255).astype(np.uint8)
    filtered = cv2.fastNlMeansDenoisingColored(levels, None, strength, strength, 5, 15)
    return (filtered / 255).astype(np.float32)


def fill_and_paste(view: FlawedView, share: float) -> Float32Array:
    """Fills thinly covered areas by an alpha-weighted blur and blends in the warped reference with weight `share`."""
    weight = np.clip(view.alpha, 1e-3, 1)[..., None]
    blurred = cv2.GaussianBlur(view.srgb * weight, (0, 0), 2.0) / cv2.GaussianBlur(weight, (0, 0), 2.0)[..., None]
    filled = weight * view.srgb + (1 - weight) * blurred
    # Fade the blend out over a few pixels at the warp's border.
    mask = cv2.GaussianBlur(cv2.erode(view.valid.astype(np.float32), np.ones((3, 3))), (0, 0), 1.0)[..., None]
    mask = mask * view.valid[..., None]
    return np.asarray(filled + share * mask * (view.warped - filled), np.float32)


def _tuned(name: str, apply: Filter, strengths: Iterable[float], pairs: Sequence[LoadedPair]) -> Baseline:
    def score(strength: float) -> float:
        return float(np.mean([array_psnr(apply(pair.view, strength), pair.target) for pair in pairs]))

    return Baseline(name, apply, max(strengths, key=score))
