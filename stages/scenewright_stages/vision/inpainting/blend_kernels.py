"""Compiled inner loops of the gradient-domain blend (see `blend`)."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# ruff: noqa: PLR0917

import numpy as np
from numba import njit, prange

DOWN = np.array([-1, 1, 0, 0], np.int32)
ACROSS = np.array([0, 0, -1, 1], np.int32)


@njit(cache=True, inline="always")
def _inside(row, column, mask):
    return 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and mask[row, column]


@njit(cache=True, parallel=True)
def assemble(image, hole, allowed, atlas, atlas_allowed, source, hole_pixels, stiffness, diagonal, right_side):
    """Normal equations of the colour correction e for the four neighbours of each hole pixel.

    image (H, W, 3) float32 with the copied colours already in the hole. Fills diagonal (H, W) and right_side (H, W, 3).
    An edge to a hole neighbour asks e_p - e_q to be the wanted minus the present difference, an edge to an allowed
    known pixel asks e_p alone; edges to other known pixels or beyond the image ask nothing.
    """
    for index in prange(hole_pixels.shape[0]):
        row, column = hole_pixels[index, 0], hole_pixels[index, 1]
        from_row, from_column = source[row, column, 0], source[row, column, 1]
        total = stiffness
        for side in range(4):
            down, across = DOWN[side], ACROSS[side]
            next_row, next_column = row + down, column + across
            in_hole = _inside(next_row, next_column, hole)
            if not in_hole and not _inside(next_row, next_column, allowed):
                continue
            total += np.float32(1.0)
            own = _inside(from_row + down, from_column + across, atlas_allowed)
            back_row, back_column = np.int32(0), np.int32(0)
            back = False
            if in_hole:
                back_row = source[next_row, next_column, 0] - down
                back_column = source[next_row, next_column, 1] - across
                back = _inside(back_row, back_column, atlas_allowed)
            for channel in range(3):
                present = image[row, column, channel] - image[next_row, next_column, channel]
                wanted = np.float32(0.0)
                if own:
                    wanted += image[row, column, channel] - atlas[from_row + down, from_column + across, channel]
                if back:
                    wanted += atlas[back_row, back_column, channel] - image[next_row, next_column, channel]
                if own and back:
                    wanted *= np.float32(0.5)
                elif not own and not back:
                    wanted = present if in_hole else np.float32(0.0)
                right_side[row, column, channel] += wanted - present
        diagonal[row, column] = total


@njit(cache=True, parallel=True)
def relax(pixels, hole, diagonal, right_side, correction, relaxation):
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
                first += correction[next_row, next_column, 0]
                second += correction[next_row, next_column, 1]
                third += correction[next_row, next_column, 2]
        scale = relaxation / diagonal[row, column]
        keep = np.float32(1.0) - relaxation
        correction[row, column, 0] = keep * correction[row, column, 0] + scale * first
        correction[row, column, 1] = keep * correction[row, column, 1] + scale * second
        correction[row, column, 2] = keep * correction[row, column, 2] + scale * third
