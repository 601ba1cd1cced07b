"""Cuts a product out of its photo without weights: from a box and points, or by contrast with a plain background.

It never guesses: if the border is not plain, or not exactly one thing stands out, the caller must say where the object
is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.regions import bounding_box
from scenewright_stages.vision.types import Float32Array, Mask

Box = tuple[float, float, float, float]

_WORK_SIDE = 480
_BORDER = 0.04
"""Of the shorter side: the frame whose colours are taken for the background's."""
_CLOSER_BELOW, _ROOM = 160, 0.4
"""An object that is smaller than this on the reduced copy is cut out again from a window with this much room around it,
as a share of the object's longer side.
"""
_ROUNDS = 6
_BOXES = ((-0.02, 0.12), (0.0, 0.06), (0.0, 0.12), (0.025, 0.06), (0.025, 0.12))
"""How much smaller than the given box, and how far inside it the object is expected, as shares of its sides."""
_SHARP = 30.0
_CLEAR_DISTANCE = 9.0
"""Least distance of the object's colours from the background's, in Lab."""
_FARTHEST_SPREAD = 7.0
"""Largest unexplained variation of the border in Lab at which it still counts as plain."""


def cut_by_box(srgb: Float32Array, box: Box, points: Sequence[tuple[float, float, bool]] = ()) -> Mask:
    """(H, W) bool mask of the object in a box, by GrabCut.

    A loose box includes shadows; a tight one clips the object. The function tries several boxes around the given one
    and keeps the cut whose outline follows the sharpest edges.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        box: left, top, right, bottom in pixels.
        points: x, y in pixels, and whether they lie on the object.
    """
    if window := _window_around(box, srgb):
        left, top = window[1].start, window[0].start
        moved = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        closer = cut_by_box(srgb[window], moved, [(x - left, y - top, inside) for x, y, inside in points])
        return _placed(closer, window, srgb)
    small, factor = _small(srgb)
    inner = tuple(value * factor for value in box)
    best, sharpest = np.zeros(small.shape[:2], bool), -1.0
    for shrink, inset in _BOXES:
        marks = _box_marks(small.shape[:2], inner, shrink, inset)
        for x, y, inside in points:
            colour = cv2.GC_FGD if inside else cv2.GC_BGD
            cv2.circle(marks, (round(x * factor), round(y * factor)), 4, colour, -1)
        cut = _filled(_largest(grab_cut(small, marks)))
        sharpness = _outline_sharpness(small, cut)
        if sharpness > sharpest:
            best, sharpest = cut, sharpness
    return _enlarged(best, srgb)


def _box_marks(shape: tuple[int, ...], box: Sequence[float], shrink: float, inset: float) -> NDArray[np.uint8]:
    """GrabCut's initial labels: background outside the box, probable object inside, certain object in the middle."""
    height, width = shape
    left, top, right, bottom = max(0.0, box[0]), max(0.0, box[1]), min(width, box[2]), min(height, box[3])
    across, down = shrink * (right - left), shrink * (bottom - top)
    left, top = max(0, round(left + across)), max(0, round(top + down))
    right, bottom = min(width, round(right - across)), min(height, round(bottom - down))
    marks = np.full((height, width), cv2.GC_BGD, np.uint8)
    for share, mark in ((0.0, cv2.GC_PR_BGD), (inset, cv2.GC_PR_FGD), (0.35, cv2.GC_FGD)):
        x, y = round(share * (right - left)), round(share * (bottom - top))
        marks[top + y : bottom - y, left + x : right - x] = mark
    return marks


def _outline_sharpness(small: NDArray[np.uint8], mask: Mask) -> float:
    """Mean Lab difference across an outline; very sharp edges count no more than sharp ones."""
    inside = mask.astype(np.uint8)
    signed = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    rows, columns = np.nonzero(mask & (signed <= 1.5))
    if not len(rows):
        return 0.0
    across, down = (cv2.Sobel(signed, cv2.CV_32F, *order)[rows, columns] for order in ((1, 0), (0, 1)))
    length = np.hypot(across, down) + 1e-6
    blurred = cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float32) / np.float32(255)
    lab = cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB)

    def beside(step: float) -> Float32Array:
        x = (columns + step * across / length).astype(np.float32)[None]
        y = (rows + step * down / length).astype(np.float32)[None]
        return np.asarray(cv2.remap(lab, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0], np.float32)

    difference = np.linalg.norm(beside(2.5) - beside(-3.5), axis=-1)
    return float(np.minimum(difference, _SHARP).mean())


