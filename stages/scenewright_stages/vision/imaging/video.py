"""Writes H.264 video with PyAV: playable in browsers, and deterministic.

x264 and the container are configured to leave out everything that depends on time, version or the machine's cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

Frame = NDArray[np.uint8] | NDArray[np.floating[Any]]

# Constant quality: visually lossless for renders, at a few hundred kB per second.
_QUALITY = "18"
# Without this, x264's vectorised rate control is not deterministic (seen in core 165).
_REPRODUCIBLE = "cpu-independent=1"
# Output bytes depend on the number of encoder threads, so the size of the picture alone decides it: one thread takes
# 50 ms for a frame of 1024 pixels, and a GPU draws it in two.
_THREADS, _THREADS_OF_LARGE, _LARGE_PIXELS = 1, 4, 1 << 19
# Put the index first (playable while loading); write no creation time or library version.
_CONTAINER_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}


class VideoError(ValueError):
    """The frames cannot be a video."""


def write_mp4(path: Path | str, frames: Iterable[Frame], fps: float) -> int:
    """Writes an H.264 (yuv420p, BT.709) MP4 that browsers can start playing while it loads.

    Consumes frames one at a time, so memory does not grow with their number. Odd sizes are padded by repeating the last
    row or column. Equal frames give equal bytes on any machine.

    Args:
        frames: (H, W, 3) sRGB, uint8 or float in [0, 1] (clipped), all of one size.
        fps: frames per second.

    Returns:
        The number of frames.

    Raises:
        VideoError: there are no frames, their sizes differ, a frame is not an image, or fps <= 0.
    """
    if not fps > 0:
        raise VideoError(f"fps {fps} must be positive")
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise VideoError("a video needs at least one frame")
    picture = srgb_bytes(first)
    with av.open(str(path), "w", format="mp4", options=_CONTAINER_OPTIONS) as container:
        stream = _h264_stream(container, *_even_size(picture), fps)
        return _encode(container, stream, picture, iterator)


def first_frame(path: Path | str) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 sRGB of a video's first frame.

    Raises:
        VideoError: the file holds no frame.
    """
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    raise VideoError(f"{Path(path).name} holds no frame")


def srgb_bytes(frame: Frame) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 from uint8, or from float in [0, 1] (clipped, NaN is black).

    Raises:
        VideoError: wrong shape or dtype.
    """
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise VideoError(f"a frame has shape {frame.shape}, expected (H, W, 3)")
    if frame.dtype == np.uint8:
        return np.asarray(frame, np.uint8)
    if not np.issubdtype(frame.dtype, np.floating):
        raise VideoError(f"a frame has type {frame.dtype}, expected uint8 or float")
    return np.asarray(np.round(np.clip(np.nan_to_num(frame), 0, 1) * 255), np.uint8)


def _even_size(picture: NDArray[np.uint8]) -> tuple[int, int]:
    """(width, height), each rounded up to an even number."""
    height, width = picture.shape[:2]
    return width + width % 2, height + height % 2


def _h264_stream(container: Any, width: int, height: int, fps: float) -> Any:
    # Thousandths keep rates such as 23.976 exact enough.
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.thread_count = threads = _THREADS_OF_LARGE if width * height >= _LARGE_PIXELS else _THREADS
    context.options = {
        "crf": _QUALITY,
        "preset": "medium",
        "profile": "high",
        "threads": str(threads),
        "x264-params": _REPRODUCIBLE,
    }
    context.color_range, context.colorspace = ColorRange.MPEG, Colorspace.ITU709
    # Code points of ITU-T H.273: BT.709 primaries, sRGB transfer curve.
    context.color_primaries, context.color_trc = 1, 13
    return stream


def _encode(container: Any, stream: Any, first: NDArray[np.uint8], others: Iterator[Frame]) -> int:
    count = 0
    picture: NDArray[np.uint8] | None = first
    while picture is not None:
        if picture.shape != first.shape:
            raise VideoError(f"frame {count} has shape {picture.shape}, the first one {first.shape}")
        container.mux(stream.encode(_video_frame(picture)))
        count += 1
        following = next(others, None)
        picture = None if following is None else srgb_bytes(following)
    container.mux(stream.encode(None))
    return count


def _video_frame(picture: NDArray[np.uint8]) -> Any:
    width, height = _even_size(picture)
    extra = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.pad(picture, extra, mode="edge")), "rgb24")
    return frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
