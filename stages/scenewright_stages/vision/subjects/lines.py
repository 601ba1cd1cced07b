"""Measures whether a step kept the object: its lines, that is the skeleton of its silhouette.

Area says little about chains, spokes and cables: a necklace without its chain has lost a tenth of its area and all that
made it a necklace. Every step compares the lines of what came in with what goes out.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.vision.imaging.regions import bounding_box
from scenewright_stages.vision.types import Float32Array, Mask

OBJECT_SHRINKS = "object-shrinks"
LEAST_KEPT = 0.95
"""Share of the object's lines that a step has to keep."""
_GRID = 512
"""Longer side of the grid that lines are thinned on."""
_HAIR = 0.1
"""Coverage from which a line that is thinner than a pixel shows."""


def lines_of(inside: Mask) -> Float32Array:
    """(N, 2) float32 x, y of the pixels of the skeleton of an (H, W) silhouette, pixel centres at +0.5.

    Large silhouettes are thinned on a coarser grid, on which no line gets lost.
    """
    left, top, right, bottom = bounding_box(inside)
    if right <= left:
        return np.zeros((0, 2), np.float32)
    window: NDArray[Any] = inside[top:bottom, left:right].astype(np.uint8)
    factor = max(1, -(-max(window.shape) // _GRID))
    if factor > 1:
        window = cv2.dilate(window, np.ones((factor, factor), np.uint8), anchor=(0, 0))[::factor, ::factor]
    padded = cv2.copyMakeBorder(window, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    rows, columns = np.nonzero(cv2.ximgproc.thinning(padded * np.uint8(255))[1:-1, 1:-1])
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    return np.asarray((points + 0.5) * factor + (left, top), np.float32)


def share_kept(lines: Float32Array, inside: Mask, reach: float) -> float:
    """Share of the lines' points that have the silhouette within `reach` pixels; 1 without any lines."""
    if not len(lines):
        return 1.0
    size = 2 * round(reach) + 1
    near = cv2.dilate(inside.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return float(_at(near, lines, 0).mean())


def refuse_shrunk(kept: float, what: str, remedy: str) -> None:
    """Refuses an object that lost more than a twentieth of its lines.

    Raises:
        SampleRejected: with the share that was lost (reason ``object-shrinks``).
    """
    if kept < LEAST_KEPT:
        raise SampleRejected(OBJECT_SHRINKS, f"{what} loses {1 - kept:.0%} of the object's lines; {remedy}")


def parts_of(inside: Mask) -> int:
    """Number of connected parts of a silhouette."""
    return int(cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)[0]) - 1


def labelled(cover: Float32Array, whole: Float32Array, lines: Float32Array, parts: int) -> tuple[Mask, float]:
    """The label of an object in a scene, and the share of its lines that it holds.

    A pixel belongs to the object if the object covers half of it. Lines thinner than that are labelled along their
    middle, where they show at all.

    Args:
        cover: (H, W) coverage of the object as the scene shows it.
        whole: (H, W) coverage without what stands before it.
        lines: (N, 2) x, y of its lines in the scene, some of them perhaps outside.
        parts: number of parts that it has; a line that breaks into more becomes too thin.
    """
    mask, unhidden = cover >= 0.5, whole >= 0.5
    kept = share_kept(lines, unhidden, 1.0)
    if kept >= 1 - (1 - LEAST_KEPT) / 2 and parts_of(unhidden) <= parts:
        return mask, kept
    middle = np.zeros(mask.shape, bool)
    height, width = mask.shape
    at = np.floor(lines).astype(np.int64)
    at = at[((at >= 0) & (at < (width, height))).all(axis=1)]
    middle[at[:, 1], at[:, 0]] = True
    return mask | (middle & (cover >= _HAIR)), share_kept(lines, unhidden | (middle & (whole >= _HAIR)), 1.0)


def moved(lines: Float32Array, move: NDArray[np.floating]) -> Float32Array:
    """The lines under a (2, 3) affine map between images whose pixel centres are at whole numbers, as OpenCV's are."""
    return np.asarray((lines - 0.5) @ move[:, :2].T + move[:, 2] + 0.5, np.float32)


def _at(values: NDArray[Any], points: Float32Array, otherwise: int) -> NDArray[np.uint8]:
    """Values at points, `otherwise` beyond the border."""
    height, width = values.shape
    at = np.floor(points).astype(np.int64)
    inside = ((at >= 0) & (at < (width, height))).all(axis=1)
    kept = np.clip(at, 0, (width - 1, height - 1))
    return np.where(inside, values[kept[:, 1], kept[:, 0]], otherwise).astype(np.uint8)
