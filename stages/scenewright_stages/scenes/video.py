"""Frames of a video side by side, for a README or a quick look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_GAP = 6
_BACKGROUND = 255
_CAPTION_HEIGHT = 22
_CAPTION_COLOUR = (70, 76, 84)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 0.42
_JPEG_QUALITY = 85


def contact_sheet(frames: Sequence[Bytes], columns: int, captions: Sequence[str] = ()) -> Bytes:
    """Frames in reading order on white, each with a caption below when captions are given.

    Args:
        frames: (H, W, 3) uint8 sRGB pictures of one size.
        columns: pictures per row.
        captions: one text per frame, or none; ASCII (the drawing font has no other letters).

    Returns:
        (H', W', 3) uint8 sRGB.

    Raises:
        ValueError: for no frames, differing sizes, fewer than one column, or a wrong number of captions.
    """
    _check(frames, columns, captions)
    height, width = frames[0].shape[:2]
    label = _CAPTION_HEIGHT if captions else 0
    rows = -(-len(frames) // columns)
    size = (rows * (height + label + _GAP) + _GAP, min(columns, len(frames)) * (width + _GAP) + _GAP, 3)
    sheet = np.full(size, _BACKGROUND, np.uint8)
    for number, frame in enumerate(frames):
        top = _GAP + number // columns * (height + label + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = frame
        if captions:
            sheet[top + height : top + height + label, left : left + width] = _caption(captions[number], width)
    return sheet


def evenly_spaced(total: int, count: int) -> list[int]:
    """Indices of count frames spread over total frames, first and last included."""
    if total <= count:
        return list(range(total))
    return [round(position) for position in np.linspace(0, total - 1, count)]


def write_picture(path: Path, srgb: Bytes) -> None:
    """Writes a PNG or JPEG, whichever the suffix says.

    Raises:
        ValueError: for a suffix that is neither.
    """
    options = {".png": (), ".jpg": (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)}
    options[".jpeg"] = options[".jpg"]
    suffix = path.suffix.lower()
    if suffix not in options:
        raise ValueError(f"{path.name}: pictures are written as .png or .jpg")
    _, data = cv2.imencode(suffix, srgb[..., ::-1], options[suffix])
    path.write_bytes(data.tobytes())


def _check(frames: Sequence[Bytes], columns: int, captions: Sequence[str]) -> None:
    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    if columns < 1:
        raise ValueError(f"{columns} columns: at least 1")
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"frames differ in size: {sorted({frame.shape for frame in frames})}")
    if captions and len(captions) != len(frames):
        raise ValueError(f"{len(captions)} captions for {len(frames)} frames")


def _caption(text: str, width: int) -> Bytes:
    strip = np.full((_CAPTION_HEIGHT, width, 3), _BACKGROUND, np.uint8)
    cv2.putText(strip, text, (1, 15), _FONT, _FONT_SCALE, _CAPTION_COLOUR, 1, cv2.LINE_AA)
    return strip
