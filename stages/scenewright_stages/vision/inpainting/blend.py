"""Gradient-domain colour blending of copied patches.

Copied pixels keep their own texture but take up a smooth colour correction so that neither the border of the hole nor
the border between two copied patches shows a step: Poisson editing (Perez et al., SIGGRAPH 2003) with the screening
term of Bhat et al. (ECCV 2008), which lets a correction fade within `FADE_LENGTH` pixels instead of tinting the fill.
"""

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.inpainting import atlas
from scenewright_stages.vision.inpainting import blend_kernels as kernels

FADE_LENGTH = 40.0
"""Distance (pixels) over which a correction falls to 1/e."""

RELAXATION = 1.9
SWEEPS = 80


def copy_and_blend(
    srgb: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    source: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Fill the hole with the pixels `source` names and remove the steps.

    srgb: (H, W, 3) float32. hole, allowed: (H, W) bool. source: (H, W, 2) int32 positions in the atlas of `allowed`.
    Returns (H, W, 3) float32 in [0, 1], identical to `srgb` outside the hole. Known pixels that are not allowed exert
    no pull, so a foreground object does not bleed into the background that is filled in behind it.
    """
    atlas_srgb = atlas.stack(srgb)
    copied = srgb.copy()
    copied[hole] = atlas_srgb[source[hole, 0], source[hole, 1]]
    correction = _solve(copied, hole, allowed, atlas_srgb, source)
    copied[hole] = np.clip(copied[hole] + correction[hole], 0.0, 1.0)
    return copied


def _solve(
    image: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    atlas_srgb: NDArray[np.float32],
    source: NDArray[np.int32],
) -> NDArray[np.float32]:
    pixels = np.argwhere(hole).astype(np.int32)
    diagonal = np.ones(hole.shape, np.float32)
    right_side = np.zeros_like(image)
    stiffness = np.float32(1.0 / FADE_LENGTH**2)
    kernels.assemble(
        image, hole, allowed, atlas_srgb, atlas.stack(allowed), source, pixels, stiffness, diagonal, right_side
    )  # fmt: skip
    correction = np.zeros_like(image)
    is_red = (pixels[:, 0] + pixels[:, 1]) % 2 == 0
    red, black = np.ascontiguousarray(pixels[is_red]), np.ascontiguousarray(pixels[~is_red])
    for _ in range(SWEEPS):
        kernels.relax(red, hole, diagonal, right_side, correction, np.float32(RELAXATION))
        kernels.relax(black, hole, diagonal, right_side, correction, np.float32(RELAXATION))
    return correction
