"""Converts masks to single polygons, the format of YOLO's label files.

Loaders rasterise these polygons in two ways: by truncating coordinates and including the outline, or by filling the
area. Vertices lie in the outer half of the outline's pixels, so both reproduce the mask. Some loaders first put further
vertices on the edges (ultralytics: a thousand in all), which must not fall out of the mask either; so edges pass from
pixel to pixel only where these touch. Holes and further components are connected to the first outline by bridges of two
coincident edges.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float64Array, Mask

_OUTWARD = 0.45
"""Of a pixel from its middle: less than half, so that cutting down finds the pixel again."""
_LEAST_PIXELS = 4
"""Parts and holes of fewer pixels are left out: their bridges would cost more than they bring."""


def polygon_of(mask: Mask) -> Float64Array:
    """(N, 2) x, y in pixels of one closed polygon for the mask; N is 0 for an empty mask.

    Args:
        mask: (H, W) bool.
    """
    cleaned = _without_specks(mask)
    contours, hierarchy = cv2.findContours(cleaned.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return np.zeros((0, 2))
    rings: list[Float64Array] = []
    for contour, links in zip(contours, hierarchy[0], strict=True):
        rings.append(_pushed(np.asarray(contour[:, 0, :], np.int32), links[3] < 0, cleaned))
    rings.sort(key=lambda ring: -_area(ring))
    return _joined(rings)


def label_line(number: int, polygon: Float64Array, width: int, height: int) -> str:
    """A line of a label file: class and normalised coordinates with six decimals."""
    scaled = np.clip(polygon / (width, height), 0.0, 1.0)
    return " ".join([str(number), *(f"{value:.6f}" for value in scaled.reshape(-1))])


def run_lengths(mask: Mask) -> dict[str, object]:
    """A mask as COCO's uncompressed RLE: counts down the columns, starting with a run of 0."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


def _without_specks(mask: Mask) -> Mask:
    """The mask without tiny components and holes; if nothing else is left, keeps the largest component."""
    filled = mask.copy()
    for value in (False, True):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((filled == value).astype(np.uint8), connectivity=8)
        small = [each for each in range(1, count) if stats[each, cv2.CC_STAT_AREA] < _LEAST_PIXELS]
        if value and len(small) == count - 1 and small:
            small.remove(max(small, key=lambda each: stats[each, cv2.CC_STAT_AREA]))
        filled[np.isin(labels, small)] = not value
    return filled


def _pushed(pixels: NDArray[np.int32], outward: bool, mask: Mask) -> Float64Array:
    """Moves vertices into the outer half of the outline's pixels; around a hole, into the half that faces it.

    No edge leaves the pixels of the mask: loaders may put further vertices anywhere on it and truncate them.
    """
    points = pixels.astype(np.float64) + 0.5
    if len(points) == 1:
        return np.asarray(points + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * _OUTWARD)
    clockwise = _signed_area(points) >= 0
    turn = 1.0 if clockwise == outward else -1.0
    arriving, leaving = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    first, second = _outer_side(arriving, turn), _outer_side(leaving, turn)
    between = np.clip(first + second, -1, 1)
    # At the end of a one-pixel line the outline turns back, so go around the tip.
    back = (first == -second).all(axis=1)[:, None]
    tip = np.sign(arriving)
    ahead, behind = np.clip(first + tip, -1, 1), np.clip(second + tip, -1, 1)
    corners = np.stack([first, np.where(back, ahead, between), np.where(back, behind, between), second], axis=1)
    around = points[:, None] + _OUTWARD * corners
    return _thinned(np.concatenate([around, _through_corners(pixels, leaving, second, mask)], axis=1).reshape(-1, 2))


def _through_corners(pixels: NDArray[np.int32], steps: Float64Array, outer: Float64Array, mask: Mask) -> Float64Array:
    """(N, 2, 2) vertices after each pixel, by which a diagonal step reaches the next one without touching a third pixel
    that is not the mask's; they repeat the last vertex of the pixel for other steps.
    """
    points = pixels.astype(np.float64) + 0.5
    last = points + _OUTWARD * outer
    diagonal = (steps != 0).all(axis=1)
    # A diagonal step has a pixel on both sides of its corner: the one outside, and the one inside.
    sideways = steps * (steps * outer <= 0)
    beside = pixels + sideways.astype(np.int32)
    height, width = mask.shape
    at = np.clip(beside, 0, (width - 1, height - 1))
    filled = diagonal & mask[at[:, 1], at[:, 0]]
    corner = points + steps / 2
    through = corner + (0.5 - _OUTWARD) * np.sign(points + sideways - corner)
    before, behind = corner - (0.5 - _OUTWARD) * steps, corner + (0.5 - _OUTWARD) * steps
    found = np.stack([last, last], axis=1)
    found[diagonal] = np.stack([before, behind], axis=1)[diagonal]
    found[filled] = np.stack([through, through], axis=1)[filled]
    return found


def _outer_side(steps: Float64Array, turn: float) -> Float64Array:
    """The outward direction of steps, each component -1, 0 or 1."""
    return np.asarray(np.sign(np.stack([steps[:, 1], -steps[:, 0]], axis=1) * turn))


def _thinned(ring: Float64Array) -> Float64Array:
    """The ring without repeated vertices and without those on straight lines."""
    ring = ring[(np.abs(ring - np.roll(ring, 1, axis=0)) > 1e-9).any(axis=1)]
    a, b = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    straight = (np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) < 1e-9) & ((a * b).sum(axis=1) > 0)
    return ring[~straight] if (~straight).sum() >= 3 else ring


def _joined(rings: Sequence[Float64Array]) -> Float64Array:
    """Joins rings into one polygon, each by a bridge from its nearest vertex already in the polygon and back."""
    whole = rings[0]
    waiting = list(rings[1:])
    while waiting:
        gaps = [_nearest(whole, ring) for ring in waiting]
        at = int(np.argmin([gap[2] for gap in gaps]))
        start, entry, _ = gaps[at]
        ring = np.roll(waiting.pop(at), -entry, axis=0)
        whole = np.concatenate([whole[: start + 1], ring, ring[:1], whole[start:]])
    return whole


def _nearest(whole: Float64Array, ring: Float64Array) -> tuple[int, int, float]:
    index = cv2.flann.Index(whole.astype(np.float32), {"algorithm": 4, "leaf_max_size": 10})
    places, squared = index.knnSearch(ring.astype(np.float32), 1)
    entry = int(np.argmin(squared[:, 0]))
    return int(places[entry, 0]), entry, float(squared[entry, 0])


def _area(ring: Float64Array) -> float:
    return abs(_signed_area(ring))


def _signed_area(ring: Float64Array) -> float:
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum() / 2)
