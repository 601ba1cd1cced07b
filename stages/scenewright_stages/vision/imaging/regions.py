"""Geometry of masks: bounding box, innermost point, overlap."""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.vision.types import Mask


def bounding_box(mask: Mask) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of an (H, W) mask, the last two exclusive; zeros for an empty one."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return int(left), int(top), int(left + width), int(top + height)


def innermost(mask: Mask) -> tuple[float, float]:
    """x, y of the pixel of an (H, W) mask that is farthest from its outline and from the border."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column), float(row)


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks; 1 for two empty ones."""
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 1.0
