"""A video is a capture without poses: its sharp frames serve, spread over the path, and memory stays flat."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from room_video import blurred_frames, textured_room, walk, write_walk

from scenewright_stages.vision.imaging.video import write_mp4
from scenewright_stages.vision.imaging.video_reading import VideoUnreadable, frames_of, small_frames, video_facts
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.walking import Walk, chosen_frames, measured_walk, write_frames

FRAMES = 60
SIZE = (320, 180)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "walk.mp4"
    write_walk(path, *SIZE, FRAMES, side=512)
    return path


def test_no_blurred_frame_is_chosen_and_the_chosen_ones_cover_the_path(video: Path, tmp_path: Path) -> None:
    measured = measured_walk(small_frames(video, 320))
    numbers = chosen_frames(measured, 12).numbers
    assert len(numbers) >= 8
    assert not set(numbers) & blurred_frames(FRAMES)
    # Every n-th frame, as one would take without looking, is blurred a third of the time.
    assert len(set(range(0, FRAMES, FRAMES // 12)) & blurred_frames(FRAMES)) >= 3
    written = write_frames(video, tmp_path / "frames", 12, 200)
    assert [path.name for path in written.paths] == [f"{number:06d}.jpg" for number in numbers]
    assert any("parts of the path give no photograph" in note for note in written.notes)


def test_frames_spread_over_the_path_and_not_over_time() -> None:
    """A camera that stands still for most of the time and then walks."""
    count = 200
    moved = np.where(np.arange(count) < 150, 0.0, 0.01)
    still = Walk(np.arange(count) / 30, np.ones((count, 4)), moved)
    numbers = chosen_frames(still, 10).numbers
    assert len(numbers) == 10
    assert sum(number >= 150 for number in numbers) >= 8


def test_a_blur_that_lasts_gives_no_frame() -> None:
    sharpness = np.where((np.arange(300) < 150)[:, None], 1.0, 0.2) * np.ones((300, 4))
    found = chosen_frames(Walk(np.arange(300) / 30, sharpness, np.full(300, 0.01)), 10)
    assert max(found.numbers) < 150
    assert found.blurred == 5


def test_a_blur_along_one_direction_is_seen() -> None:
    sharpness = np.ones((60, 4))
    sharpness[30:40, 2] = 0.3
    numbers = chosen_frames(Walk(np.arange(60) / 30, sharpness, np.full(60, 0.01)), 20).numbers
    assert not set(numbers) & set(range(30, 40))


def with_rotation(path: Path) -> None:
    """Says, as phones do, that players shall turn the video by a quarter clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def test_the_frames_of_a_phone_held_upright_are_upright(tmp_path: Path) -> None:
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[:, :48] = 220
    write_mp4(tmp_path / "clip.mp4", [frame] * 3, 10)
    ((_, plain),) = frames_of(tmp_path / "clip.mp4", [1], 96)
    with_rotation(tmp_path / "clip.mp4")
    ((_, turned),) = frames_of(tmp_path / "clip.mp4", [1], 96)
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))
    assert next(small_frames(tmp_path / "clip.mp4", 96)).grey.shape == (96, 64)
    facts = video_facts(tmp_path / "clip.mp4")
    assert (facts.width, facts.height) == (64, 96)


def test_a_damaged_video_and_one_without_sharp_frames_are_refused_by_name(video: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:2000])
    with pytest.raises(VideoUnreadable, match=r"cut\.mp4"):
        video_facts(tmp_path / "cut.mp4")
    with pytest.raises(CaptureError, match=r"cut\.mp4"):
        write_frames(tmp_path / "cut.mp4", tmp_path / "a", 10, 100)
    write_mp4(tmp_path / "short.mp4", [np.zeros((64, 64, 3), np.uint8)] * 2, 10)
    with pytest.raises(CaptureError, match=r"short\.mp4 has 2 frames"):
        write_frames(tmp_path / "short.mp4", tmp_path / "b", 10, 100)


def test_the_rendered_walk_sees_the_room_it_says() -> None:
    """The generator itself: the camera turns by its roll, and the picture with it."""
    room, cameras = textured_room(128), walk(32, 18, 5)
    assert room.walls.shape == (128, 768, 3)
    ups = [camera.world_from_camera[:3, 1] for camera in cameras]
    assert min(float(up @ (0, 1, 0)) for up in ups) > 0.8
    assert max(abs(float(camera.world_from_camera[1, 0])) for camera in cameras) > 0.15
