"""Reads photographs, and the 8-bit images that stages pass to each other; converts between bytes and linear light.

Stages compute in linear light or on values in [0, 1]. Files hold exactly the sRGB bytes that the maths used. Lookup
tables do the conversions.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.vision.imaging.colour import (
    linear_from_srgb,
    srgb_from_linear,
    uint8_from_unit,
    unit_from_uint8,
)
from scenewright_stages.vision.imaging.images import load_sample
from scenewright_stages.vision.imaging.images.decoding import bits_per_channel
from scenewright_stages.vision.imaging.images.loading import DEFAULT_LIMITS
from scenewright_stages.vision.types import Float32Array, Uint8Array

_END = b"\0\0\0\0IEND\xaeB`\x82"
_HARMLESS = frozenset({"dpi", "aspect", "srgb", "xmp"})
"""What a PNG may say, beside texts, without changing what its pixels mean. An orientation, profile or gamma does."""
_STEPS = 65535
"""Linear light is looked up in so many steps: a twentieth of a level of 255 where sRGB is steepest."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """An upright photograph.

    Attributes:
        pixels: (H, W, 3) uint8 sRGB, shown as the input in the data set.
        srgb: (H, W, 3) float32 sRGB in [0, 1]; more precise than `pixels` for 16-bit files.
        notes: conversions that a user may want to know about.
        png: the file itself if it is a plain PNG of exactly these pixels.
        alpha: (H, W) uint8 if the file has transparency; the pixels are then composited on white.
        orientation: EXIF's, by which the pixels were turned upright.
    """

    pixels: Uint8Array
    srgb: Float32Array
    notes: tuple[str, ...] = ()
    png: bytes | None = None
    alpha: Uint8Array | None = None
    orientation: int = 1


def one_thread_each() -> None:
    """Disables OpenCV's own threads, because stages already process several samples in parallel threads.

    Results do not depend on it.
    """
    cv2.setNumThreads(1)


def read_photograph(path: Path) -> Photograph:
    """Reads the upright photograph of a file; a plain PNG takes a fast path and keeps its bytes.

    Raises:
        SampleError: it is unusable; the reason is the reader's, such as ``ImageTruncated``.
    """
    data = path.read_bytes() if path.stat().st_size <= DEFAULT_LIMITS.max_bytes else b""
    pixels = plain_png(data)
    if pixels is not None:
        return Photograph(pixels, pixels.astype(np.float32) * np.float32(1 / 255), (), data)
    loaded = load_sample(path)
    alpha = None if loaded.alpha is None else bytes_from_unit(np.ascontiguousarray(loaded.alpha))
    return Photograph(
        bytes_from_unit(loaded.srgb), loaded.srgb, loaded.notes, alpha=alpha, orientation=loaded.orientation
    )


def plain_png(data: bytes) -> Uint8Array | None:
    """(H, W, 3) uint8 of an intact 8-bit RGB PNG without metadata that changes its pixels; None for other files."""
    if not data.endswith(_END):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if not _has_plain_pixels(image, data):
                return None
            # Verifying checks every checksum, but the image cannot be loaded afterwards.
            image.verify()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            texts = image.text  # type: ignore[attr-defined]
            return None if image.info.keys() - texts.keys() - _HARMLESS else np.array(image)
    except Exception:  # Pillow raises many types on damaged files; the careful reader says what is wrong
        return None


def _has_plain_pixels(image: Image.Image, data: bytes) -> bool:
    """Whether the header describes an 8-bit RGB image of acceptable size."""
    large = min(image.size) >= DEFAULT_LIMITS.min_side and image.width * image.height <= DEFAULT_LIMITS.max_pixels
    return large and image.mode == "RGB" and bits_per_channel(image, data) == 8


def read_rgb(path: Path) -> Uint8Array:
    """(H, W, 3) uint8 sRGB of a PNG that a stage wrote."""
    return cv2.cvtColor(_decoded(path), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def read_rgba(path: Path) -> tuple[Uint8Array, Uint8Array]:
    """(H, W, 3) uint8 sRGB and (H, W) uint8 alpha of a PNG that a stage wrote."""
    pixels = cv2.cvtColor(_decoded(path), cv2.COLOR_BGRA2RGBA)
    # Drops the fourth channel without reordering the first three.
    colours = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return colours, cv2.extractChannel(pixels, 3)  # type: ignore[return-value]


def with_alpha(colours: Uint8Array, alpha: Uint8Array) -> Uint8Array:
    """(H, W, 4) uint8 of (H, W, 3) colours and a (H, W) matte."""
    pixels = cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA)
    cv2.insertChannel(alpha, pixels, 3)
    return pixels  # type: ignore[return-value]


def write_json(path: Path, value: Any) -> Path:
    """Writes a JSON file in the format of all stages; returns its path."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def unit_from_bytes(values: Uint8Array) -> Float32Array:
    """0..255 of any shape to [0, 1]."""
    return np.multiply(values, np.float32(1 / 255), dtype=np.float32)


def bytes_from_unit(values: Float32Array) -> Uint8Array:
    """[0, 1] to 0..255, rounded to nearest and clipped, like :func:`uint8_from_unit` but without temporaries."""
    return cv2.convertScaleAbs(values, alpha=255.0)  # type: ignore[return-value]


def linear_from_bytes(srgb: Uint8Array) -> Float32Array:
    """sRGB bytes of any shape to linear light."""
    return cv2.LUT(srgb, _linear_of_bytes())  # type: ignore[return-value]


def linear_from_unit(srgb: Float32Array) -> Float32Array:
    """sRGB values in [0, 1] of any shape to linear light, by table."""
    return _looked_up(srgb, _linear_of_steps())


def bytes_from_linear(linear: Float32Array) -> Uint8Array:
    """Linear light of any shape to clipped sRGB bytes, by table."""
    return _looked_up(linear, _bytes_of_steps())


def _looked_up(values: Float32Array, table: NDArray[Any]) -> NDArray[Any]:
    """The nearest of the table's _STEPS + 1 entries for each value, clipped."""
    # Reshape to one channel, because OpenCV would scale only the first channel.
    plane = values.reshape(len(values), -1)
    steps = cv2.multiply(plane, float(_STEPS), dtype=cv2.CV_16U)  # type: ignore[call-overload]
    return cv2.LUT(steps, table).reshape(values.shape)


def _decoded(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError(f"could not read {path.name}")
    return np.asarray(pixels, np.uint8)


@cache
def _linear_of_bytes() -> Float32Array:
    return linear_from_srgb(unit_from_uint8(np.arange(256, dtype=np.uint8)))


@cache
def _linear_of_steps() -> Float32Array:
    return linear_from_srgb(np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS))


@cache
def _bytes_of_steps() -> Uint8Array:
    return uint8_from_unit(srgb_from_linear(np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS)))
