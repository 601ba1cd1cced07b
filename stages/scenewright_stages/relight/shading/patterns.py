"""Random shadow patterns: the visibility of the direct light at each pixel.

``perlin`` is gradient noise in octaves (Perlin 1985), like distant foliage; ``geometric`` is window bars, a half plane
(the edge of a wall) or leaves; ``blob`` is a few large soft spots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float32Array

Kind = Literal["perlin", "geometric", "blob"]

PATTERNS: tuple[Kind, ...] = ("perlin", "geometric", "blob")

_WORKING_SIDE = 256  # patterns are drawn that large and enlarged: none has finer detail than its softness
_SUPERSAMPLING = 16
_LEAST_SOFTNESS = 0.006  # of the working side; hides the upsampling


def shadow_pattern(
    kind: Kind, shape: tuple[int, int], generator: np.random.Generator, softness: float = 0.04, opacity: float = 1.0
) -> Float32Array:
    """A random shadow pattern.

    Args:
        kind: one of :data:`PATTERNS`.
        shape: (H, W) of the image.
        generator: for all random draws, whose number does not depend on the image's size.
        softness: standard deviation of the penumbra as a share of the image's longer side.
        opacity: in [0, 1]: the darkest pixel is ``1 - opacity``.

    Returns:
        (H, W) float32 in [0, 1].

    Raises:
        ValueError: unknown kind.
    """
    drawers: dict[str, Callable[[tuple[int, int], np.random.Generator], Float32Array]] = {
        "perlin": _perlin,
        "geometric": _geometric,
        "blob": _blobs,
    }
    if kind not in drawers:
        raise ValueError(f"{kind!r} is not a shadow pattern: {', '.join(drawers)}")
    height, width = shape
    scale = min(1.0, _WORKING_SIDE / max(shape))
    small = (max(1, round(height * scale)), max(1, round(width * scale)))
    light = soft_shadow(drawers[kind](small, generator), max(softness, _LEAST_SOFTNESS), opacity)
    if light.shape == shape:
        return light
    enlarged = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(enlarged, np.float32(1 - opacity), np.float32(1)).astype(np.float32)


def soft_shadow(dark: Float32Array, softness: float, opacity: float = 1.0) -> Float32Array:
    """Light visibility of a soft shadow, from the hard shadow of its occluder.

    Args:
        dark: (H, W) float32 in [0, 1], 1 where the hard shadow lies.
        softness: standard deviation of the penumbra as a share of the longer side.
        opacity: in [0, 1], share of the light that the occluder blocks.

    Returns:
        (H, W) float32 in [1 - opacity, 1].
    """
    blurred = cv2.GaussianBlur(dark, (0, 0), softness * max(dark.shape), borderType=cv2.BORDER_REFLECT_101)
    return (np.float32(1) - np.float32(opacity) * np.clip(blurred, 0, 1)).astype(np.float32)


def _perlin(shape: tuple[int, int], generator: np.random.Generator) -> Float32Array:
    cells = generator.uniform(2.5, 4.5)
    offset = generator.uniform(0, 1, 2)
    noise = np.zeros(shape, np.float32)
    for octave in range(3):
        gradients = generator.uniform(0, 2 * math.pi, (32, 32))
        noise += _gradient_noise(shape, cells * 2**octave, offset, gradients) / np.float32(2**octave)
    ease = np.clip((noise + np.float32(0.25)) / np.float32(0.5), 0, 1)
    result: Float32Array = ease * ease * (3 - 2 * ease)
    return result


def _gradient_noise(
    shape: tuple[int, int], cells: float, offset: NDArray[np.float64], gradients: NDArray[np.float64]
) -> Float32Array:
    """Perlin noise with `cells` cells along the longer side; the lattice repeats after 32."""
    step = cells / max(shape)
    y = (np.arange(shape[0]) + 0.5) * step + offset[0]
    x = (np.arange(shape[1]) + 0.5) * step + offset[1]
    rows, columns = np.floor(y).astype(int), np.floor(x).astype(int)
    down, across = (y - rows)[:, None], (x - columns)[None]
    blend_down, blend_across = _fade(down), _fade(across)
    to_right, to_bottom = np.cos(gradients), np.sin(gradients)
    corners = []
    for below in (0, 1):
        sides = []
        for beside in (0, 1):
            place = np.ix_((rows + below) % 32, (columns + beside) % 32)
            sides.append(to_right[place] * (across - beside) + to_bottom[place] * (down - below))
        corners.append(sides[0] + blend_across * (sides[1] - sides[0]))
    noise: Float32Array = (corners[0] + blend_down * (corners[1] - corners[0])).astype(np.float32)
    return noise


def _fade(share: NDArray[np.float64]) -> NDArray[np.float64]:
    smooth: NDArray[np.float64] = share**3 * (share * (share * 6 - 15) + 10)
    return smooth


def _geometric(shape: tuple[int, int], generator: np.random.Generator) -> Float32Array:
    draw = (_window_bars, _half_plane, _leaves)[int(generator.integers(3))]
    return draw(shape, generator)


def _window_bars(shape: tuple[int, int], generator: np.random.Generator) -> Float32Array:
    """Parallel bars, sometimes crossed by others: a blind or a lattice window."""
    angle = generator.uniform(-0.6, 0.6) + (math.pi / 2 if generator.random() < 0.5 else 0.0)
    period, share, phase = generator.uniform(0.16, 0.34), generator.uniform(0.25, 0.45), generator.random(2)
    crossed = generator.random() < 0.5
    across, along = _rotated(shape, angle)
    dark = _bars(across / period + phase[0], share)
    if crossed:
        dark = np.maximum(dark, _bars(along / (1.4 * period) + phase[1], 0.6 * share))
    return dark.astype(np.float32)


def _bars(position: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return ((position % 1.0) < share).astype(np.float64)


def _half_plane(shape: tuple[int, int], generator: np.random.Generator) -> Float32Array:
    """Everything on one side of a line through the middle part of the image."""
    angle, shift = generator.uniform(0, 2 * math.pi), generator.uniform(-0.15, 0.15)
    across, _ = _rotated(shape, angle)
    dark: Float32Array = (across > shift).astype(np.float32)
    return dark


def _leaves(shape: tuple[int, int], generator: np.random.Generator) -> Float32Array:
    """Many small pointed ovals, like leaves on a twig."""
    dark = np.zeros(shape, np.float32)
    side = max(shape)
    for _ in range(int(generator.integers(24, 48))):
        x, y, angle, length, slim = generator.random(5)
        _draw_leaf(dark, (x, y), angle * 360, (0.05 + 0.07 * length) * side, 0.3 + 0.2 * slim)
    return dark


def _draw_leaf(dark: Float32Array, place: tuple[float, float], degrees: float, length: float, slim: float) -> None:
    across = np.linspace(-1, 1, 13)
    outline = np.concatenate([np.stack([across, 1 - across**2], 1), np.stack([-across, across**2 - 1], 1)])
    outline *= (length / 2, slim * length / 2)
    angle = math.radians(degrees)
    turned: NDArray[np.float64] = outline @ np.array(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    )
    middle = np.array([place[0] * dark.shape[1], place[1] * dark.shape[0]])
    points = (turned + middle) * _SUPERSAMPLING
    cv2.fillPoly(dark, [np.rint(points).astype(np.int32)], 1.0, lineType=cv2.LINE_8, shift=4)


def _blobs(shape: tuple[int, int], generator: np.random.Generator) -> Float32Array:
    """Two to four soft ovals."""
    dark = np.zeros(shape, np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    side = np.float32(max(shape))
    for _ in range(int(generator.integers(2, 5))):
        column, row, wide, tall, angle = generator.random(5).tolist()
        u, v = x / side - column * shape[1] / side, y / side - row * shape[0] / side
        cosine, sine = math.cos(math.pi * angle), math.sin(math.pi * angle)
        first, second = (u * cosine + v * sine) / (0.12 + 0.2 * wide), (v * cosine - u * sine) / (0.12 + 0.2 * tall)
        distance = np.sqrt(first * first + second * second)
        ease = np.clip((np.float32(1.3) - distance) / np.float32(0.6), 0, 1)
        dark = np.maximum(dark, (ease * ease * (3 - 2 * ease)).astype(np.float32))
    return dark


def _rotated(shape: tuple[int, int], angle: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates across and along a direction; 0 in the middle, the longer side has length 1."""
    side = max(shape)
    y = ((np.arange(shape[0]) + 0.5) - shape[0] / 2)[:, None] / side
    x = ((np.arange(shape[1]) + 0.5) - shape[1] / 2)[None] / side
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
