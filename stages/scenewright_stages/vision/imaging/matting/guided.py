"""Refines masks to mattes with the fast guided filter (He and Sun 2015) and colour guidance.

In every window the matte is a linear function of the colour. Its coefficients are computed on a reduced copy and
upsampled smoothly, so that only one multiplication per pixel happens at full size.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.matting import kernels
from scenewright_stages.vision.imaging.resampling import reduced
from scenewright_stages.vision.types import Float32Array

_REDUCED_RADIUS = 2.5  # pixels of the reduced copy: coefficients vary no faster than that
_REGULARITY = 2e-4  # variance of colour below which a window is flat; of [0, 1]^2
_WIDE, _UNDECIDED = 3, 0.3  # the first pass: window factor, and how close to 0 or 1 it rounds alpha
_CERTAIN = 0.08  # alpha this close to 0 or 1 is rounded to it, as noise of the fit


def refine_matte(srgb: Float32Array, mask: NDArray[np.bool_] | Float32Array, radius: int) -> Float32Array:
    """A soft matte whose edge follows the image edges near the mask's outline.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        mask: (H, W) bool or float32 in [0, 1]: a rough segmentation at the same size.
        radius: how far its outline may be off, pixels; 0 returns the mask itself.

    Returns:
        (H, W) float32 in [0, 1]; exactly the mask's value farther than about two radii from its outline.
    """
    rough = np.ascontiguousarray(mask, np.float32)
    if radius < 1:
        return rough
    factor = max(1, round(radius / _REDUCED_RADIUS))
    height, width = rough.shape
    size = (max(1, -(-width // factor)), max(1, -(-height // factor)))
    window = max(1, round(radius / factor))
    guide, target = reduced(srgb, size), reduced(rough, size)
    decided = kernels.apply_coefficients(
        guide, _coefficients(guide, target, _WIDE * window, _REGULARITY), np.float32(_UNDECIDED)
    )
    coefficients = _coefficients(guide, decided, window, _REGULARITY)
    return _applied(srgb, coefficients, np.float32(_CERTAIN))


def guided_smooth(guide: Float32Array, target: Float32Array, window: int, regularity: float) -> Float32Array:
    """The guided filter itself (He et al. 2010), at one size.

    Args:
        guide: (H, W, 3) float32 in [0, 1].
        target: (H, W) float32, smoothed along the guide's edges.
        window: half its side, pixels.
        regularity: variance of colour below which a window is flat.
    """
    coefficients = _coefficients(guide, target, window, regularity)
    return _applied(guide, coefficients, np.float32(0))


def enlarged_by_guide(
    guide: Float32Array, small_guide: Float32Array, small: Float32Array, window: int, regularity: float
) -> Float32Array:
    """(H, W) joint upsampling of a small map along the edges of the full image.

    Args:
        guide: (H, W, 3) float32 in [0, 1].
        small_guide: (h, w, 3) the same image on the smaller grid.
        small: (h, w) float32 in [0, 1].
        window: half the side of the windows, pixels of the smaller grid.
        regularity: variance of colour below which a window is flat.
    """
    coefficients = _coefficients(np.ascontiguousarray(small_guide), small, window, regularity)
    return _applied(np.ascontiguousarray(guide), coefficients, np.float32(0))


def _applied(guide: Float32Array, coefficients: Float32Array, certain: np.float32) -> Float32Array:
    matte: Float32Array = kernels.apply_coefficients(guide, coefficients, certain)
    return matte


def _coefficients(guide: Float32Array, target: Float32Array, window: int, regularity: float) -> Float32Array:
    """(h, w, 4) smoothed slope per channel and offset of the matte as a function of the colour."""
    kernel = (2 * window + 1, 2 * window + 1)
    colour, squares, mixed, last = (cv2.blur(each, kernel) for each in kernels.moments(guide, target))
    solved = kernels.solve(colour, squares, mixed, last, np.float32(regularity))
    smooth: Float32Array = cv2.blur(solved, kernel)
    return smooth


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    tile = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)
    refine_matte(tile, tile[..., 0] > 0.5, 2)
