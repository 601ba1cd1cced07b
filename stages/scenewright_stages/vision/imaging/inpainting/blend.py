"""Gradient-domain colour blending of copied patches.

Copied pixels keep their own texture but take up a smooth colour correction, so that neither the border of the hole nor
the border between two copied patches shows a step: Poisson editing (Perez et al., SIGGRAPH 2003) with the screening
term of Bhat et al. (ECCV 2008), which lets a correction fade within `FADE_LENGTH` pixels instead of tinting the fill.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

FADE_LENGTH = 40.0
"""Distance (pixels) over which a correction falls to 1/e."""

EDGE_STEP = 0.08
"""RGB distance above which a step counts as an edge of the scene and is kept instead of being smoothed away."""

RELAXATION = 1.9
SWEEPS = 80

DOWN = np.array([-1, 1, 0, 0], np.int32)
ACROSS = np.array([0, 0, -1, 1], np.int32)


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
    assemble(image, hole, allowed, steps, pixels, stiffness, edge_square, weights, right_side)
    correction = np.zeros_like(image)
    is_red = (pixels[:, 0] + pixels[:, 1]) % 2 == 0
    red, black = np.ascontiguousarray(pixels[is_red]), np.ascontiguousarray(pixels[~is_red])
    for _ in range(SWEEPS):
        relax(red, hole, weights, right_side, correction, np.float32(RELAXATION))
        relax(black, hole, weights, right_side, correction, np.float32(RELAXATION))
    return correction


@njit(cache=True, inline="always")
def _inside(row, column, mask):
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and mask[row, column]


@njit(cache=True, inline="always")
def _combined(one, other):
    """Mean of two step estimates, or the one that is not NaN."""
    if np.isnan(one):
        return other
    return one if np.isnan(other) else np.float32(0.5) * (one + other)


@njit(cache=True, parallel=True)
def assemble(image, hole, allowed, steps, hole_pixels, stiffness, edge_square, weights, right_side):
    """Normal equations of the colour correction e for the four neighbours of each hole pixel.

    image (H, W, 3) float32 has the voted colours in the hole, steps (H, W, 4, 3) the wanted differences. An edge to a
    hole neighbour asks e_p - e_q to be the wanted minus the present difference, an edge to an allowed known pixel asks
    that of e_p alone; edges to other known pixels or beyond the image ask nothing. The weight of an edge falls when
    what it asks is not a brightness step but an edge of the scene (square above `edge_square`; Geman-McClure).
    Fills weights (H, W, 5): the four sides and the diagonal; right_side (H, W, 3).
    """
    for index in prange(hole_pixels.shape[0]):
        row, column = hole_pixels[index, 0], hole_pixels[index, 1]
        total = stiffness
        for side in range(4):
            next_row, next_column = row + DOWN[side], column + ACROSS[side]
            in_hole = _inside(next_row, next_column, hole)
            if not in_hole and not _inside(next_row, next_column, allowed):
                continue
            asked = np.zeros(3, np.float32)
            square = np.float32(0.0)
            for channel in range(3):
                wanted = steps[row, column, side, channel]
                if in_hole:
                    wanted = _combined(wanted, -steps[next_row, next_column, side ^ 1, channel])
                if np.isnan(wanted):
                    wanted = np.float32(0.0)
                asked[channel] = wanted - (image[row, column, channel] - image[next_row, next_column, channel])
                square += asked[channel] ** 2
            trust = (edge_square / (edge_square + square)) ** 2
            total += trust
            weights[row, column, side] = trust
            for channel in range(3):
                right_side[row, column, channel] += trust * asked[channel]
        weights[row, column, 4] = total


@njit(cache=True, parallel=True)
def relax(pixels, hole, weights, right_side, correction, relaxation):
    """One over-relaxed sweep over `pixels`, all of one chequerboard colour: no pixel reads what another one writes."""
    for index in prange(pixels.shape[0]):
        row, column = pixels[index, 0], pixels[index, 1]
        first, second, third = (
            right_side[row, column, 0],
            right_side[row, column, 1],
            right_side[row, column, 2],
        )
        for side in range(4):
            next_row, next_column = row + DOWN[side], column + ACROSS[side]
            if _inside(next_row, next_column, hole):
                trust = weights[row, column, side]
                first += trust * correction[next_row, next_column, 0]
                second += trust * correction[next_row, next_column, 1]
                third += trust * correction[next_row, next_column, 2]
        scale = relaxation / weights[row, column, 4]
        keep = np.float32(1.0) - relaxation
        correction[row, column, 0] = keep * correction[row, column, 0] + scale * first
        correction[row, column, 1] = keep * correction[row, column, 1] + scale * second
        correction[row, column, 2] = keep * correction[row, column, 2] + scale * third
