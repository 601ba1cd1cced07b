"""Separates a person from the background and composites a person onto one, in linear light.

Only edge pixels (0 < alpha < 255) are computed. All other bytes are copied, so the background stays bit-identical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes
from scenewright_stages.vision.imaging.matting import separate
from scenewright_stages.vision.types import Uint8Array

GREY_LEVEL = 128
REACH = 16
"""Pixels around the outline from which the colours of both sides are known: as far as `separate` looks."""


@dataclass(frozen=True, eq=False)
class Layers:
    """A photograph in layers.

    Attributes:
        foreground: (H, W, 3) uint8 sRGB, the person's own colours; black where alpha is 0.
        whole: (H, W, 3) uint8 sRGB, the photograph with the person's own colours on the edge pixels.
        behind: (N, 3) uint8 sRGB, the pure background colours at the N edge pixels.
        edge_error: mean difference, in levels of 255, between the photograph's edge pixels and what the certain colours
            on both sides explain of them; 0 without edge pixels. The layers themselves give the photograph back.
    """

    foreground: Uint8Array
    whole: Uint8Array
    behind: Uint8Array
    edge_error: float


def split_layers(photograph: Uint8Array, alpha: Uint8Array) -> Layers:
    """Foreground and background of a photograph.

    Args:
        photograph: (H, W, 3) uint8 sRGB.
        alpha: (H, W) uint8, the person's matte.
    """
    foreground, whole = np.zeros_like(photograph), photograph.copy()
    cv2.copyTo(photograph, _where(alpha == 255), foreground)
    edge = outline(alpha)
    if not edge.size:
        return Layers(foreground, whole, np.empty((0, 3), np.uint8), 0.0)
    front, back, plain = _both_sides(photograph, alpha)
    _row(foreground)[edge] = _row(whole)[edge] = front
    error = np.abs(plain.astype(np.int16) - _row(photograph)[edge]).mean()
    return Layers(foreground, whole, back, round(float(error), 3))


def background_of(whole: Uint8Array, behind: Uint8Array, alpha: Uint8Array) -> Uint8Array:
    """(H, W, 3) uint8 sRGB: the background, free of the person's colours at the edge; black where alpha is 255.

    Args:
        whole, behind: see :class:`Layers`.
        alpha: (H, W) uint8.
    """
    background = np.zeros_like(whole)
    cv2.copyTo(whole, _where(alpha == 0), background)
    _row(background)[outline(alpha)] = behind
    return background


def composite(person: Uint8Array, background: Uint8Array, alpha: Uint8Array) -> Uint8Array:
    """A person over a background: ``a F + (1 - a) B`` in linear light.

    Args:
        person: (H, W, 3) uint8 sRGB, valid where alpha is above 0.
        background: (H, W, 3) uint8 sRGB, valid where alpha is below 255.
        alpha: (H, W) uint8.

    Returns:
        (H, W, 3) uint8 sRGB; exactly the background's bytes where alpha is 0, and the person's where it is 255.
    """
    out = background.copy()
    cv2.copyTo(person, _where(alpha == 255), out)
    edge = outline(alpha)
    if edge.size:
        _row(out)[edge] = _over(_row(person)[edge], _row(background)[edge], alpha.reshape(-1)[edge])
    return out


def outline(alpha: Uint8Array) -> NDArray[np.intp]:
    """Flat indices, in row-major order, of the edge pixels, which show both layers."""
    return np.flatnonzero((alpha != 0) & (alpha != 255))


def plain_background(shape: tuple[int, ...], level: int) -> Uint8Array:
    """(H, W, 3) uint8 of one grey level."""
    return np.full(shape, level, np.uint8)


def _both_sides(photograph: Uint8Array, alpha: Uint8Array) -> tuple[Uint8Array, Uint8Array, Uint8Array]:
    """(N, 3) uint8 sRGB each: colours of person and background at the edge pixels, and what is explained of these."""
    left, top, width, height = cv2.boundingRect(_where((alpha != 0) & (alpha != 255)))
    window = np.s_[max(0, top - REACH) : top + height + REACH, max(0, left - REACH) : left + width + REACH]
    shown, cover = np.ascontiguousarray(photograph[window]), np.ascontiguousarray(alpha[window])
    sides = separate(linear_from_bytes(shown), np.divide(cover, np.float32(255), dtype=np.float32))
    edge = outline(cover)
    front, back, plain = (bytes_from_linear(_row(colours)[edge]) for colours in (sides.front, sides.back, sides.plain))
    return front, back, plain


def _row(image: NDArray[Any]) -> NDArray[Any]:
    """View of a contiguous image's pixels in row-major order."""
    return image.reshape(-1, 3)


def _where(chosen: NDArray[np.bool_]) -> Uint8Array:
    """A boolean mask as uint8 for OpenCV."""
    return chosen.view(np.uint8)


def _over(person: Uint8Array, background: Uint8Array, alpha: Uint8Array) -> Uint8Array:
    share = alpha[:, None].astype(np.float32) / np.float32(255)
    front, behind = linear_from_bytes(person), linear_from_bytes(background)
    return bytes_from_linear(share * front + (np.float32(1) - share) * behind)