def cut_from_border(srgb: Float32Array) -> tuple[Mask, float]:
    """(H, W) bool mask of the single thing that stands out from a plain border, and a score in [0, 1].

    A score of 0 means that there is none.
    """
    small, _ = _small(srgb)
    distance, spread = _distance_from_border(small)
    standing_out = distance > max(_CLEAR_DISTANCE, 3.0 * spread)
    standing_out = cv2.morphologyEx(standing_out.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    main = _filled(_largest(standing_out))
    if main.mean() < 0.005 or main.mean() > 0.9 or touches_border(main):
        return np.zeros(srgb.shape[:2], bool), 0.0
    others = (standing_out & ~main).sum() / max(int(main.sum()), 1)
    plain = np.clip(1 - spread / _FARTHEST_SPREAD, 0, 1)
    contrast = np.clip(float(np.median(distance[main])) / (3 * _CLEAR_DISTANCE), 0, 1)
    score = float(np.sqrt(plain * contrast) * np.clip(1 - 3 * others, 0, 1))
    marks = np.where(main, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    near = cv2.dilate(main.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    marks[near & ~main] = cv2.GC_PR_BGD
    marks[cv2.erode(main.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0] = cv2.GC_FGD
    found = _filled(_largest(grab_cut(small, marks)))
    cut = _enlarged(found if found.any() else main, srgb)
    if cut.any() and (window := _window_around(bounding_box(cut), srgb)):
        closer, clear = cut_from_border(srgb[window])
        if clear > 0:
            return _placed(closer, window, srgb), score
    return cut, score


def touches_border(mask: Mask) -> bool:
    """Whether the image border clips the object, that is, it covers a large part of one side."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    extents = (mask.any(axis=0).sum(), mask.any(axis=0).sum(), mask.any(axis=1).sum(), mask.any(axis=1).sum())
    return any(side.sum() > 0.05 * max(int(extent), 1) for side, extent in zip(sides, extents, strict=True))


def _distance_from_border(small: NDArray[np.uint8]) -> tuple[Float32Array, float]:
    """(h, w) Lab distance from a smooth surface fitted to the border's colours, and the border's residual."""
    lab = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    height, width = lab.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=-1)
    frame = np.ones((height, width), bool)
    edge = max(2, round(_BORDER * min(height, width)))
    frame[edge:-edge, edge:-edge] = False
    weights = np.ones(int(frame.sum()))
    surface = np.zeros_like(lab)
    rest = np.zeros(1)
    for _ in range(4):
        root = np.sqrt(weights)[:, None]
        solved = np.linalg.lstsq(terms[frame] * root, lab[frame] * root, rcond=None)[0]
        surface = (terms @ solved).astype(np.float32)
        rest = np.linalg.norm(lab[frame] - surface[frame], axis=1)
        weights = 1 / (1 + (rest / 4.0) ** 2)
    # Shadows change lightness more than colour.
    apart = (lab - surface) * np.array([0.5, 1.3, 1.3], np.float32)
    return np.linalg.norm(apart, axis=-1).astype(np.float32), float(np.percentile(rest, 75))


def _window_around(box: Sequence[float], srgb: Float32Array) -> tuple[slice, slice] | None:
    """Rows and columns around an object that is small in the photo; None if the whole photo will do."""
    height, width = srgb.shape[:2]
    side = max(box[2] - box[0], box[3] - box[1])
    if reduction(srgb) == 1 or side >= _CLOSER_BELOW * reduction(srgb):
        return None
    room = _ROOM * side + 8
    rows = slice(max(0, int(box[1] - room)), min(height, math.ceil(box[3] + room)))
    columns = slice(max(0, int(box[0] - room)), min(width, math.ceil(box[2] + room)))
    return rows, columns


def _placed(closer: Mask, window: tuple[slice, slice], srgb: Float32Array) -> Mask:
    cut = np.zeros(srgb.shape[:2], bool)
    cut[window] = closer
    return cut


def reduction(srgb: Float32Array) -> float:
    """How many pixels of the photo are one of the copy that objects are cut out of; at least 1."""
    return max(1.0, float(max(srgb.shape[:2])) / _WORK_SIDE)


def _small(srgb: Float32Array) -> tuple[NDArray[np.uint8], float]:
    factor = min(1.0, _WORK_SIDE / max(srgb.shape[:2]))
    size = (max(16, round(srgb.shape[1] * factor)), max(16, round(srgb.shape[0] * factor)))
    reduced = cv2.resize(srgb, size, interpolation=cv2.INTER_AREA)
    return cv2.convertScaleAbs(reduced, alpha=255.0), factor  # type: ignore[return-value]


def grab_cut(small: NDArray[np.uint8], marks: NDArray[np.uint8]) -> Mask:
    """(H, W) bool of the object after GrabCut from `marks`, which it changes.

    Args:
        small: (H, W, 3) uint8 RGB.
        marks: (H, W) uint8 of GrabCut's labels.
    """
    if not ((marks == cv2.GC_PR_FGD) | (marks == cv2.GC_FGD)).any():
        return np.zeros(marks.shape, bool)
    # GrabCut's mixture models draw from OpenCV's generator.
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(small[..., ::-1])
    cv2.grabCut(bgr, marks, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD))


def _largest(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count <= 1:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _filled(mask: Mask) -> Mask:
    """The mask without small holes; large holes belong to the shape, such as a handle's."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] < 0.01 * mask.sum()]
    return np.asarray(mask | np.isin(labels, small))


def _enlarged(mask: Mask, srgb: Float32Array) -> Mask:
    size = (srgb.shape[1], srgb.shape[0])
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5)
