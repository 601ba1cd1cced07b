"""Detects upright frontal faces of all sizes.

The compiled cascade slides over an image pyramid. Overlapping windows are grouped, and the number of windows in a group
is the support of a face.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.subjects.people.cascade import WINDOW, FaceCascade, face_cascade, face_windows

_LONG_SIDE = 256  # at this size a face must span about a tenth of the long side
_SCALE_STEP = 1.12
_OVERLAP = 0.4  # intersection over union from which two windows show the same face


@dataclass(frozen=True)
class Face:
    """One face.

    Attributes:
        x, y: middle of the face, pixels of the image.
        size: side of its square, pixels: from ear to ear, from the brows to the chin.
        support: number of agreeing windows; false positives rarely have more than a few.
    """

    x: float
    y: float
    size: float
    support: int


def find_faces(grey: NDArray[np.uint8], least_support: int = 10) -> list[Face]:
    """Upright frontal faces, best supported first.

    Args:
        grey: (H, W) uint8.
        least_support: minimum number of agreeing windows.
    """
    full = max(grey.shape)
    reduction = min(1.0, _LONG_SIDE / full)
    if reduction < 1:
        size = (max(1, round(grey.shape[1] * reduction)), max(1, round(grey.shape[0] * reduction)))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    cascade, scale = face_cascade(), 1.0
    squares: list[NDArray[np.float64]] = []
    while min(grey.shape) * scale >= WINDOW:
        squares.append(_squares(grey, scale, cascade))
        scale /= _SCALE_STEP
    found = np.concatenate(squares) / reduction if squares else np.empty((0, 3))
    faces = [face for face in _grouped(found) if face.support >= least_support]
    return sorted(faces, key=lambda face: (-face.support * face.size, face.x, face.y))


def _squares(grey: NDArray[np.uint8], scale: float, cascade: FaceCascade) -> NDArray[np.float64]:
    """(N, 3) centre x, y and side, in pixels of `grey`, of the face windows at one scale."""
    height, width = (max(WINDOW, round(side * scale)) for side in grey.shape)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    margins = face_windows(
        cv2.integral(small),
        WINDOW,
        1,
        cascade.blocks,
        cascade.subsets,
        cascade.leaves,
        cascade.stage_ends,
        cascade.stage_thresholds,
    )
    rows, columns = np.nonzero(~np.isnan(margins))
    across, down = grey.shape[1] / width, grey.shape[0] / height
    middles = np.stack([(columns + WINDOW / 2) * across, (rows + WINDOW / 2) * down], axis=1)
    return np.column_stack([middles, np.full(len(rows), WINDOW * across)])


def _grouped(squares: NDArray[np.float64]) -> list[Face]:
    """Greedy groups around the window with the most agreeing neighbours."""
    overlap = _overlaps(squares) >= _OVERLAP
    free = np.ones(len(squares), bool)
    faces = []
    while free.any():
        votes = (overlap & free).sum(axis=1) * free
        members = overlap[int(votes.argmax())] & free
        x, y, size = np.median(squares[members], axis=0)
        faces.append(Face(float(x), float(y), float(size), int(members.sum())))
        free &= ~members
    return faces


def _overlaps(squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) intersections over unions of squares."""
    low, high = squares[:, :2] - squares[:, 2:] / 2, squares[:, :2] + squares[:, 2:] / 2
    sides = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = np.prod(np.maximum(sides, 0), axis=2)
    areas = squares[:, 2] ** 2
    overlaps: NDArray[np.float64] = shared / (areas[:, None] + areas[None] - shared)
    return overlaps
