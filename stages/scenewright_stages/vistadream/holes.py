"""Holes that a moved camera reveals in a scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COVERED_ALPHA = 0.7
"""Below this accumulated alpha a pixel counts as uncovered (VistaDream's ``alpha_thres``)."""

_SPECK_PIXELS = 3
_GAP_PIXELS = 40
_SMALL_GROWTH = np.ones((3, 3), np.uint8)
_LARGE_GROWTH = np.ones((5, 5), np.uint8)


def hole_around(uncovered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels to fill, from the pixels, (H, W) bool, whose accumulated alpha is below the limit.

    Specks of up to three pixels are left alone. Holes grow, because the pixels beside them are half-transparent
    mixtures: by two pixels, gaps between stretched Gaussians (up to 40 pixels) by one.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(uncovered.view(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA]
    area[0] = 0
    gaps = ((area > _SPECK_PIXELS) & (area <= _GAP_PIXELS)).astype(np.uint8)[labels]
    large = (area > _GAP_PIXELS).astype(np.uint8)[labels]
    grown = np.maximum(cv2.dilate(gaps, _SMALL_GROWTH), cv2.dilate(large, _LARGE_GROWTH))
    return np.asarray(grown > 0)
