"""Templates of the object: its features in a few rotations and at many sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from scenewright_stages.vision.imaging.colour import linear_from_srgb, srgb_from_linear
from scenewright_stages.vision.subjects.matching.features import Features, features_of
from scenewright_stages.vision.subjects.relief import thickness_at, turned
from scenewright_stages.vision.subjects.scenery.standing import base_of
from scenewright_stages.vision.types import Float32Array

YAWS = (0.0, -22.0, 22.0)
"""Turns that the search tries, degrees; between them the fine alignment bridges."""
_SIDE = 240
"""Longer side at which the object is kept, pixels."""
_ROOM = 0.12
"""Around the object, as a share of its longer side."""
_BACKGROUNDS = (0.05, 0.45, 0.95)


@dataclass(frozen=True, eq=False)
class View:
    """The object at one rotation: (h, w, 3) sRGB in [0, 1], valid beyond the outline, and (h, w) alpha."""

    yaw: float
    srgb: Float32Array
    alpha: Float32Array

    @cached_property
    def extent(self) -> float:
        """Longer side of the object in this view, pixels."""
        rows, columns = np.nonzero(self.alpha > 0.5)
        return float(max(np.ptp(rows), np.ptp(columns)) + 1)


@dataclass(frozen=True, eq=False)
class Template:
    """A view at one size.

    Attributes:
        view: the view.
        scale: template pixels per view pixel.
        features: on a grid of cells.
        outline: (h, w) float32 weight of each cell's edges.
        inside: (h, w) float32 weight of each cell's colour.
        deep: (h, w) float32, 1 where a cell's edges do not belong to the outline.
    """

    view: View
    scale: float
    features: Features
    outline: Float32Array
    inside: Float32Array
    deep: Float32Array


def views_of(srgb: Float32Array, alpha: Float32Array, yaws: Sequence[float] = YAWS) -> list[View]:
    """The object of a photo from the front and rotated.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        alpha: (H, W) float32, the object's matte.
        yaws: degrees.
    """
    colours, cover = _framed(srgb, alpha)
    linear = linear_from_srgb(_continued(colours, cover))
    thickness = thickness_at(base_of(cover >= 0.5).pitch)
    found = []
    for yaw in yaws:
        front, inside = turned(linear, cover, yaw, 0.0, thickness)
        found.append(View(yaw, _continued(np.clip(srgb_from_linear(front), 0, 1), inside), inside))
    return found


def template_of(view: View, side: float, cell: int) -> Template:
    """The template of a view at which the object's longer side has `side` pixels."""
    scale = side / view.extent
    height, width = (max(cell, round(length * scale / cell) * cell) for length in view.alpha.shape)
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    colours = np.asarray(cv2.resize(view.srgb, (width, height), interpolation=shrink), np.float32)
    cover = np.asarray(cv2.resize(view.alpha, (width, height), interpolation=shrink), np.float32)
    # The background of the outline is unknown, so use edges that hold on both dark and bright backgrounds.
    before = [features_of(cover[..., None] * colours + (1 - cover[..., None]) * grey, cell) for grey in _BACKGROUNDS]
    edges = np.asarray(np.mean([each.edges for each in before], axis=0), np.float32)
    cells = (width // cell, height // cell)
    inside = cv2.resize(cv2.erode(cover, np.ones((3, 3), np.uint8)), cells, interpolation=cv2.INTER_AREA)
    around = cv2.resize(cv2.dilate(cover, np.ones((3, 3), np.uint8)), cells, interpolation=cv2.INTER_AREA)
    filled = features_of(colours, cell).colours
    reach = 4 * cell + 1
    deep = cv2.resize(cv2.erode(cover, np.ones((reach, reach), np.uint8)), cells, interpolation=cv2.INTER_AREA)
    return Template(
        view,
        scale,
        Features(edges, filled),
        np.asarray(around, np.float32),
        np.asarray(inside**2, np.float32),
        (deep > 0.5).astype(np.float32),
    )


def _framed(srgb: Float32Array, alpha: Float32Array) -> tuple[Float32Array, Float32Array]:
    """The object with a margin, at the stored size."""
    rows, columns = np.flatnonzero((alpha >= 0.5).any(axis=1)), np.flatnonzero((alpha >= 0.5).any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    factor = min(1.0, _SIDE / max(bottom - top, right - left))
    size = (max(8, round((right - left) * factor)), max(8, round((bottom - top) * factor)))
    colours = cv2.resize(srgb[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    cover = cv2.resize(alpha[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    room = round(_ROOM * max(size)) + 4
    pads = ((room, room), (room, room))
    return (
        np.pad(colours, (*pads, (0, 0)), mode="edge").astype(np.float32),
        np.pad(cover, pads).astype(np.float32),
    )


def _continued(colours: Float32Array, cover: Float32Array) -> Float32Array:
    """Extends the object's colours beyond its outline, so that no background of its photo shows."""
    weight = np.where(cover > 0.9, np.float32(1), np.float32(0))
    total, known = colours * weight[..., None], weight
    result = total.copy()
    for sigma in (1.5, 4.0, 12.0, 40.0):
        blurred, seen = cv2.GaussianBlur(total, (0, 0), sigma), cv2.GaussianBlur(known, (0, 0), sigma)
        empty = (weight == 0) & (seen > 1e-3)
        result[empty] = blurred[empty] / seen[empty][:, None]
        weight = np.where(empty, np.float32(1), weight)
    return np.asarray(result, np.float32)
