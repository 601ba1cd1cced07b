"""Reads label files back and rasterises their polygons in the two ways in which loaders do."""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.vision.types import Float64Array, Mask


def parse_labels(text: str, width: int, height: int) -> list[tuple[int, Float64Array]]:
    """Class and polygon in pixels of each line of a label file."""
    found = []
    for line in text.splitlines():
        number, *values = line.split()
        found.append((int(number), np.array(values, np.float64).reshape(-1, 2) * (width, height)))
    return found


def truncating_fill(polygon: Float64Array, width: int, height: int) -> Mask:
    """(H, W) bool: rasterised as in ultralytics, with truncated coordinates and the outline included."""
    canvas = np.zeros((height, width), np.uint8)
    if len(polygon):
        cv2.fillPoly(canvas, [polygon.astype(np.int32)], 1)
    return canvas > 0


def area_fill(polygon: Float64Array, width: int, height: int) -> Mask:
    """(H, W) bool: pixels whose centre lies inside, by the even-odd rule."""
    inside = np.zeros((height, width), bool)
    if not len(polygon):
        return inside
    following = np.roll(polygon, -1, axis=0)
    low, high = np.minimum(polygon[:, 1], following[:, 1]), np.maximum(polygon[:, 1], following[:, 1])
    for row in range(max(0, int(low.min())), min(height, int(high.max()) + 1)):
        middle = row + 0.5
        crossing = (low <= middle) & (high > middle)
        start, end = polygon[crossing], following[crossing]
        at = np.sort(start[:, 0] + (middle - start[:, 1]) / (end[:, 1] - start[:, 1]) * (end[:, 0] - start[:, 0]))
        edges = np.searchsorted(at, np.arange(width) + 0.5)
        inside[row] = edges % 2 == 1
    return inside
