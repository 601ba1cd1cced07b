"""Opens pictures with Pillow, HEIC included; the one place that knows the formats.

Only the header is read, so a hostile file costs no memory.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import IO

import pillow_heif
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF")
FORMAT_NAMES = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF"


def open_header(source: IO[bytes] | Path) -> Image.Image:
    """The picture, not yet decoded.

    Raises:
        OSError: it is no picture of these formats, or damaged (Pillow's own errors).
    """
    _register()
    return Image.open(source, formats=FORMATS)


def xmp_of(path: Path) -> bytes:
    """The XMP metadata of a picture; empty without any, or if they cannot be read."""
    try:
        with open_header(path) as image:
            found = image.info.get("xmp", b"")
    except (OSError, ValueError, SyntaxError):
        return b""
    return found.encode() if isinstance(found, str) else bytes(found)


@cache
def _register() -> None:
    """Lets Pillow open HEIC. Its own AVIF reader stays; thumbnails and depth are not read."""
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
