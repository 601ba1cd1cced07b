"""Which photographs of a capture train, decide and judge, and the cameras between those that train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewright_stages.captures import ShotFacts, nearest
from scenewright_stages.vision.cameras import (
    Camera,
    invert_rigid,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
)


@dataclass(frozen=True)
class Roles:
    """Photographs by number.

    Attributes:
        train: the scene learns from these.
        gate: these decide which of two scenes is kept; empty where nothing is decided.
        held_out: these judge the result, and nothing else.
    """

    train: tuple[int, ...]
    gate: tuple[int, ...]
    held_out: tuple[int, ...]


def roles_of(count: int, held_out_every: int, deciding_every: int) -> Roles:
    """Every n-th photograph judges, from the middle of the first n; of the others every m-th decides (0: none)."""
    judging = tuple(range(count))[held_out_every // 2 :: held_out_every]
    others = [number for number in range(count) if number not in judging]
    deciding = tuple(others[deciding_every // 2 :: deciding_every]) if deciding_every else ()
    return Roles(tuple(number for number in others if number not in deciding), deciding, judging)


def cameras_between(
    shots: Sequence[ShotFacts], cameras: Sequence[Camera], roles: Roles, count: int, random: np.random.Generator
) -> list[Camera]:
    """Cameras between training photographs and neighbours of theirs; nothing else of the capture counts.

    Args:
        shots, cameras: of all photographs.
        roles: who trains.
        count: how many cameras.
        random: draws the photographs and how far between them a camera stands.
    """
    found = []
    for number in random.choice(roles.train, size=count):
        neighbour = nearest(shots, int(number), roles.train)
        # The second neighbour spans larger gaps than the first.
        further = nearest(shots, int(number), [each for each in roles.train if each != neighbour])
        other = further if further is not None and random.random() < 0.5 else neighbour
        assert other is not None
        found.append(between(cameras[number], cameras[other], float(random.uniform(0.3, 0.7))))
    return found


def cameras_towards(
    shots: Sequence[ShotFacts], cameras: Sequence[Camera], roles: Roles, count: int, share: float
) -> list[Camera]:
    """Cameras on the way from training photographs to held-out poses, in turn; share 1 is the held-out pose itself.

    Whoever calls this must say that the held-out photographs no longer judge blindly.
    """
    found = []
    for number in range(count):
        goal = roles.held_out[number % len(roles.held_out)]
        begin = nearest(shots, goal, roles.train)
        assert begin is not None
        # Several views to one goal stand at different places before it.
        nearer = 1 + number // len(roles.held_out)
        found.append(between(cameras[begin], cameras[goal], share / nearer))
    return found


def between(first: Camera, second: Camera, share: float) -> Camera:
    """The first camera moved and turned towards the second; share 0 is the first, 1 the second."""
    start, end = first.world_from_camera, second.world_from_camera
    a, b = (quaternion_from_rotation(pose[:3, :3]) for pose in (start, end))
    b = -b if float(a @ b) < 0 else b
    rotation = rotation_from_quaternion((1 - share) * a + share * b)
    pose = rigid(rotation, (1 - share) * start[:3, 3] + share * end[:3, 3])
    return first.with_pose(invert_rigid(pose))


def along(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """A path from camera to camera, all with the lens and size of the first."""
    places = np.linspace(0, len(cameras) - 1, frames)
    first = cameras[0]
    found = []
    for place in places:
        number = min(int(place), len(cameras) - 2)
        pose = between(cameras[number], cameras[number + 1], float(place) - number).camera_from_world
        found.append(first.with_pose(pose))
    return found
