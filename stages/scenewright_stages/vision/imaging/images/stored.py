"""Pixels as a file stores them, before any EXIF orientation: the grid that a calibration refers to.

COLMAP, nerfstudio and OpenCV calibrate this grid. `upright_turn` says how a viewer turns it, so that whatever is
published can stand upright.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from scenewright_stages.vision.imaging.images.decoding import decode
from scenewright_stages.vision.imaging.images.opening import open_header
from scenewright_stages.vision.types import Mask, Uint8Array

_ORIENTATION = 0x0112
_TURNS = {3: 2, 6: 1, 8: 3}
"""Quarter turns clockwise by EXIF orientation. A mirrored picture shows no place that exists, so it stays as it is."""
NEW_FORMATS = (".heic", ".heif", ".hif", ".avif")
"""Not read by OpenCV; Pillow converts their colour profiles, which phones use, to sRGB."""


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """srgb (H, W, 3) uint8, and alpha (H, W) bool of the pixels that are at least half opaque, None if all are."""

    srgb: Uint8Array
    opaque: Mask | None


def read_stored(path: Path) -> StoredPicture | None:
    """The picture as stored; None if it cannot be read."""
    if path.suffix.lower() in NEW_FORMATS:
        return _by_pillow(path)
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        return None
    return StoredPicture(np.ascontiguousarray(pixels[..., ::-1], np.uint8), None)


def upright_turn(path: Path) -> int:
    """Quarter turns clockwise that bring the stored pixels upright; 0 without an orientation or for a damaged file."""
    try:
        with open_header(path) as image:
            return _TURNS.get(image.getexif().get(_ORIENTATION, 1), 0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def _by_pillow(path: Path) -> StoredPicture | None:
    try:
        data = path.read_bytes()
        with open_header(path) as image:
            image.load()
            decoded = decode(image, data)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    srgb = np.round(decoded.srgb * 255).astype(np.uint8)
    opaque = None if decoded.alpha is None else np.asarray(decoded.alpha >= 0.5, np.bool_)
    return StoredPicture(srgb, None if opaque is None or opaque.all() else opaque)
