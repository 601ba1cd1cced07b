"""Colours on both sides of a soft outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.matting import edge_kernels

Float32Array = NDArray[np.float32]

_OPAQUE = 0.98
_CLEAR = 0.02
_COARSEST = 4


def decontaminate(srgb: Float32Array, alpha: Float32Array) -> Float32Array:
    """The foreground's own colours, freed of the background that a soft outline lets through.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) float32 in [0, 1]: the image itself where alpha is 1; on the outline what, laid over the
        background with alpha, gives the image; beyond it the nearest foreground colours.
    """
    return separate(srgb, alpha)[0]


def separate(srgb: Float32Array, alpha: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Foreground and background colours F and B with ``alpha * F + (1 - alpha) * B`` close to the image.

    Unknown colours are continued from the nearest certain ones of their side; what the two do not explain of a pixel
    is shared between them by alpha.

    Returns:
        (H, W, 3) float32 each; F equals the image where alpha is 1, B where alpha is 0, to the last bit.
    """
    foreground = _continued(srgb, (alpha >= _OPAQUE).astype(np.float32))
    background = _continued(srgb, (alpha <= _CLEAR).astype(np.float32))
    return edge_kernels.share_rest(srgb, alpha, foreground, background)


def _continued(srgb: Float32Array, known: Float32Array) -> Float32Array:
    """Known colours, and around them smooth continuations (pull and push over a pyramid), all at full size."""
    colours = np.dstack([srgb * known[..., None], known])
    levels = [colours]
    while min(levels[-1].shape[:2]) > _COARSEST:
        height, width = levels[-1].shape[:2]
        size = ((width + 1) // 2, (height + 1) // 2)
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    filled = levels[-1][..., :3] / np.maximum(levels[-1][..., 3:], 1e-6)
    for level in levels[-2::-1]:
        coarse = cv2.resize(filled, (level.shape[1], level.shape[0]), interpolation=cv2.INTER_LINEAR)
        filled = edge_kernels.lay_over(level, coarse)
    result: Float32Array = filled
    return result
