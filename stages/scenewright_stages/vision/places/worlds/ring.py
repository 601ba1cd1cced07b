"""Extends one photograph to a panorama: a ring of the photograph and its mirror images, closed behind the camera.

It is openly a kaleidoscope. The photograph is straight ahead, and mirror images continue it seamlessly to the sides.
Above is only the colour of the sky; below is the ground, mirrored in its distance from the camera, which preserves
shapes on a plane and shrinks them towards the feet as perspective does. Without a sky, such as indoors, the upper
border is extended.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from scenewright_stages.vision.places.worlds.panorama import directions, sky_coloured
from scenewright_stages.vision.types import Float32Array, Mask

_LEAST_SKY = 0.1
"""Share of the upper border that has colours of the sky, below which there is none."""
_GROUND = 0.75
"""What lies between the lower border and this share of its slope is ground."""
_MIRRORED = 2.0
"""How often ground is mirrored until little of its detail is left: mirrored for ever, it would be a pattern."""
_SHARP_DEGREES, _GROUND_DEGREES, _LEVELS = 1.0, 6.0, 12
"""How far colours are mixed sideways at the borders, and in how many steps towards the poles."""


@dataclass(frozen=True, eq=False)
class Ring:
    """A panorama made of one photograph.

    Attributes:
        srgb: (H, 2 H, 3) float32, complete.
        photographed, mirrored: (H, 2 H) bool, origin of each pixel.
    """

    srgb: Float32Array
    photographed: Mask
    mirrored: Mask


def mirrored_ring(photograph: Float32Array, horizontal_degrees: float, height: int) -> Ring:
    """The ring of a photograph (H, W, 3) with a field of view in degrees, as a panorama of `height` rows."""
    factor = min(1.0, height / 180 * horizontal_degrees / photograph.shape[1])
    size = [max(2, round(side * factor)) for side in photograph.shape[1::-1]]
    small = np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), np.float32)
    rows, columns = small.shape[:2]
    rays = directions(height).astype(np.float64)
    azimuth = np.degrees(np.arctan2(rays[..., 0], rays[..., 2]))
    place = np.radians(folded(azimuth, horizontal_degrees))
    focal = columns / 2 / np.tan(np.radians(horizontal_degrees) / 2)
    slope = rays[..., 1] / np.maximum(np.hypot(rays[..., 0], rays[..., 2]), 1e-9)
    x, y = np.tan(place) * focal + columns / 2, slope / np.cos(place) * focal + rows / 2
    known = (y >= 0) & (y < rows)
    border = rows / 2 * np.cos(place) / focal
    inside, times = mirrored_slope(np.maximum(slope, border), border)
    y = np.where(y < rows, y, inside / np.cos(place) * focal + rows / 2)
    spots = [np.clip(each - 0.5, -1, 30_000).astype(np.float32) for each in (x, y)]
    srgb = np.asarray(
        cv2.remap(small, spots[0], spots[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    ahead = np.abs(azimuth) <= horizontal_degrees / 2
    above, below = ~known & (slope < 0), ~known & (slope > 0)
    srgb = _with_ground(_with_sky(srgb, above), below, times)
    return Ring(srgb, known & ahead, known & ~ahead)


def mirrored_slope(
    slope: NDArray[np.float64], border: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The slope in the photograph to use for slopes below its lower border, and how often it is mirrored.

    The ground distance is height / slope; its logarithm is folded into the range that the photograph shows.
    """
    band = -np.log(_GROUND)
    times = np.log(slope / border) / band
    return np.asarray(border * np.exp(-band * np.minimum(times % 2, 2 - times % 2))), np.asarray(times)


def _with_sky(srgb: Float32Array, above: Mask) -> Float32Array:
    """Adds the part above the upper border: its colours (the sky's if any), blended more towards the pole."""
    first = np.argmin(above, axis=0)
    border = srgb[first, np.arange(srgb.shape[1])]
    # Edges in front of the sky mix both colours.
    sky = minimum_filter1d(sky_coloured(border), 5, mode="wrap")
    usable = sky if sky.mean() >= _LEAST_SKY else np.ones_like(sky)
    share = 1 - (np.arange(len(srgb))[:, None] + 0.5) / np.maximum(first, 1)
    mixed = _mixed(border, usable.astype(np.float64), share, _SHARP_DEGREES)
    return np.where(above[..., None], mixed, srgb).astype(np.float32)


def _with_ground(srgb: Float32Array, below: Mask, times: NDArray[np.float64]) -> Float32Array:
    """Adds the ground below the lower border, with less detail the more `times` (H, W) it was mirrored."""
    first = np.argmax(below, axis=0)
    border = srgb[np.maximum(first - 1, 0), np.arange(srgb.shape[1])]
    share = (np.arange(len(srgb))[:, None] + 0.5 - first) / np.maximum(len(srgb) - first, 1)
    mixed = _mixed(border, np.ones(len(border)), share, _GROUND_DEGREES)
    kept = np.exp(-times / _MIRRORED)[..., None]
    return np.where(below[..., None], srgb * kept + mixed * (1 - kept), srgb).astype(np.float32)


def _mixed(
    border: Float32Array, weight: NDArray[np.float64], share: NDArray[np.float64], degrees: float
) -> NDArray[np.float64]:
    """(H, W, 3) colours (W, 3) of a closed border, blended sideways over a distance that grows with share (H, W).

    Colours of weight (W,) 0 are replaced by the others. `degrees` is the blend distance at share 0.
    """
    columns = len(border)
    wide = _around(border, weight, columns / 4)
    levels = []
    for reach in np.geomspace(degrees, 90.0, _LEVELS) / 360 * columns:
        near, sure = _around(border, weight, reach), gaussian_filter1d(weight, reach, mode="wrap")[:, None]
        # If nothing usable is near, use colours from the whole circle.
        levels.append(near * np.clip(20 * sure, 0, 1) + wide * (1 - np.clip(20 * sure, 0, 1)))
    place = np.clip(share, 0, 1) * (_LEVELS - 1)
    lower = np.minimum(place.astype(int), _LEVELS - 2)
    part = (place - lower)[..., None]
    stacked, at = np.stack(levels), np.broadcast_to(np.arange(columns), lower.shape)
    return np.asarray(stacked[lower, at] * (1 - part) + stacked[lower + 1, at] * part)


def _around(colours: Float32Array, weight: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """(W, 3) weighted circular moving average over the columns."""
    total = gaussian_filter1d(weight, reach, mode="wrap")[:, None]
    return np.asarray(
        gaussian_filter1d(colours * weight[:, None], reach, axis=0, mode="wrap") / np.maximum(total, 1e-9)
    )


def folded(azimuth: NDArray[np.float64], horizontal_degrees: float) -> NDArray[np.float64]:
    """Angle within the photograph for an azimuth: identity straight ahead, then alternately mirrored.

    The mirror images are slightly stretched, so that both sides meet at the photograph's centre behind the camera.
    """
    half = horizontal_degrees / 2
    beyond = np.maximum(np.abs(azimuth) - half, 0.0)
    turns = max(0, round((180.0 - half) / horizontal_degrees - 0.5))
    travelled = beyond * (turns + 0.5) * horizontal_degrees / (180.0 - half)
    phase = travelled % (2 * horizontal_degrees)
    swing = np.where(phase < horizontal_degrees, half - phase, phase - 3 * half)
    return np.asarray(np.where(np.abs(azimuth) <= half, azimuth, np.sign(azimuth) * swing))
