"""Compiled loops of the gradient-domain Retinex."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit

from scenewright_stages.vision.curves import to_linear

DARK = np.float32(0.004)
SMOOTH = np.float32(0.02)  # weight of "no change" where the picture says nothing about the light
OUTSIDE = np.float32(0.05)


@njit(cache=True, nogil=True)
def log_luminance_and_chroma(srgb, table):
    """(h, w) mean log of the channels, and (h, w, 3) what each differs from it (linear light, a little lifted)."""
    height, width = srgb.shape[:2]
    logs, chroma = np.empty((height, width), np.float32), np.empty((height, width, 3), np.float32)
    for row in range(height):
        for column in range(width):
            total = np.float32(0.0)
            for channel in range(3):
                value = np.log(to_linear(srgb[row, column, channel], table) + DARK)
                chroma[row, column, channel] = value
                total += value
            mean = total / np.float32(3.0)
            logs[row, column] = mean
            for channel in range(3):
                chroma[row, column, channel] -= mean
    return logs, chroma


@njit(cache=True, nogil=True)
def differences(logs, chroma, inside, edges):
    """Weights and wanted differences (h, w, 2): of a pixel's right and lower neighbour minus its own."""
    height, width = logs.shape
    weights, wanted = np.zeros((height, width, 2), np.float32), np.zeros((height, width, 2), np.float32)
    one, half = np.float32(1.0), np.float32(0.5)
    for row in range(height):
        for column in range(width):
            for side in range(2):
                below, beside = row + side, column + 1 - side
                if below >= height or beside >= width:
                    continue
                if inside[row, column] < half or inside[below, beside] < half:
                    weights[row, column, side] = OUTSIDE
                    continue
                change = logs[below, beside] - logs[row, column]
                tint = np.float32(0.0)
                for channel in range(3):
                    tint += (chroma[below, beside, channel] - chroma[row, column, channel]) ** 2
                odd = tint / (edges[0] * edges[0])
                odd += (change * change / (edges[1] * edges[1])) ** 2
                trust = one / (one + odd * odd)
                weights[row, column, side] = trust + SMOOTH
                wanted[row, column, side] = trust * change / (trust + SMOOTH)
    return weights, wanted


@njit(cache=True, nogil=True)
def _apply(weights, field, result):
    """The weighted Laplacian, plus a trace of the identity that fixes the level."""
    height, width = field.shape
    for row in range(height):
        for column in range(width):
            result[row, column] = np.float32(1e-6) * field[row, column]
    for row in range(height):
        for column in range(width):
            here = field[row, column]
            if column + 1 < width:
                flow = weights[row, column, 0] * (field[row, column + 1] - here)
                result[row, column] -= flow
                result[row, column + 1] += flow
            if row + 1 < height:
                flow = weights[row, column, 1] * (field[row + 1, column] - here)
                result[row, column] -= flow
                result[row + 1, column] += flow


@njit(cache=True, nogil=True)
def _dot(first, second):
    total = 0.0
    for row in range(first.shape[0]):
        for column in range(first.shape[1]):
            total += first[row, column] * second[row, column]
    return total


@njit(cache=True, nogil=True)
def fit(weights, wanted, steps, tolerance):
    """(h, w) the field whose differences fit best: conjugate gradients, scaled by the diagonal."""
    height, width = weights.shape[:2]
    residual, diagonal = np.zeros((height, width), np.float32), np.full((height, width), np.float32(1e-6))
    for row in range(height):
        for column in range(width):
            for side in range(2):
                weight = weights[row, column, side]
                if weight > np.float32(0.0):
                    below, beside = row + side, column + 1 - side
                    residual[row, column] -= weight * wanted[row, column, side]
                    residual[below, beside] += weight * wanted[row, column, side]
                    diagonal[row, column] += weight
                    diagonal[below, beside] += weight
    field, image = np.zeros((height, width), np.float32), np.empty((height, width), np.float32)
    scaled = residual / diagonal
    direction = scaled.copy()
    energy = _dot(residual, scaled)
    first = energy
    for _ in range(steps):
        if energy <= tolerance * tolerance * first:
            break
        _apply(weights, direction, image)
        step = np.float32(energy / _dot(direction, image))
        for row in range(height):
            for column in range(width):
                field[row, column] += step * direction[row, column]
                residual[row, column] -= step * image[row, column]
                scaled[row, column] = residual[row, column] / diagonal[row, column]
        before, energy = energy, _dot(residual, scaled)
        turn = np.float32(energy / before)
        for row in range(height):
            for column in range(width):
                direction[row, column] = scaled[row, column] + turn * direction[row, column]
    return field
