"""The synthetic worlds: what they hold, and the seeded families they come from.

`box_room` is the family that tests are written against; `cylinder_room` is the hold-out family that
nothing may be tuned to. World axes are OpenCV's (y down), the origin is the middle of the room.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, look_at
from synthetic.shapes import (
    Box,
    InteriorBox,
    InteriorCylinder,
    Shape,
    Sphere,
    Vector,
)
from synthetic.textures import Texture, seeded_texture

SEEDS = (0, 1, 2)

_OBJECTS = 5


@dataclass(frozen=True)
class Light:
    """A white-balanced light without fall-off, so that no surface leaves [0, 1].

    Attributes:
        kind: "point" (vector is its position, metres) or "directional" (vector points to the light).
        colour: linear RGB irradiance on a surface that faces the light.
    """

    kind: Literal["point", "directional"]
    vector: Vector
    colour: Vector = (0.6, 0.6, 0.6)


@dataclass(frozen=True, eq=False)
class Body:
    """A shape with one texture for each of its parts and Phong's specular term (linear)."""

    shape: Shape
    textures: tuple[Texture, ...]
    specular: float = 0.0
    exponent: float = 24.0


@dataclass(frozen=True, eq=False)
class World:
    """Bodies (the enclosing room first), one light and an ambient level (linear).

    Instance ids count the parts of the bodies in order: the faces of the room come first.
    """

    bodies: tuple[Body, ...]
    light: Light
    ambient: float
    half_size: Vector

    @property
    def first_instance(self) -> NDArray[np.int32]:
        """(bodies,) instance id of part 0 of each body."""
        counts = [body.shape.parts for body in self.bodies]
        return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)


def box_room(seed: int = 0, light: Light | None = None) -> World:
    """A room of about 4.6 x 2.6 x 5.4 m with spheres and boxes around a free middle.

    Textures, objects and (when light is None) the point light follow from seed.
    """
    random = np.random.default_rng([seed, 1])
    half = (random.uniform(2.2, 2.4), random.uniform(1.25, 1.35), random.uniform(2.6, 2.8))
    faces = tuple(seeded_texture(random, axis) for axis in (0, 0, 1, 1, 2, 2))
    return _furnished(Body(InteriorBox(half), faces), half, random, light)


def cylinder_room(seed: int = 0, light: Light | None = None) -> World:
    """The hold-out family: a round room with other sizes, textures and objects."""
    random = np.random.default_rng([seed, 2])
    radius, half_height = random.uniform(2.4, 2.7), random.uniform(1.3, 1.5)
    faces = (seeded_texture(random, None), seeded_texture(random, 1), seeded_texture(random, 1))
    half = (radius, half_height, radius)
    return _furnished(Body(InteriorCylinder(radius, half_height), faces), half, random, light)


def finer(world: World, factor: float) -> World:
    """The world with textures whose waves are so many times shorter."""

    def shorter(texture: Texture) -> Texture:
        return replace(texture, waves=texture.waves * factor, checker_waves=texture.checker_waves * factor)

    bodies = (replace(body, textures=tuple(map(shorter, body.textures))) for body in world.bodies)
    return replace(world, bodies=tuple(bodies))


def cameras_inside(
    world: World, count: int, width: int, height: int, *, horizontal_degrees: float = 70.0, seed: int = 0
) -> list[Camera]:
    """Cameras on a seeded ring in the free middle of the room, each looking across it.

    Together they see the whole room; neighbours overlap widely from about 8 cameras on.
    """
    random = np.random.default_rng([seed, 3])
    half = np.array(world.half_size)
    cameras = []
    for angle in 2 * np.pi * (np.arange(count) + random.uniform(0, 1, count) * 0.4) / max(count, 1):
        outwards = np.array([np.sin(angle), 0, np.cos(angle)])
        position = -outwards * half * 0.32 + np.array([0, random.uniform(-0.35, 0.15), 0])
        target = outwards * half * 0.5 + np.array([0, random.uniform(-0.2, 0.4), 0])
        pose = look_at(position, target)
        cameras.append(Camera.from_field_of_view(width, height, horizontal_degrees, pose))
    return cameras


def _furnished(room: Body, half: Vector, random: np.random.Generator, light: Light | None) -> World:
    objects = tuple(_object(index, half, random) for index in range(_OBJECTS))
    lamp = (random.uniform(-0.4, 0.4), -0.8 * half[1], random.uniform(-0.4, 0.4))
    return World((room, *objects), light or Light("point", lamp), ambient=0.35, half_size=half)


def _object(index: int, half: Vector, random: np.random.Generator) -> Body:
    """Spheres and boxes in turn, on the floor, one of them hanging; all outside the free middle."""
    angle = 2 * np.pi * (index + random.uniform(0.2, 0.8)) / _OBJECTS
    x, z = 0.64 * half[0] * np.sin(angle), 0.64 * half[2] * np.cos(angle)
    textures = (seeded_texture(random, None),)
    if index % 2:
        size = (random.uniform(0.18, 0.32), random.uniform(0.25, 0.55), random.uniform(0.18, 0.32))
        shape: Shape = Box((x, half[1] - size[1], z), size, random.uniform(0, np.pi / 2))
        return Body(shape, textures, specular=0.05)
    radius = random.uniform(0.25, 0.42)
    height = half[1] - radius if index else -0.2 * half[1]
    return Body(Sphere((x, height, z), radius), textures, specular=0.12)
