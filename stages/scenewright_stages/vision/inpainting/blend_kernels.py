"""Compiled inner loops of the gradient-domain blend (see `blend`)."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit, prange

DOWN = np.array([-1, 1, 0, 0], np.int32)
ACROSS = np.array([0, 0, -1, 1], np.int32)


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
    what it asks is no brightness step but an edge of the scene (square above `edge_square`; Geman-McClure).
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
