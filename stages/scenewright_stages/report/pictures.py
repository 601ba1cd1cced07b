"""Encodes images and videos for embedding in a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.colour import depth_colours, depth_limits, turbo

_JPEG_QUALITY = 88
# Grey for pixels without depth; the turbo colour map does not contain it.
_INVALID_GREY = 96
_MASK_COLOUR = np.array([255, 149, 0], np.float32)
_MASK_OPACITY = 0.65


@dataclass(frozen=True)
class Picture:
    """An encoded image with alt text and caption.

    Attributes:
        data: the file's bytes, of that media type.
        alt: alternative text.
        caption: a line below it; may be empty.
    """

    data: bytes
    media_type: Literal["image/png", "image/jpeg"]
    width: int
    height: int
    alt: str
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture as a data: URI."""
        return data_uri(self.media_type, self.data)


@dataclass(frozen=True)
class DepthPicture:
    """A depth map in the turbo colour map, red near and blue far, with its range in metres."""

    picture: Picture
    near: float
    far: float


@dataclass(frozen=True)
class Video:
    """An MP4 file that browsers play (H.264, yuv420p), and its poster."""

    data: bytes
    width: int
    height: int
    caption: str = ""
    poster: Picture | None = None

    @property
    def uri(self) -> str:
        """The video as a data: URI."""
        return data_uri("video/mp4", self.data)


def data_uri(media_type: str, data: bytes) -> str:
    """The data as an RFC 2397 ``data:`` URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def photograph(srgb: NDArray[np.floating], alt: str, caption: str = "") -> Picture:
    """JPEG of an (H, W, 3) float image, sRGB in [0, 1].

    Raises:
        ValueError: wrong shape, or values that are not finite.
    """
    return _encode(_as_bytes(srgb), alt, caption, ".jpg")


def mask_overlay(srgb: NDArray[np.floating], mask: NDArray[np.bool_], alt: str, caption: str = "") -> Picture:
    """JPEG of an (H, W, 3) sRGB image in which the pixels of an (H, W) mask are tinted orange.

    Raises:
        ValueError: if the sizes differ.
    """
    if mask.shape != srgb.shape[:2]:
        raise ValueError(f"mask {mask.shape} and image {srgb.shape} differ in size")
    pixels = _as_bytes(srgb).astype(np.float32)
    pixels[mask] = pixels[mask] * (1 - _MASK_OPACITY) + _MASK_COLOUR * _MASK_OPACITY
    return _encode(np.rint(pixels).astype(np.uint8), alt, caption, ".jpg")


def depth_picture(
    depth: NDArray[np.floating], alt: str, caption: str = "", depth_range: tuple[float, float] | None = None
) -> DepthPicture:
    """An (H, W) depth map in metres as a PNG; pixels that are not finite and positive are grey.

    Colours are linear in disparity, which keeps detail in the foreground. The range defaults to the 2nd to 98th
    percentile.
    """
    valid = np.isfinite(depth) & (depth > 0)
    near, far = depth_range or depth_limits(depth)
    coloured = depth_colours(depth, near, far)
    coloured[~valid] = _INVALID_GREY
    return DepthPicture(_encode(coloured, alt, caption, ".png"), near, far)


def depth_legend(near: float, far: float, ticks: int = 5) -> tuple[str, list[tuple[float, float]]]:
    """The colour map's legend: a CSS gradient from near to far, and (position in %, metres) of its ticks."""
    colours = turbo(np.linspace(1, 0, 17))
    stops = ", ".join(f"#{bytes(colour.tolist()).hex()}" for colour in colours)
    positions = np.linspace(0, 1, ticks)
    metres = 1 / (1 / near + positions * (1 / far - 1 / near))
    return f"linear-gradient(90deg, {stops})", [
        (float(100 * p), float(m)) for p, m in zip(positions, metres, strict=True)
    ]


def thumbnail(srgb: NDArray[np.floating], longest_side: int, alt: str) -> Picture:
    """A small JPEG of an (H, W, 3) sRGB image; never enlarged."""
    scale = min(1.0, longest_side / max(srgb.shape[:2]))
    size = [max(1, round(side * scale)) for side in srgb.shape[1::-1]]
    small = cv2.resize(np.asarray(srgb, np.float32), size, interpolation=cv2.INTER_AREA)
    return photograph(np.asarray(small, np.float32), alt)


def evenly_spaced(total: int, count: int) -> list[int]:
    """Indices of count items spread over total items, first and last included."""
    if total <= count:
        return list(range(total))
    return [round(position) for position in np.linspace(0, total - 1, count)]


def _as_bytes(srgb: NDArray[np.floating]) -> NDArray[np.uint8]:
    if srgb.ndim != 3 or srgb.shape[2] != 3:
        raise ValueError(f"image has shape {srgb.shape}, expected (H, W, 3)")
    if not np.isfinite(srgb).all():
        raise ValueError("image holds values that are not finite")
    return np.asarray(np.rint(np.clip(srgb, 0, 1) * 255), np.uint8)


def _encode(rgb: NDArray[np.uint8], alt: str, caption: str, suffix: Literal[".jpg", ".png"]) -> Picture:
    options: Sequence[int] = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY) if suffix == ".jpg" else ()
    done, data = cv2.imencode(suffix, rgb[..., ::-1], options)
    if not done:
        raise ValueError(f"an image of shape {rgb.shape} cannot be encoded as {suffix}")
    height, width = rgb.shape[:2]
    media_type: Literal["image/png", "image/jpeg"] = "image/jpeg" if suffix == ".jpg" else "image/png"
    return Picture(data.tobytes(), media_type, width, height, alt, caption)
