"""Reads videos with PyAV, a frame at a time: memory does not grow with their length.

Frames are upright: the rotation that phones store beside the pictures is applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from scenewright_stages.vision.types import Uint8Array

_HIGH_RANGE = {16: "PQ", 18: "HLG"}
"""Transfer curves of ITU-T H.273 whose pictures look flat when they are shown as sRGB."""


class VideoUnreadable(ValueError):  # noqa: N818 - names a state
    """The file cannot be decoded as a video."""


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video without decoding it.

    Attributes:
        width, height: of a frame, upright, pixels.
        turns: quarter turns counterclockwise that bring decoded frames upright.
        notes: what a user should know.
    """

    width: int
    height: int
    turns: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SmallFrame:
    """A frame at reduced size: its number from 0, time in seconds, and (H, W) uint8 brightness."""

    number: int
    seconds: float
    grey: Uint8Array


def video_facts(path: Path) -> VideoFacts:
    """Size and orientation, from the first frame.

    Raises:
        VideoUnreadable: there is no video in the file.
    """
    for frame, turns in _decoded(path):
        width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
        curve = _HIGH_RANGE.get(int(frame.color_trc or 0))
        note = f"its brightness is {curve} coded, and its colours are used as they are: they look flat"
        return VideoFacts(width, height, turns, (note,) if curve else ())
    raise VideoUnreadable(f"{path.name} has no frame that can be decoded: copy or export it again")


def small_frames(path: Path, longest_side: int) -> Iterator[SmallFrame]:
    """All frames in order, as small grey pictures.

    Raises:
        VideoUnreadable: there is no video in the file, or it is damaged.
    """
    for number, (frame, turns) in enumerate(_decoded(path)):
        scale = min(1.0, longest_side / max(frame.width, frame.height))
        size = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
        grey = frame.reformat(width=size[0], height=size[1], format="gray").to_ndarray()
        yield SmallFrame(number, float(frame.time or 0.0), np.ascontiguousarray(np.rot90(grey, turns)))


def frames_of(path: Path, numbers: Collection[int], longest_side: int) -> Iterator[tuple[int, Uint8Array]]:
    """Number and (H, W, 3) uint8 sRGB of some frames, in order; at most `longest_side` large."""
    wanted, last = set(numbers), max(numbers, default=-1)
    for number, (frame, turns) in enumerate(_decoded(path)):
        if number in wanted:
            srgb = np.rot90(frame.to_ndarray(format="rgb24"), turns)
            scale = longest_side / max(srgb.shape[:2])
            if scale < 1:
                size = round(srgb.shape[1] * scale), round(srgb.shape[0] * scale)
                srgb = cv2.resize(srgb, size, interpolation=cv2.INTER_AREA)
            yield number, np.ascontiguousarray(srgb, np.uint8)
        if number >= last:
            return


def _decoded(path: Path) -> Iterator[tuple[Any, int]]:
    """Frames, and the quarter turns counterclockwise that bring them upright."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoUnreadable(f"{path.name} has no picture track")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield frame, round(getattr(frame, "rotation", 0) / 90) % 4
    except av.error.InvalidDataError as problem:
        raise VideoUnreadable(f"{path.name} is damaged ({problem.strerror}): copy or export it again") from problem
    except (av.error.FFmpegError, OSError) as problem:
        raise VideoUnreadable(f"{path.name} cannot be read as a video: {problem}") from problem
