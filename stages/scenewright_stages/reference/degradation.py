"""Photometric degradations for data augmentation: six operations in a fixed order.

The order is black and white, saturation, contrast, brightness, motion blur, compression. Geometry never changes, so
labels stay valid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.vision.types import Uint8Array


@dataclass(frozen=True)
class Degradation:
    """The degradation of one image; None skips a step.

    Attributes:
        black_and_white: whether to remove all colour.
        saturation, contrast, brightness: factors; 1 changes nothing.
        blur: length of the motion blur in pixels.
        blur_degrees: its direction, 0 along the rows.
        qualities: JPEG qualities of the repeated compression, in order.
    """

    black_and_white: bool = False
    saturation: float | None = None
    contrast: float | None = None
    brightness: float | None = None
    blur: int | None = None
    blur_degrees: float = 0.0
    qualities: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return {**asdict(self), "qualities": list(self.qualities)}


@dataclass(frozen=True)
class Chances:
    """Probability of each step, in [0, 1], and the ranges of its parameters."""

    probabilities: Mapping[str, float]
    ranges: Mapping[str, tuple[float, float]]


def drawn(chances: Chances, seed: int) -> Degradation:
    """Draws the degradation of one image. Each step has its own draws, so changing a range affects no other step."""

    def generator(step: str) -> np.random.Generator:
        return np.random.default_rng([seed, *step.encode()])

    def happens(step: str) -> bool:
        return bool(generator(f"{step} happens").uniform() < chances.probabilities[step])

    def factor(step: str) -> float | None:
        return round(float(generator(step).uniform(*chances.ranges[step])), 4) if happens(step) else None

    def whole(step: str) -> int:
        low, high = chances.ranges[step]
        return int(generator(step).integers(round(low), round(high) + 1))

    qualities: tuple[int, ...] = ()
    if happens("compression"):
        low, high = chances.ranges["compression_quality"]
        rng = generator("compression_quality")
        qualities = tuple(
            int(value) for value in rng.integers(round(low), round(high) + 1, whole("compression_iterations"))
        )
    blurred = happens("motion_blur")
    return Degradation(
        happens("bw"),
        factor("saturation"),
        factor("contrast"),
        factor("brightness"),
        whole("motion_blur") if blurred else None,
        round(float(generator("blur angle").uniform(0, 180)), 2) if blurred else 0.0,
        qualities,
    )


def degraded(pixels: Uint8Array, how: Degradation) -> Uint8Array:
    """(H, W, 3) uint8 RGB after all steps."""
    if how.black_and_white:
        # Three equal channels stay equal, even through JPEG, so process one channel.
        return _three_channels(_degraded(_luma(pixels), how))
    if how.saturation is not None:
        # Pillow's enhancers blend with a degenerate image: grey, the mean grey, black.
        pixels = _blended(_three_channels(_luma(pixels)), pixels, how.saturation)
    return _degraded(pixels, how)


def _degraded(pixels: Uint8Array, how: Degradation) -> Uint8Array:
    """(H, W) grey or (H, W, 3) RGB after contrast and all later steps."""
    out = pixels
    if how.contrast is not None:
        mean = int(cv2.mean(out if out.ndim == 2 else _luma(out))[0] + 0.5)
        out = _towards(out, mean, how.contrast)
    if how.brightness is not None:
        out = _towards(out, 0, how.brightness)
    if how.blur is not None:
        out = motion_blurred(out, how.blur, how.blur_degrees)
    return _compressed(out, how.qualities) if how.qualities else out


def motion_blurred(pixels: Uint8Array, length: int, degrees: float) -> Uint8Array:
    """(H, W) or (H, W, 3) with linear motion blur."""
    return np.asarray(
        cv2.filter2D(pixels, -1, line_kernel(length, degrees), borderType=cv2.BORDER_REFLECT_101), np.uint8
    )


def line_kernel(length: int, degrees: float) -> NDArray[np.float32]:
    """(N, N) float32 with N odd: a one-pixel wide line of that length, normalised to sum 1."""
    side = max(3, length | 1)
    middle = side // 2
    along = np.arange(length) - (length - 1) / 2
    columns, rows = middle + along * math.cos(math.radians(degrees)), middle - along * math.sin(math.radians(degrees))
    kernel = np.zeros((side + 1, side + 1), np.float32)
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    right, down = columns - left, rows - top
    for at_row, at_column, weight in (
        (top, left, (1 - down) * (1 - right)),
        (top, left + 1, (1 - down) * right),
        (top + 1, left, down * (1 - right)),
        (top + 1, left + 1, down * right),
    ):
        np.add.at(kernel, (at_row, at_column), weight.astype(np.float32))
    kernel = kernel[:side, :side]
    return np.asarray(kernel / kernel.sum(), np.float32)


def _luma(pixels: Uint8Array) -> Uint8Array:
    # Match Pillow's rounding of luminance, because saturation amplifies differences.
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _three_channels(grey: Uint8Array) -> Uint8Array:
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def _blended(low: Uint8Array, high: Uint8Array, share: float) -> Uint8Array:
    """Pillow's blend of two images, which truncates fractions."""
    out = np.empty_like(high)
    _blend(low.reshape(-1), high.reshape(-1), np.float32(share), out.reshape(-1))
    return out


def _towards(pixels: Uint8Array, level: int, share: float) -> Uint8Array:
    """The same, with a constant grey level as the first image."""
    values = np.arange(256, dtype=np.uint8)
    return cv2.LUT(pixels, _blended(np.full_like(values, level), values, share))  # type: ignore[return-value]


def _compressed(pixels: Uint8Array, qualities: Sequence[int]) -> Uint8Array:
    grey = pixels.ndim == 2
    flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    out: Any = pixels if grey else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    for quality in qualities:
        _, file = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.imdecode(file, flag)
    return out if grey else cv2.cvtColor(out, cv2.COLOR_BGR2RGB)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _blend(low: Uint8Array, high: Uint8Array, share: np.float32, out: Uint8Array) -> None:
    for at in range(len(out)):
        value = np.float32(low[at]) + share * (np.float32(high[at]) - np.float32(low[at]))
        out[at] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    _blended(np.zeros(8, np.uint8), np.zeros(8, np.uint8), 0.5)
