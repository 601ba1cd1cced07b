"""Writes the flight as files for viewing: the orbit video, its depth video, and a contact sheet.

A render stage calls it once per scene; equal flights give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from scenewright_stages.report.pictures import evenly_spaced
from scenewright_stages.scenes.flight import Flight
from scenewright_stages.scenes.side_by_side import side_by_side
from scenewright_stages.vision.imaging.colour import depth_colours, depth_limits
from scenewright_stages.vision.imaging.video import write_mp4
from scenewright_stages.vision.types import Uint8Array

SHEET_FRAMES = 12
SHEET_COLUMNS = 4
_GAP = 6
_BACKGROUND = 255
_JPEG_QUALITY = 85


def write_videos(flight: Flight, video: Path, depth_video: Path, frames_per_second: float) -> None:
    """Writes the colours and depth of a flight as MP4 files; the depth colours span the range of the whole flight."""
    limits = depth_limits(flight.depth)
    depths = (depth_colours(depth, *limits) for depth in flight.depth)
    side_by_side(
        lambda: write_mp4(video, flight.srgb, frames_per_second),
        lambda: write_mp4(depth_video, depths, frames_per_second),
    )


def write_flight_sheet(flight: Flight, path: Path) -> None:
    """Writes twelve evenly spaced frames as one JPEG."""
    picks = evenly_spaced(len(flight.srgb), SHEET_FRAMES)
    sheet = contact_sheet([flight.srgb[pick] for pick in picks], SHEET_COLUMNS)
    _, data = cv2.imencode(".jpg", sheet[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    path.write_bytes(data.tobytes())


def contact_sheet(frames: Sequence[Uint8Array], columns: int) -> Uint8Array:
    """Frames in row-major order on white.

    Args:
        frames: (H, W, 3) uint8 sRGB images of equal size.
        columns: images per row.

    Returns:
        (H', W', 3) uint8 sRGB.

    Raises:
        ValueError: no frames, different sizes, or fewer than one column.
    """
    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    if columns < 1:
        raise ValueError(f"{columns} columns: at least 1")
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"frames differ in size: {sorted({frame.shape for frame in frames})}")
    height, width = frames[0].shape[:2]
    rows = -(-len(frames) // columns)
    size = (rows * (height + _GAP) + _GAP, min(columns, len(frames)) * (width + _GAP) + _GAP, 3)
    sheet = np.full(size, _BACKGROUND, np.uint8)
    for number, frame in enumerate(frames):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = frame
    return sheet
