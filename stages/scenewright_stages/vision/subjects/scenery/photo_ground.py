"""A user's photo as the background of a scene: estimates its ground, light and exposure.

A photo does not give the direction of its light. Colour and strength are estimated from the photo, the direction from
the brighter side of its upper half; the light never comes horizontally or from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.vision.subjects.scenery.panorama import Panorama
from scenewright_stages.vision.types import Float32Array

_SHOULDER = 0.75
_LIGHT_ROWS, _LIGHT_COLUMNS = 64, 128
_KEY_SHARE = 0.55
"""Share of the light that comes from the brighter side at most; the rest comes from all over the sky."""
_LAMP_ROW = 17
"""Of the light: 40 degrees above the horizon."""
_LAMP_RADIUS = 7
_COLOUR = 0.5
"""How much of the photo's mean colour is taken for the light's; the rest is the colour of things."""


@dataclass(frozen=True, eq=False)
class PhotoGround:
    """A photo cropped to the image, in linear light with the tone curve inverted.

    Attributes:
        pixels: (H, W, 3) float32.
        horizon: row at which its ground begins; None if the camera looks down on it as on the object.
        exposure: linear value of a white sheet on its ground.
    """

    pixels: Float32Array
    horizon: float | None
    exposure: float


def fitted(linear: Float32Array, width: int, height: int, across: float, down: float) -> Float32Array:
    """(height, width, 3) the largest crop of a photo with that aspect ratio, at a position given by two fractions."""
    rows, columns = linear.shape[:2]
    factor = max(width / columns, height / rows)
    part_width, part_height = min(columns, round(width / factor)), min(rows, round(height / factor))
    left, top = round(across * (columns - part_width)), round(down * (rows - part_height))
    part = linear[top : top + part_height, left : left + part_width]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.maximum(cv2.resize(part, (width, height), interpolation=how), 0).astype(np.float32)


def without_tone_curve(linear: Float32Array) -> Float32Array:
    """Inverse of the tone curve's highlight roll-off."""
    room = 1 - _SHOULDER
    high = _SHOULDER - room * np.log(np.maximum(1 - (linear - _SHOULDER) / room, 0.02))
    return np.where(linear > _SHOULDER, high, linear).astype(np.float32)


def light_of_photo(linear: Float32Array) -> tuple[Panorama, float]:
    """A sky that matches the photo's lighting, and the linear value of a white sheet below it.

    Args:
        linear: (H, W, 3) float32.
    """
    mean = linear.reshape(-1, 3).mean(axis=0)
    grey = max(float(mean.mean()), 1e-4)
    colour = np.clip(mean / grey, 0.4, 2.0) ** _COLOUR
    small = np.asarray(cv2.resize(linear, (32, 32), interpolation=cv2.INTER_AREA), np.float32).mean(axis=2)
    upper = small[:16]
    left, right = float(upper[:, :16].mean()), float(upper[:, 16:].mean())
    lean = (right - left) / max(right + left, 1e-4)
    # The middle column is straight ahead. Assume light from behind the camera, because the visible sides are lit.
    azimuth = math.radians(150.0 * (1 if lean >= 0 else -1) - 60.0 * float(np.clip(3 * lean, -1, 1)))
    share = _KEY_SHARE * min(1.0, 0.35 + 4 * abs(lean))
    light = np.zeros((_LIGHT_ROWS, _LIGHT_COLUMNS, 3), np.float32)
    light[: _LIGHT_ROWS // 2] = 1 - share
    lamp = np.zeros((_LIGHT_ROWS, _LIGHT_COLUMNS), np.float32)
    lamp[_LAMP_ROW - _LAMP_RADIUS : _LAMP_ROW + _LAMP_RADIUS, : 2 * _LAMP_RADIUS] = 1
    column = round((azimuth / (2 * math.pi) + 0.5) * _LIGHT_COLUMNS) - _LAMP_RADIUS
    lamp = np.roll(lamp, column, axis=1)
    light += (
        (share * _power(light) / max(_power(np.repeat(lamp[..., None], 3, axis=2)), 1e-6))
        * lamp[..., None]
        / max(1 - share, 1e-3)
    )
    # The photo's bright pixels show how bright things appear in its light.
    white = float(np.clip(1.15 * np.percentile(small, 80), 0.12, 0.95))
    return Panorama(np.zeros((8, 16, 3), np.float32), (light * colour).astype(np.float32)), white


def _power(light: Float32Array) -> float:
    """Irradiance over pi of (64, 128, 3) light on the ground, averaged over the channels."""
    elevation = (0.5 - (np.arange(_LIGHT_ROWS) + 0.5) / _LIGHT_ROWS) * math.pi
    weight = np.maximum(np.sin(elevation), 0) * np.cos(elevation)
    return float((light.mean(axis=2) * weight[:, None]).sum())
