"""Reading and converting the 8-bit images that the stages hand to each other. Files hold what the maths used."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.colour import linear_from_srgb, srgb_from_linear, uint8_from_unit, unit_from_uint8

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_STEPS = 65535
"""Linear light is looked up in so many steps: a twentieth of a level of 255 where sRGB is steepest."""


def read_rgb(path: Path) -> Bytes:
    """(H, W, 3) uint8 sRGB of a PNG that a stage wrote."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def read_rgba(path: Path) -> tuple[Bytes, Bytes]:
    """(H, W, 3) uint8 sRGB and (H, W) uint8 alpha of a PNG that a stage wrote."""
    pixels = _read(path, cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), np.ascontiguousarray(pixels[..., 3])  # type: ignore[return-value]


def read_grey(path: Path) -> Bytes:
    """(H, W) uint8 of a PNG that a stage wrote."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def bytes_from_unit(values: Floats) -> Bytes:
    """[0, 1] to 0..255, rounded to nearest and clipped: :func:`uint8_from_unit` without its temporaries."""
    return cv2.convertScaleAbs(values, alpha=255.0)  # type: ignore[return-value]


def linear_from_bytes(srgb: Bytes) -> Floats:
    """sRGB bytes of any shape to linear light."""
    return cv2.LUT(srgb, _linear_of_bytes())  # type: ignore[return-value]


def linear_from_unit(srgb: Floats) -> Floats:
    """sRGB values in [0, 1] of any shape to linear light, by table."""
    return _linear_of_steps()[_step(srgb)]


def bytes_from_linear(linear: Floats) -> Bytes:
    """Linear light of any shape to sRGB bytes, clipped, by table."""
    return _bytes_of_steps()[_step(linear)]


def _step(values: Floats) -> NDArray[np.uint16]:
    """Nearest step of each value, clipped."""
    # As a plane of single values: OpenCV would scale the first channel only.
    plane = values.reshape(len(values), -1)
    scaled = cv2.multiply(plane, float(_STEPS), dtype=cv2.CV_16U)  # type: ignore[call-overload]
    return np.asarray(scaled, np.uint16).reshape(values.shape)


def _read(path: Path, how: int) -> Bytes:
    pixels = cv2.imread(str(path), how)
    if pixels is None:
        raise OSError(f"could not read {path.name}")
    return pixels  # type: ignore[return-value]


@cache
def _linear_of_bytes() -> Floats:
    return linear_from_srgb(unit_from_uint8(np.arange(256, dtype=np.uint8)))


@cache
def _linear_of_steps() -> Floats:
    return linear_from_srgb(np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS))


@cache
def _bytes_of_steps() -> Bytes:
    return uint8_from_unit(srgb_from_linear(np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS)))
