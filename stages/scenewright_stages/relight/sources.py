"""Reading the photographs: plain PNGs quickly, everything else by the reader that takes whatever people have."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.photographs.pictures import bytes_from_unit
from scenewright_stages.vision.images import ImageError, load_srgb
from scenewright_stages.vision.images.loading import DEFAULT_LIMITS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_RGB = (8, 2, 0, 0, 0)
"""Bit depth, colour type, compression, filter method and interlacing."""
_PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"sRGB"})
"""Parts of a PNG that leave the pixels alone; an orientation, a profile or a gamma does not."""


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


def read_photograph(path: Path) -> Photograph:
    """The upright photograph of a file.

    Raises:
        SampleError: it cannot be used; with the reader's reason, such as ``ImageTruncated``.
    """
    plain = _plain_png(path)
    if plain is not None:
        pixels, data = plain
        return Photograph(pixels, pixels.astype(np.float32) * np.float32(1 / 255), (), data)
    try:
        loaded = load_srgb(path, name=path.name)
    except ImageError as error:
        raise SampleError(error.sample_reason, str(error)) from error
    return Photograph(bytes_from_unit(loaded.srgb), loaded.srgb, loaded.notes)


def _plain_png(path: Path) -> tuple[Bytes, bytes] | None:
    """Pixels and bytes of an undamaged 8-bit RGB PNG without anything that changes them; None for all others."""
    if path.stat().st_size > DEFAULT_LIMITS.max_bytes:
        return None
    data = path.read_bytes()
    if not is_plain_png(data):
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else (np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8), data)


def is_plain_png(data: bytes) -> bool:
    """Whether these are all the bytes of an 8-bit RGB PNG of an acceptable size, each part with its right checksum."""
    if not data.startswith(_SIGNATURE):
        return False
    place, kind = len(_SIGNATURE), b""
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        end = place + 12 + length
        if kind not in _PLAIN_CHUNKS or end > len(data):
            return False
        if zlib.crc32(content, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            return False
        if kind == b"IHDR" and not _acceptable(content):
            return False
        place = end
    return kind == b"IEND" and place == len(data)


def _acceptable(header: bytes) -> bool:
    width, height, *form = struct.unpack(">IIBBBBB", header)
    large = min(width, height) >= DEFAULT_LIMITS.min_side and width * height <= DEFAULT_LIMITS.max_pixels
    return large and tuple(form) == _EIGHT_BIT_RGB
