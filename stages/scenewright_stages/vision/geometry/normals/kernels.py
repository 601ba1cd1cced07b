"""Compiled loops of the inflated silhouette."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def relax(field, inside, source, damping, sweeps):
    """Over-relaxed red-black sweeps of `laplacian - damping * field = -source`; zero outside, level across the border.

    inside (h, w) is the share of a cell that belongs to the person; cells below a half are outside.
    """
    height, width = field.shape
    result = field.copy()
    half = np.float32(0.5)
    relaxation = np.float32(1.85)
    share = np.float32(1.0) / (np.float32(4.0) + damping)
    for sweep in range(sweeps):
        weight = relaxation if sweep < sweeps - 2 else np.float32(1.0)
        for colour in range(2):
            for row in range(height):
                for column in range((row + colour) & 1, width, 2):
                    if inside[row, column] < half:
                        result[row, column] = np.float32(0.0)
                        continue
                    here = result[row, column]
                    total = result[row - 1, column] if row > 0 else here
                    total += result[row + 1, column] if row < height - 1 else here
                    total += result[row, column - 1] if column > 0 else here
                    total += result[row, column + 1] if column < width - 1 else here
                    result[row, column] = here + weight * ((total + source) * share - here)
    return result


@njit(cache=True, nogil=True)
def slopes(height, spacing):
    """(h, w, 2) derivatives of the height to the right and down; spacing = pixels of the full image per cell."""
    rows, columns = height.shape
    result = np.empty((rows, columns, 2), np.float32)
    for row in range(rows):
        up, down = max(row - 1, 0), min(row + 1, rows - 1)
        for column in range(columns):
            left, right = max(column - 1, 0), min(column + 1, columns - 1)
            result[row, column, 0] = (height[row, right] - height[row, left]) / (np.float32(right - left) * spacing)
            result[row, column, 1] = (height[down, column] - height[up, column]) / (np.float32(down - up) * spacing)
    return result


@njit(cache=True, nogil=True)
def _at(plane, y, x):
    """Bilinear sample, held at the border."""
    rows, columns = plane.shape
    y = min(max(y, np.float32(0.0)), np.float32(rows - 1))
    x = min(max(x, np.float32(0.0)), np.float32(columns - 1))
    top, left = min(int(y), rows - 1), min(int(x), columns - 1)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    down, across = y - np.float32(top), x - np.float32(left)
    above = plane[top, left] + across * (plane[top, right] - plane[top, left])
    below = plane[bottom, left] + across * (plane[bottom, right] - plane[bottom, left])
    return above + down * (below - above)


@njit(cache=True, nogil=True)
def compose(slopes, relief, alpha, detail):
    """(H, W, 3) unit normals from the slopes of the cushion plus those of the relief, fading to (0, 0, -1) with alpha.

    A height h toward the camera has the normal (-dh/dx, -dh/dy, -1), scaled: toward larger x it faces where h falls.
    """
    height, width = alpha.shape
    rows, columns = relief.shape
    down, across = np.float32(rows / height), np.float32(columns / width)
    result = np.empty((height, width, 3), np.float32)
    half, one = np.float32(0.5), np.float32(1.0)
    with_relief = rows > 1 and columns > 1
    for row in range(height):
        y = (np.float32(row) + half) * down - half
        for column in range(width):
            cover = alpha[row, column]
            to_right, to_bottom = slopes[row, column, 0], slopes[row, column, 1]
            if with_relief and cover > 0:
                x = (np.float32(column) + half) * across - half
                # differences over one cell of the relief, in pixels of the full image
                to_right += detail * across * (_at(relief, y, x + half) - _at(relief, y, x - half))
                to_bottom += detail * down * (_at(relief, y + half, x) - _at(relief, y - half, x))
            to_right *= -cover
            to_bottom *= -cover
            scale = one / np.sqrt(to_right * to_right + to_bottom * to_bottom + one)
            result[row, column, 0] = to_right * scale
            result[row, column, 1] = to_bottom * scale
            result[row, column, 2] = -scale
    return result


@njit(cache=True, nogil=True)
def unit_normals(vectors):
    """(H, W, 3) float32 at unit length, (0, 0, -1) for vectors without any; and whether all were finite."""
    height, width = vectors.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    finite = True
    for row in range(height):
        for column in range(width):
            x, y, z = vectors[row, column, 0], vectors[row, column, 1], vectors[row, column, 2]
            length = np.sqrt(x * x + y * y + z * z)
            if not np.isfinite(length):
                finite = False
            if length > np.float32(1e-6):
                scale = np.float32(1.0) / length
                result[row, column, 0], result[row, column, 1] = x * scale, y * scale
                result[row, column, 2] = z * scale
            else:
                result[row, column, 0] = result[row, column, 1] = np.float32(0.0)
                result[row, column, 2] = np.float32(-1.0)
    return result, finite
