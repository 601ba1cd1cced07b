"""Gradient-domain colour blending of copied patches.

Copied pixels keep their own texture but take up a smooth colour correction so that neither the border of the hole nor
the border between two copied patches shows a step: Poisson editing (Perez et al., SIGGRAPH 2003) with the screening
term of Bhat et al. (ECCV 2008), which lets a correction fade within `FADE_LENGTH` pixels instead of tinting the fill.
"""

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.inpainting import blend_kernels as kernels

FADE_LENGTH = 40.0
"""Distance (pixels) over which a correction falls to 1/e."""

EDGE_STEP = 0.08
"""RGB distance above which a step counts as an edge of the scene and is kept instead of being smoothed away."""

RELAXATION = 1.9
SWEEPS = 80


def blend_seams(
    image: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    steps: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Remove the colour steps at the border of the hole and between the patches in it.

    image: (H, W, 3) float32 with copied colours in the hole. hole, allowed: (H, W) bool.
    steps: (H, W, 4, 3) float32, wanted colour differences to the neighbour above, below, left and right.
    Returns (H, W, 3) float32 in [0, 1], identical to `image` outside the hole. Known pixels that are not allowed exert
    no pull, so a foreground object does not bleed into the background that is filled in behind it.
    """
    blended = image.copy()
    correction = _solve(image, hole, allowed, steps)
    blended[hole] = np.clip(image[hole] + correction[hole], 0.0, 1.0)
    return blended


def _solve(
    image: NDArray[np.float32], hole: NDArray[np.bool_], allowed: NDArray[np.bool_], steps: NDArray[np.float32]
) -> NDArray[np.float32]:
    pixels = np.argwhere(hole).astype(np.int32)
    weights = np.zeros((*hole.shape, 5), np.float32)
    right_side = np.zeros_like(image)
    stiffness, edge_square = np.float32(1.0 / FADE_LENGTH**2), np.float32(EDGE_STEP**2)
    kernels.assemble(image, hole, allowed, steps, pixels, stiffness, edge_square, weights, right_side)
    correction = np.zeros_like(image)
    is_red = (pixels[:, 0] + pixels[:, 1]) % 2 == 0
    red, black = np.ascontiguousarray(pixels[is_red]), np.ascontiguousarray(pixels[~is_red])
    for _ in range(SWEEPS):
        kernels.relax(red, hole, weights, right_side, correction, np.float32(RELAXATION))
        kernels.relax(black, hole, weights, right_side, correction, np.float32(RELAXATION))
    return correction
