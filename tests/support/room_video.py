"""A video of a walk through a textured room, rendered: the camera rolls, and bursts of frames are motion-blurred.

The room is a box whose walls carry photographs and fine noise, so one table look-up per pixel draws it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, look_at, rigid
from scenewright_stages.vision.imaging.video import write_mp4

EXAMPLES = Path(__file__).parents[2] / "examples" / "inputs"
PICTURES = ("china.jpg", "flower.jpg", "coffee.png", "chelsea.png", "astronaut.png", "rocket.jpg")
HALF = np.array([2.2, 1.3, 1.8])
"""Half the size of the room, metres."""
SECONDS, RATE = 8, 30
_SUBFRAMES = 7
_SHAKE = 1.6
"""Degrees by which the camera turns while the shutter is open, in a blurred frame."""


@dataclass(frozen=True, eq=False)
class Room:
    """The six walls side by side, (S, 6 S, 3) uint8."""

    walls: NDArray[np.uint8]


def textured_room(side: int = 1536) -> Room:
    """A room with a photograph on each wall, and noise of several sizes so that every place has detail."""
    random = np.random.default_rng(5)
    tiles = []
    for name in PICTURES:
        picture = cv2.resize(cv2.imread(str(EXAMPLES / name)), (side, side), interpolation=cv2.INTER_CUBIC)
        detail = np.zeros((side, side), np.float32)
        for sigma in (1.2, 2.5, 5, 10):
            noise = cv2.GaussianBlur(random.normal(size=(side, side)).astype(np.float32), (0, 0), sigma)
            detail += 14 * noise / noise.std()
        tiles.append(np.clip(0.7 * picture + 38 + detail[..., None], 0, 255).astype(np.uint8))
    return Room(np.concatenate(tiles, axis=1)[..., ::-1])


def seen(room: Room, camera: Camera) -> NDArray[np.float32]:
    """(H, W, 3) float32 levels of the room from a camera inside."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    rays = np.stack([(columns - cx) / fx, (rows - cy) / fy, np.ones_like(columns)], axis=-1).astype(np.float32)
    rays = rays @ camera.world_from_camera[:3, :3].T.astype(np.float32)
    origin = camera.position.astype(np.float32)
    with np.errstate(divide="ignore"):
        reach = (np.sign(rays) * HALF.astype(np.float32) - origin) / rays
    axis = reach.argmin(axis=-1)
    distance = np.take_along_axis(reach, axis[..., None], -1)
    points = (origin + rays * distance) / HALF.astype(np.float32)
    wall = 2 * axis + (np.take_along_axis(rays, axis[..., None], -1)[..., 0] > 0)
    across = np.where(axis == 0, points[..., 2], points[..., 0])
    down = np.where(axis == 1, points[..., 2], points[..., 1])
    side = room.walls.shape[0]
    columns = (wall + np.clip((across + 1) / 2, 0.001, 0.999)) * side - 0.5
    rows = np.clip((down + 1) / 2, 0.001, 0.999) * side - 0.5
    drawn = cv2.remap(room.walls, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    return drawn.astype(np.float32)


def walk(width: int, height: int, frames: int, degrees: float = 62.0) -> list[Camera]:
    """Cameras of a walk along an arc, rolling from side to side."""
    lens = Camera.from_field_of_view(width, height, degrees)
    found = []
    for share in np.linspace(0, 1, frames):
        angle = np.radians(-55 + 110 * share)
        position = np.array([1.3 * np.sin(angle), 0.25 * np.sin(3 * angle), 0.9 - 0.9 * np.cos(angle)])
        target = np.array([2.0 * np.sin(0.6 * angle), 0.2 * np.cos(4 * angle), 1.8])
        roll = np.radians(14 * np.sin(2 * np.pi * 1.5 * share))
        turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        found.append(lens.with_pose(rigid(turn, np.zeros(3)) @ look_at(position, target)))
    return found


def blurred_frames(frames: int) -> set[int]:
    """A third of the frames, in bursts of a third of a second."""
    return {number for number in range(frames) if number % 30 < 10}


def frames_of_walk(room: Room, cameras: list[Camera], blurred: set[int]) -> Iterator[NDArray[np.uint8]]:
    """The frames in order."""
    random = np.random.default_rng(9)
    for number, camera in enumerate(cameras):
        if number not in blurred:
            yield np.round(seen(room, camera)).astype(np.uint8)
            continue
        direction = random.uniform(0, 2 * np.pi)
        total = np.zeros((camera.height, camera.width, 3), np.float32)
        for share in np.linspace(-0.5, 0.5, _SUBFRAMES):
            angles = np.radians(_SHAKE * share) * np.array([np.cos(direction), np.sin(direction), 0])
            total += seen(
                room, camera.with_pose(rigid(cv2.Rodrigues(angles)[0], np.zeros(3)) @ camera.camera_from_world)
            )
        yield np.round(total / _SUBFRAMES).astype(np.uint8)


def write_walk(path: Path, width: int, height: int, frames: int = SECONDS * RATE, side: int = 1536) -> set[int]:
    """Writes the video; returns the numbers of the blurred frames."""
    blurred = blurred_frames(frames)
    write_mp4(path, frames_of_walk(textured_room(side), walk(width, height, frames), blurred), RATE)
    return blurred


if __name__ == "__main__":
    import sys

    write_walk(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
