"""How far an assumed depth is likely wrong, told from the photograph itself.

`doubts` says why and how much smaller the camera's motion should be. Three things speak against a prior. Along a
straight edge of a solid thing, inverse depth is linear in the image; where the prior's is not, the edge bends as soon
as the camera moves, and a rocket becomes a banana. What is in focus rarely lies behind what is out of focus. And where
nearly everything counts as sky, nothing says what stands in front. A measured depth needs no such check.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.stats import spearmanr

from scenewright_stages.scenes.frames import Frame
from scenewright_stages.vision.types import Float32Array, Float64Array, Mask

VISIBLE_BEND = 0.003
"""Of the picture's width: edges that bend more are seen to."""
SHARP_BEHIND = -0.25
"""Correlation of nearness and sharpness below which the order of depths is in doubt."""
MOSTLY_SKY = 0.85
LEAST_SHARE, UNORDERED_SHARE = 0.4, 0.5
"""Of the motion: what is always left, and what is left if the order is in doubt."""

_LEAST_LENGTH = 0.2
"""Of the longer side: shorter edges are texture, and bend too little to be seen."""
_LEAST_PIECE, _WIDEST_GAP, _IN_LINE = 0.03, 0.12, 2.0
"""Length of a piece and of a gap between pieces, of the longer side; and pixels that a piece may be off the line."""
_STEEP = np.radians(60.0)
"""Edges steeper than this are verticals, which people know to be straight."""
_BESIDE = 3.0
"""Pixels from an edge to the surface beside it; the edge belongs to the side on which it is straighter."""
_PERCENTILE = 90.0
_FOCUS_WINDOWS, _EVERY, _FEWEST = 48, 7, 100


@dataclass(frozen=True)
class Doubt:
    """A reason for less motion: the share of it that is left, and what is likely wrong."""

    share: float
    reason: str


def doubts(photograph: Frame, sideways: float) -> list[Doubt]:
    """What speaks against a photograph's assumed depth, if the camera moves so many metres sideways."""
    return list(_doubts(photograph, sideways))


def _doubts(photograph: Frame, sideways: float) -> Iterator[Doubt]:
    srgb, depth, far = photograph.srgb, photograph.depth, photograph.far
    bend = sideways * line_bend(srgb, depth, far, photograph.camera.focal[0]) / photograph.camera.width
    if bend > VISIBLE_BEND:
        share = max(LEAST_SHARE, VISIBLE_BEND / bend)
        yield Doubt(round(share, 2), f"straight edges would bend by {bend:.1%} of the picture's width")
    if float(far.mean()) > MOSTLY_SKY:
        yield Doubt(UNORDERED_SHARE, "nearly everything looks like sky, so nothing says what stands in front")
    elif sharp_in_front(srgb, depth, far) < SHARP_BEHIND:
        yield Doubt(UNORDERED_SHARE, "what is sharp would lie behind what is blurred, so another order is as likely")


def sharp_in_front(srgb: Float32Array, depth: Float32Array, ignored: Mask) -> float:
    """Rank correlation of nearness and sharpness in [-1, 1]; 0 where there is nothing to compare."""
    grey = cv2.cvtColor(srgb, cv2.COLOR_RGB2GRAY)
    sharpness = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), max(grey.shape) / _FOCUS_WINDOWS)
    known = (depth > 0) & ~ignored
    near, sharp = -depth[known][::_EVERY], sharpness[known][::_EVERY]
    if len(near) < _FEWEST or np.ptp(near) == 0 or np.ptp(sharp) == 0:
        return 0.0
    return float(spearmanr(near, sharp).statistic)


