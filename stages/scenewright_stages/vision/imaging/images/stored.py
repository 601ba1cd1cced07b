"""Pixels as a file stores them, before any EXIF orientation: the grid that a calibration refers to.

COLMAP, nerfstudio and OpenCV calibrate this grid. `upright_turn` says how a viewer turns it, so that whatever is
published can stand upright.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from scenewright_stages.vision.imaging.images.decoding import decode
from scenewright_stages.vision.imaging.images.loading import as_stored, orientation_of
from scenewright_stages.vision.imaging.images.opening import open_header
from scenewright_stages.vision.types import Uint8Array

_TURNS = {3: 2, 6: 1, 8: 3}
"""Quarter turns clockwise by EXIF orientation. A mirrored picture shows no place that exists, so it stays as it is."""
_TURNED_BY_DECODERS = (".tif", ".tiff")
NEW_FORMATS = (".heic", ".heif", ".hif", ".avif")
"""Not read by OpenCV; Pillow converts their colour profiles, which phones use, to sRGB."""


def read_stored(path: Path) -> Uint8Array | None:
    """(H, W, 3) sRGB of the picture as stored, without its transparency; None if it cannot be read."""
    if path.suffix.lower() in NEW_FORMATS:
        return _by_pillow(path)
    # In memory, because reading a turned TIFF from a file fails in OpenCV 5.
    data = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if pixels is None:
        return None
    rgb = pixels[..., ::-1]
    if path.suffix.lower() in _TURNED_BY_DECODERS:
        rgb = as_stored(rgb, stored_orientation(path))
    return np.ascontiguousarray(rgb, np.uint8)


def upright_turn(path: Path) -> int:
    """Quarter turns clockwise that bring the stored pixels upright; 0 without an orientation or for a damaged file."""
    return _TURNS.get(stored_orientation(path), 0)


def stored_orientation(path: Path) -> int:
    """EXIF's orientation of the stored pixels, 1 to 8; 1 without one or for a damaged file."""
    try:
        with open_header(path) as image:
            return orientation_of(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the pixels that a file stores, from its header."""
    if image.format == "TIFF" and orientation_of(image) >= 5:
        return image.height, image.width
    return image.size


def _by_pillow(path: Path) -> Uint8Array | None:
    try:
        data = path.read_bytes()
        with open_header(path) as image:
            image.load()
            decoded = decode(image, data)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return np.asarray(np.round(decoded.srgb * 255), np.uint8)
