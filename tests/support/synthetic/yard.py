"""The open-air family: objects on a wide floor under a sky, for what looks beyond a room."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from synthetic.rendering import SyntheticView
from synthetic.shapes import Box, InteriorBox, Shape, Sphere
from synthetic.textures import seeded_texture
from synthetic.world import Body, Light, World

EYE = (0.0, 10.4, 0.0)
_HALF = (60.0, 12.0, 60.0)
_FLOOR = 3


def yard(seed: int = 0) -> World:
    """Spheres and boxes 4 to 9 m before a camera that stands in the middle of a floor 120 m wide."""
    random = np.random.default_rng([seed, 5])
    faces = tuple(seeded_texture(random, axis) for axis in (0, 0, 1, 1, 2, 2))
    objects = tuple(_object(number, random) for number in range(5))
    light = Light("directional", (0.4, -0.8, -0.4))
    return World((Body(InteriorBox(_HALF), faces), *objects), light, ambient=0.4, half_size=_HALF)


def yard_camera(width: int, height: int) -> Camera:
    """Where a photographer stands: 1.6 m above the floor, looking along +z; the world is moved into its axes."""
    pose = np.eye(4)
    pose[:3, 3] = -np.array(EYE)
    return Camera.from_field_of_view(width, height, 60.0, pose)


def sky_of(view: SyntheticView) -> NDArray[np.bool_]:
    """(H, W) bool: what is neither floor nor object."""
    return (view.instance < 6) & (view.instance != _FLOOR)


def _object(number: int, random: np.random.Generator) -> Body:
    x, z = 1.7 * (number - 2) + random.uniform(-0.4, 0.4), random.uniform(4.0, 9.0)
    size = random.uniform(0.5, 0.9)
    shape: Shape = Sphere((x, _HALF[1] - size, z), size)
    if number % 2:
        shape = Box((x, _HALF[1] - 1.3 * size, z), (0.7 * size, 1.3 * size, 0.7 * size), random.uniform(0, np.pi / 2))
    return Body(shape, (seeded_texture(random, None),), specular=0.05)