def line_bend(srgb: Float32Array, depth: Float32Array, ignored: Mask, focal: float) -> float:
    """Pixels that straight edges bend for each metre of sideways motion, nearly the worst; 0 without such edges.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        depth: (H, W) metres; 0 where unknown.
        ignored: (H, W) bool; sky and other points whose depth does not matter.
        focal: length in pixels.
    """
    usable = (depth > 0) & ~ignored
    inverse = np.where(usable, 1 / np.maximum(depth, 1e-6), np.nan).astype(np.float32)
    found = [
        (length, bend) for line in straight_edges(srgb) if (length := line[4]) and (bend := _bend(inverse, line)) >= 0
    ]
    if not found:
        return 0.0
    lengths, bends = np.array(found).T
    order = np.argsort(bends)
    share = np.cumsum(lengths[order]) / lengths.sum()
    return float(focal * bends[order][np.searchsorted(share, _PERCENTILE / 100)])


def straight_edges(srgb: Float32Array) -> Float64Array:
    """(N, 5) x0, y0, x1, y1, length in pixels of the long, steep edges of an image, (H, W, 3) float32.

    Pieces in line with each other are one edge: things in front and changes of colour cut it.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(np.round(srgb * 255).astype(np.uint8)), cv2.COLOR_RGB2GRAY)
    lines = cv2.createLineSegmentDetector().detect(grey)[0]
    if lines is None:
        return np.zeros((0, 5))
    ends = lines.reshape(-1, 4).astype(np.float64)
    ends = np.where((ends[:, 3] < ends[:, 1])[:, None], ends[:, [2, 3, 0, 1]], ends)
    side = max(grey.shape)
    run, rise = ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]
    length = np.hypot(run, rise)
    chosen = (np.arctan2(rise, np.abs(run)) > _STEEP) & (length >= _LEAST_PIECE * side)
    joined = _joined(ends[chosen][np.argsort(-length[chosen], kind="stable")], _WIDEST_GAP * side)
    length = np.hypot(joined[:, 2] - joined[:, 0], joined[:, 3] - joined[:, 1])
    return np.asarray(np.column_stack([joined, length])[length >= _LEAST_LENGTH * side], np.float64)


def _joined(ends: Float64Array, gap: float) -> Float64Array:
    """Pieces (N, 4), the longest first and each from its upper end, joined where they continue each other."""
    left, found = list(ends), []
    while left:
        edge, grew = left.pop(0), True
        while grew:
            grew = False
            for number, piece in enumerate(left):
                if _continues(edge, piece, gap):
                    four = np.concatenate([edge, left.pop(number)]).reshape(4, 2)
                    edge = np.concatenate([four[four[:, 1].argmin()], four[four[:, 1].argmax()]])
                    grew = True
                    break
        found.append(edge)
    return np.array(found).reshape(-1, 4)


def _continues(edge: Float64Array, piece: Float64Array, gap: float) -> bool:
    """Whether a piece lies on the line of an edge, not farther than the gap from its ends."""
    along = edge[2:] - edge[:2]
    length = np.hypot(*along)
    away = piece.reshape(2, 2) - edge[:2]
    off = np.abs(away[:, 0] * along[1] - away[:, 1] * along[0]) / length
    place = away @ along / length
    return bool(off.max() <= _IN_LINE and place.min() <= length + gap and place.max() >= -gap)


def _bend(inverse: Float32Array, line: Float64Array) -> float:
    """How far inverse depth leaves a straight line along an edge, on its straighter side; -1 if it is not known."""
    start, end, length = line[:2], line[2:4], line[4]
    beside = np.array((start[1] - end[1], end[0] - start[0])) / length * _BESIDE
    place = np.linspace(0.0, 1.0, max(int(length / 2), 8))
    points = start + place[:, None] * (end - start)
    sides = [_unevenness(_sampled(inverse, points + sign * beside), place) for sign in (1, -1)]
    known = [side for side in sides if side >= 0]
    return min(known, default=-1.0)


def _unevenness(values: Float64Array, place: Float64Array) -> float:
    known = np.isfinite(values)
    if known.mean() < 0.8:
        return -1.0
    fit = np.polyval(np.polyfit(place[known], values[known], 1), place[known])
    return float(np.abs(values[known] - fit).max())


def _sampled(inverse: Float32Array, points: Float64Array) -> Float64Array:
    height, width = inverse.shape
    x, y = np.round(points - 0.5).astype(int).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    values = inverse[y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(inside, values, np.nan).astype(np.float64)
