"""Pictures on disk and in memory: reading photographs, and the 8-bit images that stages hand to each other.

Stages compute in linear light or on values in [0, 1]; files hold sRGB bytes, exactly those that the maths used. Tables
convert between them.
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

from scenewright_stages.vision.colour import linear_from_srgb, srgb_from_linear, uint8_from_unit, unit_from_uint8
from scenewright_stages.vision.images import load_sample
from scenewright_stages.vision.images.decoding import bits_per_channel
from scenewright_stages.vision.images.loading import DEFAULT_LIMITS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_END = b"\0\0\0\0IEND\xaeB`\x82"
_HARMLESS = frozenset({"dpi", "aspect", "srgb", "xmp"})
"""What a PNG may say, beside texts, without changing what its pixels mean. An orientation, profile or gamma does."""
_STEPS = 65535
"""Linear light is looked up in so many steps: a twentieth of a level of 255 where sRGB is steepest."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """An upright photograph.

    Attributes:
        pixels: (H, W, 3) uint8 sRGB, what the data set shows as its input.
        srgb: (H, W, 3) float32 sRGB in [0, 1]; of 16-bit files finer than the pixels.
        notes: what was done to it that a user may want to know.
        png: the file itself when it is a plain PNG of just these pixels.
    """

    pixels: Bytes
    srgb: Floats
    notes: tuple[str, ...] = ()
    png: bytes | None = None


def one_thread_each() -> None:
    """Keeps OpenCV in the calling thread from now on: stages work on several samples at a time, each in its thread.

    Results do not depend on it.
    """
    cv2.setNumThreads(1)


def read_photograph(path: Path) -> Photograph:
    """The upright photograph of a file; a plain PNG is read quickly and keeps its own bytes.

    Raises:
        SampleError: it cannot be used; with the reader's reason, such as ``ImageTruncated``.
    """
    data = path.read_bytes() if path.stat().st_size <= DEFAULT_LIMITS.max_bytes else b""
    pixels = plain_png(data)
    if pixels is not None:
        return Photograph(pixels, pixels.astype(np.float32) * np.float32(1 / 255), (), data)
    loaded = load_sample(path)
    return Photograph(bytes_from_unit(loaded.srgb), loaded.srgb, loaded.notes)


def plain_png(data: bytes) -> Bytes | None:
    """(H, W, 3) uint8 of an undamaged 8-bit RGB PNG in which nothing changes what the pixels mean; None for others."""
    if not data.endswith(_END):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if not _has_plain_pixels(image, data):
                return None
            # Compares every checksum; an image that was verified cannot be loaded any more.
            image.verify()
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            image.load()
            texts = image.text  # type: ignore[attr-defined]
            return None if image.info.keys() - texts.keys() - _HARMLESS else np.array(image)
    except Exception:  # Pillow raises many types on damaged files; the careful reader says what is wrong
        return None


def _has_plain_pixels(image: Image.Image, data: bytes) -> bool:
    """Whether the header is that of an 8-bit RGB image of an acceptable size."""
    large = min(image.size) >= DEFAULT_LIMITS.min_side and image.width * image.height <= DEFAULT_LIMITS.max_pixels
    return large and image.mode == "RGB" and bits_per_channel(image, data) == 8


def read_rgb(path: Path) -> Bytes:
    """(H, W, 3) uint8 sRGB of a PNG that a stage wrote."""
    return cv2.cvtColor(_decoded(path), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def read_rgba(path: Path) -> tuple[Bytes, Bytes]:
    """(H, W, 3) uint8 sRGB and (H, W) uint8 alpha of a PNG that a stage wrote."""
    pixels = cv2.cvtColor(_decoded(path), cv2.COLOR_BGRA2RGBA)
    # Dropping the fourth channel, whatever the first three are.
    colours = cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR)
    return colours, cv2.extractChannel(pixels, 3)  # type: ignore[return-value]


def with_alpha(colours: Bytes, alpha: Bytes) -> Bytes:
    """(H, W, 4) uint8 of (H, W, 3) colours and a (H, W) matte."""
    pixels = cv2.cvtColor(colours, cv2.COLOR_BGR2BGRA)
    cv2.insertChannel(alpha, pixels, 3)
    return pixels  # type: ignore[return-value]


def write_json(path: Path, value: Any) -> Path:
    """Writes a JSON file as all stages write it; returns its path."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def unit_from_bytes(values: Bytes) -> Floats:
    """0..255 of any shape to [0, 1]."""
    return np.multiply(values, np.float32(1 / 255), dtype=np.float32)


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


def _decoded(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError(f"could not read {path.name}")
    return np.asarray(pixels, np.uint8)


@cache
def _linear_of_bytes() -> Floats:
    return linear_from_srgb(unit_from_uint8(np.arange(256, dtype=np.uint8)))


@cache
def _linear_of_steps() -> Floats:
    return linear_from_srgb(np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS))


@cache
def _bytes_of_steps() -> Bytes:
    return uint8_from_unit(srgb_from_linear(np.arange(_STEPS + 1, dtype=np.float32) / np.float32(_STEPS)))
