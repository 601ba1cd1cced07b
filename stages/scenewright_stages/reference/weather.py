"""Applies another weather or light to a finished image: changes colours and adds haze or rain, never geometry."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from scenewright_stages.vision.imaging.colour import linear_from_srgb, srgb_from_linear
from scenewright_stages.vision.types import Float32Array


def in_weather(srgb: Float32Array, name: str, seed: int) -> Float32Array:
    """(H, W, 3) float32 sRGB in [0, 1]: the image in another weather or light.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        name: golden-hour, overcast, dusk, fog, rain or harsh-sun.
        seed: of its strength and directions.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    changed = np.clip(_WEATHERS[name](linear_from_srgb(srgb), rng), 0, 1).astype(np.float32)
    return np.asarray(srgb_from_linear(changed), np.float32)


def _golden_hour(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    glow = _slope(linear, rng) * rng.uniform(0.15, 0.45)
    warm = _contrast(linear, 1.05) * _tint(1.28, 1.0, 0.66) * (0.8 + glow) + glow * _tint(0.10, 0.06, 0.02)
    return np.asarray(warm, np.float32)


def _overcast(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    grey = linear.mean(axis=2, keepdims=True)
    return _contrast(grey + rng.uniform(0.5, 0.75) * (linear - grey), 0.8) * _tint(0.88, 0.95, 1.05)


def _dusk(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    return linear * _tint(0.55, 0.62, 0.95) * rng.uniform(0.3, 0.6)


def _fog(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    rows = np.linspace(1, 0, len(linear), dtype=np.float32)[:, None, None]
    density = rng.uniform(0.25, 0.55) * (0.35 + 0.65 * rows)
    return linear + density * (_tint(0.62, 0.64, 0.66) - linear)


def _rain(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    height, width = linear.shape[:2]
    drops = (rng.random((height, width)) > 0.9975).astype(np.float32)
    length = max(7, round(0.035 * height)) | 1
    kernel = np.zeros((length, length), np.float32)
    lean = rng.uniform(-0.25, 0.25)
    for row in range(length):
        kernel[row, round(length // 2 + lean * (row - length // 2))] = 1 / length
    streaks = cv2.GaussianBlur(cv2.filter2D(drops, -1, kernel), (0, 0), 0.6) * rng.uniform(1.2, 2.5)
    wet = _overcast(linear, rng) * 0.75
    return wet + streaks[..., None] * (0.75 - wet)


def _harsh_sun(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    light = 0.75 + rng.uniform(0.5, 0.9) * _slope(linear, rng)
    return _contrast(linear, rng.uniform(1.2, 1.45)) * light * _tint(1.06, 1.0, 0.9)


def _slope(linear: Float32Array, rng: np.random.Generator) -> Float32Array:
    """(H, W, 1) gradient in [0, 1] in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : linear.shape[0] * 1j, -1 : 1 : linear.shape[1] * 1j]
    return np.asarray((0.5 + (columns * np.cos(angle) + rows * np.sin(angle)) / 2.83)[..., None], np.float32)


def _contrast(linear: Float32Array, factor: float) -> Float32Array:
    middle = np.float32(0.18)
    return np.asarray(middle * (np.maximum(linear, 1e-4) / middle) ** np.float32(factor), np.float32)


def _tint(red: float, green: float, blue: float) -> Float32Array:
    return np.array([red, green, blue], np.float32)


_WEATHERS: dict[str, Callable[[Float32Array, np.random.Generator], Float32Array]] = {
    "golden-hour": _golden_hour,
    "overcast": _overcast,
    "dusk": _dusk,
    "fog": _fog,
    "rain": _rain,
    "harsh-sun": _harsh_sun,
}
