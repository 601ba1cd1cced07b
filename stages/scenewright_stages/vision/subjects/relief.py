"""Rotates a cut-out as a solid: a relief inflated from its silhouette, closed at the back in the rim's colours.

One photo does not show an object's sides. For rotations up to about 30 degrees the relief moves the visible pixels to
their new positions and extends the rim's colours to the back; nothing of the front appears twice.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.normals import inflated_height
from scenewright_stages.vision.subjects.lines import lines_of, share_kept
from scenewright_stages.vision.types import Float32Array

_FINE = 2
"""Rendered at this multiple of the size, for a smooth outline."""
_SMOOTHING = 2.5
"""Pixels along which the outline is smoothed, as a standard deviation."""
_SMOOTHING_SHARE = 0.008
"""The most of it, as a share of the picture's longer side: small things have small corners."""
_INSIDE = 0.5
_REACH = 2.0
"""Pixels by which a line may be off where the relief is known."""
_FARTHEST = np.float32(-1e9)
_ROUND = 1.5
"""Reach of the inflation at which a disc becomes a half ball."""
_RIM = 4
"""Pixels from the outline at which its colours are read: closer ones may still show the background."""


def thickness_at(pitch: float) -> float:
    """Thickness of the relief for a camera pitch in degrees; objects seen from above are more often flat."""
    return float(np.clip(1.15 - pitch / 45, 0.18, 1.0))


