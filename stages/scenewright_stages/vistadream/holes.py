"""Holes that a moved camera reveals: where they are, and which side of them is background.

A hole opens where a near surface used to hide a far one, so what belongs into it continues the far side. Colour and
depth are therefore taken from the background of a hole's rim only.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COVERED_ALPHA = 0.7
"""Below this accumulated alpha a pixel counts as uncovered (VistaDream's ``alpha_thres``)."""

FOREGROUND_RATIO = 0.88
"""A rim pixel nearer than this share of the rim's far depth belongs to what hides the hole."""

_SPECKLE_PIXELS = 4
_GROWTH = np.ones((5, 5), np.uint8)


def hole_mask(alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels to fill, from (H, W) accumulated alpha.

    Specks of a few pixels are left alone; the rest grows by two pixels, because the pixels beside a hole are
    half-transparent mixtures.
    """
    uncovered = (alpha < COVERED_ALPHA).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(uncovered, connectivity=8)
    keeps = stats[:, cv2.CC_STAT_AREA] >= _SPECKLE_PIXELS
    keeps[0] = False
    if count <= 1:
        return np.zeros(alpha.shape, np.bool_)
    kept = keeps[labels].astype(np.uint8)
    grown: NDArray[np.bool_] = cv2.dilate(kept, _GROWTH) > 0
    return grown


def background_depth(depth: NDArray[np.float32], hole: NDArray[np.bool_], reach: int) -> NDArray[np.float32]:
    """(H, W) float32: the far depth around each pixel, in metres, within `reach` pixels; 0 where nothing is known.

    Args:
        depth: (H, W) rendered depth; 0 where there is none.
        hole: (H, W) pixels whose depth is not known.
    """
    known = np.where(hole, 0.0, depth).astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(known, kernel), np.float32)


def foreground_rim(depth: NDArray[np.float32], hole: NDArray[np.bool_], reach: int = 12) -> NDArray[np.bool_]:
    """(H, W) bool: known pixels near a hole that belong to the surface in front of it.

    Args:
        depth: (H, W) float32 metres; 0 where there is none.
        hole: (H, W) bool.
        reach: pixels around the hole in which the two sides are told apart.
    """
    if not hole.any():
        return np.zeros(hole.shape, np.bool_)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    near_hole = (cv2.dilate(hole.astype(np.uint8), kernel) > 0) & ~hole & (depth > 0)
    far = background_depth(depth, hole, 2 * reach)
    return near_hole & (depth < FOREGROUND_RATIO * far)
