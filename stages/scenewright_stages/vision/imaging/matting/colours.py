"""The matte type, and the separation of foreground and background colours at a soft edge.

An edge pixel shows both the person and the background. Their colours are extended from certain pixels by pull-push over
a pyramid, and corrected so that together they still explain the pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.vision.imaging.matting import kernels
from scenewright_stages.vision.imaging.resampling import enlarged, reduced
from scenewright_stages.vision.types import Float32Array

_OPAQUE = 0.98
_CLEAR = 0.02
_COARSEST = 4
_REDUCED_FROM = 512  # larger pictures continue their colours at half the size: what is continued is smooth
_MARGIN = 16  # pixels of certain colour around the outline


@dataclass(frozen=True, eq=False)
class SubjectMatte:
    """The matte of a subject.

    Attributes:
        alpha: (H, W) float32 in [0, 1], soft matte at the image's size; exactly 0 or 1 away from the edge.
        mask: (H, W) bool, ``alpha >= 0.5``.
        score: confidence in [0, 1]; comparable within one method only.
        method: the method, such as ``classic-face`` or ``classic-box``.
    """

    alpha: NDArray[np.float32]
    mask: NDArray[np.bool_]
    score: float
    method: str


@dataclass(frozen=True, eq=False)
class Sides:
    """The two layers of an image at a soft outline.

    Attributes:
        front: (H, W, 3) float32, foreground colours F.
        back: (H, W, 3) float32, background colours B.
        plain: (H, W, 3) float32, the image as the nearest certain colours of both sides explain it, if each takes its
            own share of the rest; far from the image where the outline is wrong.
    """

    front: Float32Array
    back: Float32Array
    plain: Float32Array


class NoSubject(SampleRejected):
    """The subject is not in the image, or does not stand out."""

    def __init__(self, message: str) -> None:
        super().__init__("no-subject", message)


def separate(colours: Float32Array, alpha: Float32Array) -> Sides:
    """Foreground and background colours F and B with ``alpha * F + (1 - alpha) * B`` equal to the image.

    Unknown colours at the edge are extended from the nearest certain ones of their layer. What they leave of a pixel is
    split between the layers by alpha, within [0, 1].

    Args:
        colours: (H, W, 3) float32 in [0, 1], sRGB or linear.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        The sides; all equal the image to the last bit where alpha is 0 or 1.
    """
    front, back, plain = colours.copy(), colours.copy(), colours.copy()
    left, top, width, height = cv2.boundingRect(((alpha > 0) & (alpha < 1)).view(np.uint8))
    if width == 0:
        return Sides(front, back, plain)
    window = np.s_[max(0, top - _MARGIN) : top + height + _MARGIN, max(0, left - _MARGIN) : left + width + _MARGIN]
    seen, cover = colours[window], np.ascontiguousarray(alpha[window])
    factor = 2 if max(cover.shape) > _REDUCED_FROM else 1
    sides = kernels.certain_colours(seen, cover, factor, np.float32(_OPAQUE), np.float32(_CLEAR))
    foreground, background = (_continued(side) for side in sides)
    kernels.share_rest(seen, cover, foreground, background, front[window], back[window], plain[window])
    return Sides(front, back, plain)


def _continued(colours: Float32Array) -> Float32Array:
    """(h, w, 3): pull-push extension of colours (r, g, b, weight) into unknown areas."""
    levels = [colours]
    while min(levels[-1].shape[:2]) > _COARSEST:
        height, width = levels[-1].shape[:2]
        size = ((width + 1) // 2, (height + 1) // 2)
        levels.append(reduced(levels[-1], size))
    coarsest = levels[-1]
    filled: Float32Array = np.divide(coarsest[..., :3], np.maximum(coarsest[..., 3:], 1e-6), dtype=np.float32)
    for level in levels[-2::-1]:
        coarse = enlarged(filled, (level.shape[1], level.shape[0]))
        filled = kernels.lay_over(level, coarse)
    return filled


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    tile = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)
    separate(tile, tile[..., 0].copy())