def turned(
    colours: Float32Array, alpha: Float32Array, yaw: float, elevation: float, thickness: float = 1.0
) -> tuple[Float32Array, Float32Array]:
    """The cut-out rotated.

    Args:
        colours: (H, W, 3) float32, valid where alpha is above 0.
        alpha: (H, W) float32.
        yaw: degrees about the vertical axis; positive shows more of the right side.
        elevation: degrees; positive shows more from above.
        thickness: depth of the solid relative to a round one.

    Returns:
        (H, W, 3) colours and (H, W) alpha; the object keeps its position. Without rotation, the inputs are returned.
    """
    if yaw == 0 and elevation == 0:
        return colours, alpha
    size = (colours.shape[1] * _FINE, colours.shape[0] * _FINE)
    cover = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
    front = np.asarray(cv2.resize(colours, size, interpolation=cv2.INTER_LINEAR), np.float32)
    height = cv2.resize(inflated_height(alpha, _ROUND), size, interpolation=cv2.INTER_CUBIC) * (_FINE * thickness)
    inside = cover > _INSIDE
    height = np.where(inside, np.maximum(height, 0), 0).astype(np.float32)
    fine = _fine_lines(inside)
    picture, inside, middles = _turned(front, height, inside, yaw, elevation)
    if fine.any():
        lines = _turned(front, np.where(fine, height, 0), fine, yaw, elevation, middles)[1]
        # Steps between pixels leave gaps in lines of a pixel or two.
        lines = cv2.morphologyEx(lines.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
        weights = np.maximum(_smooth_outline(inside & ~lines), lines.astype(np.float32))
    else:
        weights = _smooth_outline(inside)
    front = _continued(picture, inside)
    small = (colours.shape[1], colours.shape[0])
    alpha_out = cv2.resize(weights, small, interpolation=cv2.INTER_AREA)
    summed = cv2.resize(front * weights[..., None], small, interpolation=cv2.INTER_AREA)
    return np.asarray(summed / np.maximum(alpha_out, 1e-3)[..., None], np.float32), np.asarray(alpha_out, np.float32)


def lines_kept(before: Float32Array, after: Float32Array, yaw: float, elevation: float, thickness: float) -> float:
    """Share of the object's lines that a turned cut-out shows where they belong.

    Args:
        before: (H, W) alpha of the cut-out.
        after: (H, W) alpha of the turned one.
        yaw, elevation, thickness: as for :func:`turned`.
    """
    inside = before > _INSIDE
    lines = lines_of(inside)
    size = (before.shape[1], before.shape[0])
    height = np.maximum(cv2.resize(inflated_height(before, _ROUND), size, interpolation=cv2.INTER_CUBIC), 0) * thickness
    at = np.clip(np.floor(lines).astype(np.int64), 0, np.array(size) - 1)
    depth = height[at[:, 1], at[:, 0]]
    turned_lines = lines.copy()
    for axis, degrees in ((0, yaw), (1, -elevation)):
        reached = np.flatnonzero(inside.any(axis=axis))
        middle = (float(reached[0]) + float(reached[-1]) + 1) / 2
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        away = turned_lines[:, axis] - middle
        turned_lines[:, axis] = away * cosine - depth * sine + middle
        depth = depth * cosine + away * sine
    return share_kept(turned_lines, after >= _INSIDE, _REACH)


def _turned(
    front: Float32Array,
    height: Float32Array,
    inside: NDArray[np.bool_],
    yaw: float,
    elevation: float,
    middles: tuple[float, float] | None = None,
) -> tuple[Float32Array, NDArray[np.bool_], tuple[float, float]]:
    """Colours and silhouette of the turned relief, and the column and row that it was turned about.

    `middles` are those of the whole for a part of it.
    """
    column, row = middles or (_middle(inside), 0.0)
    if yaw:
        front, height, inside = _pass(front, height, inside, yaw, True, column)
    if elevation:
        row = middles[1] if middles else _middle(inside.T)
        across = _pass(front.swapaxes(0, 1), height.T, inside.T, -elevation, not yaw, row)
        front, inside = across[0].swapaxes(0, 1), across[2].T
    return front, inside, (column, row)


def _fine_lines(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of a silhouette that are too thin for its outline to be smoothed: chains, spokes, cables."""
    radius = max(2, round(0.9 * _smoothing(inside.shape)))
    thick, around = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * each + 1, 2 * each + 1)) for each in (radius, radius + 2)
    )
    bodies = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, thick)
    thin = inside & (bodies == 0)
    # Corners of bodies are thin too, but do not reach beyond them.
    far = thin & (cv2.dilate(bodies, around) == 0)
    _, labels = cv2.connectedComponents(thin.astype(np.uint8), connectivity=8)
    return np.asarray(np.isin(labels, np.unique(labels[far])) & thin)


def _smoothing(shape: tuple[int, ...]) -> float:
    """Standard deviation by which an outline is smoothed, in rendered pixels."""
    return max(min(_SMOOTHING * _FINE, _SMOOTHING_SHARE * max(shape)), 0.5)


def _middle(inside: NDArray[np.bool_]) -> float:
    """The column about which a silhouette is turned."""
    columns = np.flatnonzero(inside.any(axis=0))
    return (float(columns[0]) + float(columns[-1])) / 2 if len(columns) else 0.0


def _smooth_outline(inside: NDArray[np.bool_]) -> Float32Array:
    """(H, W) in [0, 1], the silhouette with a smoothed outline, because the steep relief there becomes ragged."""
    whole = cv2.medianBlur(inside.astype(np.uint8), 7).astype(np.float32)
    sigma = min(_SMOOTHING * _FINE, _SMOOTHING_SHARE * max(inside.shape))
    blurred = cv2.GaussianBlur(whole, (0, 0), _smoothing(inside.shape))
    # Restore an edge as steep as one pixel of the result.
    sharp = (blurred - 0.5) * (sigma * math.sqrt(2 * math.pi) / _FINE) + 0.5
    return np.asarray(np.clip(sharp, 0, 1), np.float32)


def _continued(front: Float32Array, inside: NDArray[np.bool_]) -> Float32Array:
    """(H, W, 3) colours, extended beyond the silhouette as far as the smooth outline may reach."""
    known = inside.astype(np.float32)
    reach = _SMOOTHING * _FINE
    weight = cv2.GaussianBlur(known, (0, 0), reach)
    spread = cv2.GaussianBlur(front * known[..., None], (0, 0), reach) / np.maximum(weight, 1e-4)[..., None]
    return np.where(inside[..., None], front, spread).astype(np.float32)


def _pass(
    front: Float32Array,
    height: Float32Array,
    inside: NDArray[np.bool_],
    degrees: float,
    closed: bool,
    middle: float,
) -> tuple[Float32Array, Float32Array, NDArray[np.bool_]]:
    """Rotates the relief about the vertical axis at a column; the back of an already rotated one is unknown."""
    rims = _rims(front, inside)
    angle = math.radians(degrees)
    picture, depth = _rotated(
        np.ascontiguousarray(front, np.float32),
        np.ascontiguousarray(height, np.float32),
        np.ascontiguousarray(inside),
        rims,
        np.float32(math.cos(angle)),
        np.float32(math.sin(angle)),
        np.float32(middle),
        2 if closed else 1,
    )
    found = depth > _FARTHEST
    return picture, np.where(found, depth, 0).astype(np.float32), found


def _rims(front: Float32Array, inside: NDArray[np.bool_]) -> Float32Array:
    """(H, 2, 3) colours of the left and right end of every row, smoothed along the outline."""
    rims = np.zeros((front.shape[0], 2, 3), np.float32)
    known = np.zeros(front.shape[0], np.float32)
    reach = _RIM * _FINE
    for row in range(front.shape[0]):
        at = np.flatnonzero(inside[row])
        if len(at):
            step = min(reach, len(at) // 2)
            rims[row, 0] = front[row, at[0] + step : at[0] + 2 * step + 1].mean(axis=0)
            rims[row, 1] = front[row, at[-1] - 2 * step : at[-1] - step + 1].mean(axis=0)
            known[row] = 1
    weight = cv2.GaussianBlur(known[:, None], (0, 0), 3.0 * _FINE)[:, 0]
    smooth = cv2.GaussianBlur(rims.reshape(len(rims), -1) * known[:, None], (1, 6 * 6 * _FINE + 1), 3.0 * _FINE)
    return np.asarray((smooth.reshape(-1, 6) / np.maximum(weight, 1e-3)[:, None]).reshape(-1, 2, 3), np.float32)


@njit(cache=True, nogil=True)
def _rotated(front, height, inside, rims, cosine, sine, middle, sides):
    """Draws the front and back of every row as chains of segments with a depth test."""
    rows, columns = height.shape
    picture = np.zeros((rows, columns, 3), np.float32)
    depth = np.full((rows, columns), np.float32(-1e9), np.float32)
    for row in range(rows):
        for face in range(sides):
            side = 1 - 2 * face
            for column in range(columns - 1):
                if not (inside[row, column] and inside[row, column + 1]):
                    continue
                x0, x1 = column - middle, column + 1 - middle
                z0, z1 = side * height[row, column], side * height[row, column + 1]
                a, b = x0 * cosine - z0 * sine + middle, x1 * cosine - z1 * sine + middle
                da, db = z0 * cosine + x0 * sine, z1 * cosine + x1 * sine
                low, high = min(a, b), max(a, b)
                for target in range(max(0, int(np.ceil(low))), min(columns - 1, int(np.floor(high))) + 1):
                    share = (target - a) / (b - a) if b != a else np.float32(0.0)
                    nearness = da + share * (db - da)
                    if nearness > depth[row, target]:
                        depth[row, target] = nearness
                        for channel in range(3):
                            if side == 1:
                                first, second = front[row, column, channel], front[row, column + 1, channel]
                                picture[row, target, channel] = first + share * (second - first)
                            else:
                                end = 0 if x0 < 0 else 1
                                picture[row, target, channel] = rims[row, end, channel]
    return picture, depth


def warm_up() -> None:
    """Compiles the kernel, or loads it from the cache."""
    tile = np.zeros((16, 16), np.float32)
    tile[4:12, 4:12] = 1
    turned(np.repeat(tile[..., None], 3, axis=2), tile, 10.0, 5.0)
