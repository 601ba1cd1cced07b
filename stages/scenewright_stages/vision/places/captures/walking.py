"""Chooses the frames of a video that serve as photographs: the sharpest ones, spread over the camera's path.

A first pass measures every frame at small size: how sharp it is in four directions, because motion blurs along one of
them only, and how far the picture has moved since the frame before. The path is divided into equal parts, and each
gives its sharpest frame. A part in which every frame is blurred gives none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.video_reading import (
    SmallFrame,
    VideoUnreadable,
    frames_of,
    small_frames,
    video_facts,
)
from scenewright_stages.vision.places.captures.capture import MINIMUM_VIEWS, CaptureError
from scenewright_stages.vision.types import Uint8Array

LONGEST_SIDE = 960
"""Size at which sharpness is measured, pixels: a blur that is not seen there does no harm."""
_FLOW_SIDE = 192
_QUALITY = 95
_LEAST_SHARPNESS = 0.7
"""Least sharpness of a frame, in its least sharp direction, relative to the sharpest nearby."""
_LEAST_OF_ALL = 0.35
"""The same relative to the sharp frames of the whole video, for a blur that lasts."""
_NEARBY = 0.6
"""Frames within so many seconds show much the same."""
_STILL = 0.05
"""Share of the path that time makes up, so that a camera that stands still gives frames too."""


@dataclass(frozen=True, eq=False)
class Walk:
    """What is known of every frame of a video.

    Attributes:
        seconds: (N,) time of each frame.
        sharpness: (N, 4) strength of fine structure across, down and along both diagonals.
        moved: (N,) how far the picture moved since the frame before, as a share of its width.
    """

    seconds: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    moved: NDArray[np.float64]


@dataclass(frozen=True)
class WrittenFrames:
    """Chosen frames as files, in order, and what a user should know of them."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ChosenFrames:
    """Numbers of the frames, in order, and how many parts of the path have no sharp frame."""

    numbers: tuple[int, ...]
    blurred: int


def write_frames(video: Path, folder: Path, count: int, longest_side: int) -> WrittenFrames:
    """Writes the chosen frames of a video as JPEG files, named by their numbers.

    Args:
        video: the file.
        folder: to create.
        count: of frames at most.
        longest_side: of a file, pixels.

    Raises:
        CaptureError: the video cannot be decoded (``Unreadable``), or hardly any frame is sharp (``Blurred``).
    """
    folder.mkdir(parents=True)
    paths = []
    try:
        notes = video_facts(video).notes
        walk = measured_walk(small_frames(video, LONGEST_SIDE))
        chosen = chosen_frames(walk, count)
        if len(chosen.numbers) < MINIMUM_VIEWS:
            raise CaptureError(
                "Blurred",
                f"{video.name} has {len(walk.seconds)} frames, of which {len(chosen.numbers)} are sharp and lie apart, "
                f"at least {MINIMUM_VIEWS} are needed: film longer, slower, or in more light",
            )
        for number, srgb in frames_of(video, chosen.numbers, longest_side):
            paths.append(folder / f"{number:06d}.jpg")
            cv2.imwrite(str(paths[-1]), srgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    except VideoUnreadable as problem:
        raise CaptureError("Unreadable", str(problem)) from problem
    if chosen.blurred:
        lost = f"{chosen.blurred} of {count} parts of the path give no photograph: all frames of {video.name} there are"
        notes = (*notes, f"{lost} blurred")
    return WrittenFrames(tuple(paths), notes)


def measured_walk(frames: Iterable[SmallFrame]) -> Walk:
    """Measures the frames one after the other; keeps none of them."""
    seconds, sharpness, moved = [], [], []
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    before: Uint8Array | None = None
    for frame in frames:
        seconds.append(frame.seconds)
        sharpness.append(directional_sharpness(frame.grey))
        height, width = frame.grey.shape
        size = _FLOW_SIDE, max(16, round(_FLOW_SIDE * height / width))
        small = np.asarray(cv2.resize(frame.grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        moved.append(0.0 if before is None else _moved(flow, before, small))
        before = small
    return Walk(np.array(seconds), np.array(sharpness).reshape(-1, 4), np.array(moved))


def directional_sharpness(grey: Uint8Array) -> NDArray[np.float64]:
    """(4,) mean absolute second difference across, down and along both diagonals, relative to the contrast."""
    values = cv2.GaussianBlur(grey, (0, 0), 0.7).astype(np.float32)
    contrast = float(values.std()) + 1.0
    inner = values[1:-1, 1:-1]
    pairs = (
        values[1:-1, :-2] + values[1:-1, 2:],
        values[:-2, 1:-1] + values[2:, 1:-1],
        values[:-2, :-2] + values[2:, 2:],
        values[:-2, 2:] + values[2:, :-2],
    )
    return np.array([float(np.abs(pair - 2 * inner).mean()) / contrast for pair in pairs])


def chosen_frames(walk: Walk, count: int) -> ChosenFrames:
    """The sharpest frame of each of `count` equal parts of the path, without blurred ones."""
    if not len(walk.seconds):
        return ChosenFrames((), 0)
    relative = relative_sharpness(walk)
    path = _path(walk)
    part = np.minimum((path / path[-1] * count).astype(np.intp) if path[-1] > 0 else 0, count - 1)
    numbers, blurred = [], 0
    for each in range(count):
        inside = np.flatnonzero(part == each)
        if not len(inside):
            continue
        # Of equally sharp frames that in the middle, so that the frames lie apart.
        middle = np.abs(path[inside] / path[-1] * count - each - 0.5) if path[-1] > 0 else np.zeros(len(inside))
        best = int(inside[np.argmax(np.minimum(relative[inside], 0.95) - 0.1 * middle)])
        if relative[best] < _LEAST_SHARPNESS:
            blurred += 1
        else:
            numbers.append(best)
    return ChosenFrames(tuple(numbers), blurred)


def relative_sharpness(walk: Walk) -> NDArray[np.float64]:
    """(N,) sharpness in the least sharp direction, relative to the sharpest nearby; 0 if far below the video's."""
    nearby = np.empty_like(walk.sharpness)
    for number, seconds in enumerate(walk.seconds):
        close = np.abs(walk.seconds - seconds) <= _NEARBY
        nearby[number] = walk.sharpness[close].max(axis=0)
    relative = (walk.sharpness / np.maximum(nearby, 1e-9)).min(axis=1)
    usual = np.quantile(walk.sharpness, 0.75, axis=0)
    lasting = (walk.sharpness / np.maximum(usual, 1e-9)).min(axis=1) < _LEAST_OF_ALL
    return np.where(lasting, 0.0, relative)


def _path(walk: Walk) -> NDArray[np.float64]:
    """(N,) length of the path up to each frame."""
    elapsed = np.diff(walk.seconds, prepend=walk.seconds[0]).clip(0)
    moved = walk.moved.sum()
    still = _STILL * moved / max(1e-9, float(elapsed.sum())) if moved > 0 else 1.0
    return np.asarray(np.cumsum(walk.moved + still * elapsed))


def _moved(flow: cv2.DISOpticalFlow, before: Uint8Array, after: Uint8Array) -> float:
    """Median length of the motion between two pictures, as a share of their width."""
    field = flow.calc(before, after, None)  # type: ignore[call-overload]
    return float(np.median(np.linalg.norm(field, axis=2)) / before.shape[1])
