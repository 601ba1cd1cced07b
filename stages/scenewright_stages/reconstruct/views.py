"""Splits a capture's photographs into training, gate and held-out views, and places cameras between training views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewright_stages.captures import ShotFacts, nearest, pose_distance, spread
from scenewright_stages.scenes.captures import shot_facts
from scenewright_stages.vision.geometry.cameras import (
    Camera,
    invert_rigid,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
)

_NEIGHBOURS = 4
_TURN = 0.25
"""Largest turn of a camera as a share of its lens's smaller angle.

Between photographs that look alike no camera sees past their edges, where scenes have holes.
"""
_DRAWN = 8
"""Cameras drawn for each that is taken."""


@dataclass(frozen=True)
class Roles:
    """Roles of photographs, by number.

    Attributes:
        train: used for training.
        gate: decide which of two scenes is kept; empty if nothing is decided.
        held_out: used only for the final evaluation.
    """

    train: tuple[int, ...]
    gate: tuple[int, ...]
    held_out: tuple[int, ...]


def roles_of(count: int, held_out_every: int, deciding_every: int, held_out: Sequence[bool] = ()) -> Roles:
    """Holds out every n-th photograph, starting in the middle of the first n; every m-th of the rest is a gate view.

    With `deciding_every` 0 there are no gate views. If the capture brings a split, `held_out` is it, and n is unused.
    """
    own = tuple(number for number, held in enumerate(held_out) if held)
    judging = own or tuple(range(count))[held_out_every // 2 :: held_out_every]
    others = [number for number in range(count) if number not in judging]
    deciding = tuple(others[deciding_every // 2 :: deciding_every]) if deciding_every else ()
    return Roles(tuple(number for number in others if number not in deciding), deciding, judging)


def cameras_between(
    shots: Sequence[ShotFacts], cameras: Sequence[Camera], roles: Roles, count: int, random: np.random.Generator
) -> list[Camera]:
    """Cameras in the gaps between training photographs; uses no other photographs.

    Close to a photograph a scene has few artefacts to repair. From many slightly turned candidates between neighbours,
    the function picks one by one the camera farthest from all training photographs and from those already picked.

    Args:
        shots, cameras: of all photographs.
        roles: which photographs train.
        count: number of cameras.
        random: draws photographs, neighbours, positions between them and rotations.
    """
    known = [shots[number] for number in roles.train]
    unit = spread(known)
    drawn = []
    for place in random.integers(len(known), size=_DRAWN * count):
        others = sorted(range(len(known)), key=lambda each: (pose_distance(known[place], known[each], unit), each))
        other = random.choice([each for each in others if each != place][:_NEIGHBOURS])
        first, second = cameras[roles.train[place]], cameras[roles.train[other]]
        drawn.append(turned(between(first, second, float(random.uniform(0.3, 0.7))), random))
    facts = [shot_facts(camera) for camera in drawn]
    distances = np.array([min(pose_distance(each, other, unit) for other in known) for each in facts])
    found = []
    for _ in range(count):
        farthest = int(distances.argmax())
        found.append(drawn[farthest])
        distances = np.minimum(distances, [pose_distance(each, facts[farthest], unit) for each in facts])
    return found


def cameras_towards(
    shots: Sequence[ShotFacts], cameras: Sequence[Camera], roles: Roles, count: int, share: float
) -> list[Camera]:
    """Cameras on the way from training photographs to held-out poses, in turn; share 1 is the held-out pose itself.

    Callers must report that the held-out evaluation is then no longer blind.
    """
    found = []
    for number in range(count):
        goal = roles.held_out[number % len(roles.held_out)]
        begin = nearest(shots, goal, roles.train)
        assert begin is not None
        # Spread several views of one target along the way.
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


def turned(camera: Camera, random: np.random.Generator) -> Camera:
    """The camera rotated in place, up, down or sideways, by a random angle."""
    smaller = 2 * np.arctan(min(camera.width, camera.height) / 2 / camera.focal[0])
    half = random.uniform(0, _TURN) * smaller / 2
    aside = random.uniform(0, 2 * np.pi)
    turn = np.array([np.cos(half), np.sin(half) * np.cos(aside), np.sin(half) * np.sin(aside), 0])
    return camera.with_pose(rigid(rotation_from_quaternion(turn), np.zeros(3)) @ camera.camera_from_world)


def along(cameras: Sequence[Camera], frames: int) -> list[Camera]:
    """A path from camera to camera, with the intrinsics of the first."""
    places = np.linspace(0, len(cameras) - 1, frames)
    first = cameras[0]
    found = []
    for place in places:
        number = min(int(place), len(cameras) - 2)
        pose = between(cameras[number], cameras[number + 1], float(place) - number).camera_from_world
        found.append(first.with_pose(pose))
    return found
