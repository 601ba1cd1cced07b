"""One photograph as a panorama: a ring of itself and its mirror image, closed behind the camera.

It is openly a kaleidoscope. Ahead lies the photograph; to the sides its mirror images continue it without a seam; above
and below nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.world.panorama import directions

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Ring:
    """A panorama made of one photograph.

    Attributes:
        srgb: (H, 2 H, 3) float32, 0 where unknown.
        photographed, mirrored: (H, 2 H) bool, where each pixel comes from.
    """

    srgb: Floats
    photographed: Mask
    mirrored: Mask


def mirrored_ring(photograph: Floats, horizontal_degrees: float, height: int) -> Ring:
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
    spots = [np.clip(each - 0.5, -1, 30_000).astype(np.float32) for each in (x, y)]
    srgb = cv2.remap(small, spots[0], spots[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ahead = np.abs(azimuth) <= horizontal_degrees / 2
    return Ring(np.where(known[..., None], srgb, 0).astype(np.float32), known & ahead, known & ~ahead)


def folded(azimuth: NDArray[np.float64], horizontal_degrees: float) -> NDArray[np.float64]:
    """Degrees in a photograph that an azimuth shows: straight ahead itself, beside it to and fro.

    The mirror images are stretched a little so that both sides meet at its middle, straight behind the camera.
    """
    half = horizontal_degrees / 2
    beyond = np.maximum(np.abs(azimuth) - half, 0.0)
    turns = max(0, round((180.0 - half) / horizontal_degrees - 0.5))
    travelled = beyond * (turns + 0.5) * horizontal_degrees / (180.0 - half)
    phase = travelled % (2 * horizontal_degrees)
    swing = np.where(phase < horizontal_degrees, half - phase, phase - 3 * half)
    return np.asarray(np.where(np.abs(azimuth) <= half, azimuth, np.sign(azimuth) * swing))
