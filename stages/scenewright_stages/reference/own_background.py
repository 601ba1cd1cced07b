"""Scenes on the photo's own background: the view near the object's original position, with the photo's own shadow.

All scenes share one background. To vary them, each iteration draws its own crop, offset, distance, exposure, light
colour and noise. The mask is exact, because it moves with the view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.colour import srgb_from_linear
from scenewright_stages.vision.imaging.regions import bounding_box
from scenewright_stages.vision.subjects.scenery.composition import Cutout, warped_layer
from scenewright_stages.vision.types import Float32Array

_ASIDE = 0.12
"""Farthest step aside, as a share of the photo's width: nobody knows where the table ends."""
_DOWN = 0.06
"""Farthest step nearer or farther, as a share of its height."""
_NEARER = 0.12
"""How much larger the object is after the farthest step nearer."""
_CLOSEST_CROP = 0.72
_MARGIN = 4.0
_BAND = 256
"""Rows that are developed at once: a photo of 24 megapixels has no room for several copies of itself."""
_EXPOSURE, _WARMTH = 0.16, 0.05
"""Largest change of the light, as logarithms."""


@dataclass(frozen=True, eq=False)
class OwnPlace:
    """The photo without its object.

    Attributes:
        empty: (H, W, 3) float32 linear.
        left: (H, W) float32, the share of light that the object's shadow leaves.
        column, row: original pixel position of the middle of the object's base.
    """

    empty: Float32Array
    left: Float32Array
    column: float
    row: float


@dataclass(frozen=True)
class _Draw:
    """An iteration's placement of the view, in pixels of the photo, and its light."""

    column: float
    row: float
    scale: float
    crop_left: float
    crop_top: float
    crop: float
    gains: tuple[float, float, float]


def own_scene(
    place: OwnPlace, view: Cutout | None, rng: np.random.Generator, larger: float = 1.0
) -> tuple[Float32Array, Float32Array, NDArray[np.float64], dict[str, Any]]:
    """(H, W, 3) float32 sRGB, (H, W) coverage of the object, the (2, 3) map of its view to that, and metadata.

    Args:
        place: the background.
        view: the object's view; None for a scene without the object.
        rng: for all random draws.
        larger: how much larger than its view the object is in the photo.
    """
    height, width = place.left.shape
    drawn = _draw(place, None if view is None else larger * _reach(view), rng)
    # Maps the photo's pixels to those of its crop, which is enlarged to the photo's size.
    zoom = 1 / drawn.crop
    crop = np.array([[zoom, 0, -zoom * drawn.crop_left], [0, zoom, -zoom * drawn.crop_top]])
    size = (width, height)
    picture = np.asarray(cv2.warpAffine(place.empty, crop, size, borderMode=cv2.BORDER_REPLICATE), np.float32)
    cover = np.zeros((height, width), np.float32)
    move = crop
    if view is not None:
        shadow = _moved(crop, drawn.scale, (place.column, place.row), (drawn.column, drawn.row))
        left = cv2.warpAffine(place.left, shadow, size, borderMode=cv2.BORDER_CONSTANT, borderValue=1.0)
        picture *= np.clip(left, 0, 1)[..., None]
        move = _moved(crop, larger * drawn.scale, (view.base.column, view.base.row), (drawn.column, drawn.row))
        layer, cover = warped_layer(view.colours, view.alpha, move, zoom * larger * drawn.scale, size)
        shown = _where_it_shows(cover)
        picture[shown] += cover[shown][..., None] * (layer[shown] - picture[shown])
        del layer
    facts = {"scale": round(drawn.scale, 4), "crop": round(drawn.crop, 4), "light_gains": [*drawn.gains]}
    gains = np.array(drawn.gains, np.float32)
    for start in range(0, height, _BAND):
        band = picture[start : start + _BAND]
        np.clip(srgb_from_linear(band * gains), 0, 1, out=band)
    return picture, cover, move, facts


def _where_it_shows(cover: Float32Array) -> tuple[slice, slice]:
    """Rows and columns of the object."""
    left, top, right, bottom = bounding_box(cover > 0)
    return slice(top, bottom), slice(left, right)


def _draw(place: OwnPlace, extent: NDArray[np.float64] | None, rng: np.random.Generator) -> _Draw:
    """Draws a placement; `extent` is how far the object reaches from its base, in the photo, if it is there at all."""
    height, width = place.left.shape
    nearer, aside = float(rng.uniform(-1, 1)), float(rng.uniform(-_ASIDE, _ASIDE)) * width
    exposure, warmth = float(rng.uniform(-_EXPOSURE, _EXPOSURE)), float(rng.uniform(-_WARMTH, _WARMTH))
    share, across, down = float(rng.uniform(_CLOSEST_CROP, 1)), float(rng.uniform()), float(rng.uniform())
    scale = 1 + _NEARER * nearer
    if extent is not None:
        scale = min(scale, *(np.array([width, height]) - 2 * _MARGIN - 1) / (extent[:2] + extent[2:]))
    column, row = place.column + aside, place.row + _DOWN * nearer * height
    # Left, top, right and bottom of the region that the crop must contain.
    inside = np.array([column, row, column, row])
    if extent is not None:
        reach = scale * extent
        column = _clamped(column, reach[0] + _MARGIN, width - reach[2] - _MARGIN)
        row = _clamped(row, reach[1] + _MARGIN, height - reach[3] - _MARGIN)
        inside = np.array([column, row, column, row]) + reach * np.array([-1, -1, 1, 1])
        needed = max((inside[2] - inside[0] + 2 * _MARGIN) / width, (inside[3] - inside[1] + 2 * _MARGIN) / height)
        share = min(1.0, max(share, needed))
    return _Draw(
        column,
        row,
        float(scale),
        _start(inside[0], inside[2], share * width, width, across),
        _start(inside[1], inside[3], share * height, height, down),
        share,
        light_gains(exposure, warmth),
    )


def light_gains(exposure: float, warmth: float) -> tuple[float, float, float]:
    """Gains of linear red, green and blue by which a camera's exposure and white balance differ, as logarithms."""
    red, green, blue = (round(float(gain), 4) for gain in np.exp(exposure + warmth * np.array([1.0, 0.0, -1.0])))
    return red, green, blue


def _reach(view: Cutout) -> NDArray[np.float64]:
    """(4,) distances in pixels from the middle of the base to the object's left, top, right and bottom."""
    rows, columns = np.nonzero(view.alpha > 0)
    base = view.base
    return np.array(
        [base.column - columns.min(), base.row - rows.min(), columns.max() - base.column, rows.max() - base.row],
        np.float64,
    )


def _clamped(value: float, low: float, high: float) -> float:
    """The value clamped between two limits; their midpoint if the limits cross."""
    return min(max(value, low), high) if low <= high else (low + high) / 2


def _start(first: float, last: float, length: float, side: float, share: float) -> float:
    """Start of a crop of that length that contains the interval from `first` to `last` and stays inside the photo."""
    low, high = max(0.0, last + _MARGIN - length), min(side - length, first - _MARGIN)
    return low + share * (high - low) if low < high else min(max(low, 0.0), max(side - length, 0.0))


def _moved(
    crop: NDArray[np.float64], scale: float, origin: tuple[float, float], goal: tuple[float, float]
) -> NDArray[np.float64]:
    """(2, 3) affine map from another image, scaled, to the photo's pixels and from there into the crop."""
    zoom = crop[0, 0]
    steps = [zoom * (goal[axis] - scale * origin[axis]) + crop[axis, 2] for axis in (0, 1)]
    return np.array([[zoom * scale, 0, steps[0]], [0, zoom * scale, steps[1]]])
