"""Videos: what is written can be read, plays everywhere and is the same every time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from scenewright_stages.vision.imaging.colour import depth_colours
from scenewright_stages.vision.imaging.video import VideoError, srgb_bytes, write_mp4


def gradients(width: int = 70, height: int = 45, count: int = 6) -> Iterator[np.ndarray]:
    """Smooth pictures whose blue channel tells the frame."""
    across, down = np.linspace(0.1, 0.9, width), np.linspace(0.1, 0.9, height)
    for k in range(count):
        picture = np.empty((height, width, 3), np.float32)
        picture[..., 0], picture[..., 1], picture[..., 2] = across, down[:, None], k / count
        yield picture


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 of a video file."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def test_frames_come_back_in_order_and_colour(tmp_path: Path) -> None:
    path = tmp_path / "orbit.mp4"
    assert write_mp4(path, gradients(), fps=24) == 6
    frames = list(read_frames(path))
    assert len(frames) == 6
    for frame, original in zip(frames, gradients(), strict=True):
        error = np.abs(frame[:45, :70].astype(int) - srgb_bytes(original))
        assert error.mean() < 2.5
        assert np.abs(frame[:45, :70, ::-1].astype(int) - srgb_bytes(original)).mean() > 20


def test_odd_sizes_are_padded_with_the_border(tmp_path: Path) -> None:
    write_mp4(tmp_path / "odd.mp4", gradients(71, 45), fps=10)
    frame = next(read_frames(tmp_path / "odd.mp4"))
    assert frame.shape == (46, 72, 3)
    assert np.abs(frame[45].astype(int) - frame[44]).max() <= 6


def test_browsers_can_play_it_while_it_loads(tmp_path: Path) -> None:
    path = tmp_path / "orbit.mp4"
    write_mp4(path, gradients(), fps=23.976)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate is not None
        assert float(stream.average_rate) == pytest.approx(23.976, abs=1e-3)
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize("size", [(322, 216), (1024, 520)])
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, size: tuple[int, int]) -> None:
    contents = set()
    for k in range(4):
        write_mp4(tmp_path / f"{k}.mp4", gradients(*size, 20), fps=24)
        contents.add((tmp_path / f"{k}.mp4").read_bytes())
    assert len(contents) == 1


def test_frames_that_make_no_video_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    with pytest.raises(VideoError, match="at least one frame"):
        write_mp4(path, [], fps=24)
    with pytest.raises(VideoError, match="frame 1 has shape"):
        write_mp4(path, [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)], fps=24)
    with pytest.raises(VideoError, match="fps"):
        write_mp4(path, gradients(), fps=0)
    with pytest.raises(VideoError, match="type int64"):
        srgb_bytes(np.zeros((4, 4, 3), np.int64))  # type: ignore[arg-type]


def test_floats_are_clipped_and_rounded() -> None:
    frame = np.array([[[-1.0, 0.5, 2.0], [math.nan, 0.0, 1.0]]])
    assert srgb_bytes(frame).tolist() == [[[0, 128, 255], [0, 0, 255]]]


def test_near_is_warm_far_is_cold_and_invalid_is_black() -> None:
    depth = np.array([[1.0, 5.0, math.nan, 0.0, math.inf]])
    near, far, *invalid = depth_colours(depth, near=1.0, far=5.0)[0].astype(int)
    assert near[0] > near[2] + 50
    assert far[2] > far[0]
    assert all(not pixel.any() for pixel in invalid)
    hidden = depth_colours(depth, 1.0, 5.0, np.array([[False, True, True, True, True]]))
    assert not hidden[0, 0].any()
    assert not depth_colours(np.full((2, 2), np.nan)).any()
    assert depth_colours(np.full((2, 2), 3.0)).shape == (2, 2, 3)
