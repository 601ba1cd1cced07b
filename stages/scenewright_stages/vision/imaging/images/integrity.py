"""Detects picture files that end early or are damaged.

OpenCV and COLMAP decode such files without a word and fill the rest with grey, which would be trained as if it had been
photographed.
"""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from scenewright_stages.vision.imaging.images.opening import open_header

_START_OF_SCAN, _END = 0xDA, 0xD9
_PNG_END = b"IEND\xaeB`\x82"
"""The last chunk of a PNG file, with its checksum."""
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""A JPEG marker; within compressed data 0xff is followed by 0 or a restart marker."""
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


def damage_of(path: Path) -> str:
    """Why a picture file is not whole; empty if it is.

    Checks a JPEG by its markers and a PNG by its checksums, which is fast; other formats are decoded.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(8)
        if begin.startswith(b"\xff\xd8"):
            return "" if _jpeg_ends(path.read_bytes()) else "it ends early"
        with open_header(path) as image:
            if image.format == "PNG":
                # Pillow does not look at the checksum of the last chunk.
                image.verify()
                return "" if _PNG_END in path.read_bytes() else "it ends early"
            image.load()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        return str(problem) or type(problem).__name__
    return ""


def _jpeg_ends(data: bytes) -> bool:
    """Whether the first image of a JPEG file reaches its end marker; what follows it is not looked at."""
    place = 2
    while match := _MARKER.search(data, place):
        kind = match.group(1)[0]
        place = match.end()
        if kind == _END:
            return True
        if kind in _ALONE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + length > len(data):
            return False
        # After a scan's header the search runs through its compressed data to the next marker.
        place += length
    return False
