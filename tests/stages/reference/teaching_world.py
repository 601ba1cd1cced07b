"""A tin with a ball on it, ray cast: its one product photo, and rooms that no network has seen.

In the rooms stand other things in the tin's own colours. A quarter of the rooms hold only those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from synthetic.rendering import render
from synthetic.shapes import Box, InteriorBox, Sphere, Vector
from synthetic.textures import Texture, seeded_texture
from synthetic.world import Body, Light, World

from scenewright_stages.vision.geometry.cameras import Camera, look_at

Floats = NDArray[np.floating]
Mask = NDArray[np.bool_]

YELLOW, TEAL = np.array([0.62, 0.38, 0.05]), np.array([0.04, 0.30, 0.33])
TIN: Vector = (0.24, 0.24, 0.17)
BALL = 0.12
FLOOR = 1.2
_ABSENT = 0.25


@dataclass(frozen=True, eq=False)
class Checks(Texture):
    """Fields in two colours that belong to a body: they turn with it."""

    centre: Vector = (0.0, 0.0, 0.0)
    yaw: float = 0.0

    def albedo_linear(self, points: Floats) -> Floats:
        """(N, 3) linear albedo of (N, 3) world points."""
        x, y, z = (points - np.asarray(self.centre, points.dtype)).T
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        along, across = cosine * x - sine * z, sine * x + cosine * z
        board = np.sin(np.pi * along / 0.12) * np.sin(np.pi * across / 0.12 + 0.4) * np.sin(np.pi * y / 0.12)
        share = (0.5 + 0.5 * np.tanh(9 * board))[:, None]
        return np.asarray(share * YELLOW + (1 - share) * TEAL, points.dtype)


def plain(colour: Floats, spread: float = 0.0, random: np.random.Generator | None = None) -> Texture:
    """One colour, with waves of some height."""
    made = seeded_texture(random or np.random.default_rng(0), None)
    share = spread / 0.16
    return replace(made, base=np.asarray(colour), colours=made.colours * share, checker_colour=np.zeros(3))


def tin(yaw: float) -> tuple[Body, ...]:
    """The object on the floor of the middle, turned by `yaw` radians."""
    centre = (0.0, FLOOR - TIN[1], 0.0)
    none = plain(np.zeros(3))
    checks = Checks(**{name: getattr(none, name) for name in none.__dataclass_fields__}, centre=centre, yaw=yaw)
    ball = Sphere((0.0, FLOOR - 2 * TIN[1] - 0.8 * BALL, 0.0), BALL)
    return Body(Box(centre, TIN, yaw), (checks,), 0.05), Body(ball, (plain(YELLOW),), 0.1)


def photo(side: int = 420) -> tuple[NDArray[np.uint8], Mask]:
    """The product photo and its mask."""
    white = (plain(np.full(3, 0.85)),) * 6
    world = World((Body(InteriorBox((2.0, FLOOR, 2.0)), white), *tin(0.0)), Light("directional", (-0.5, -1.0, -0.8)),
                  0.4, (2.0, FLOOR, 2.0))  # fmt: skip
    view = render(world, camera(0.0, 20.0, 1.9, side), 2)
    return np.rint(view.srgb * 255).astype(np.uint8), view.instance >= 6


def camera(azimuth: float, pitch: float, distance: float, side: int, aim: Floats | None = None) -> Camera:
    """Looks down at the object by `pitch` degrees from `azimuth` degrees beside its front."""
    middle = np.array([0, FLOOR - 0.3, 0]) + (np.zeros(3) if aim is None else aim)
    angle, down = np.radians(azimuth), np.radians(pitch)
    offset = distance * np.array([np.sin(angle) * np.cos(down), -np.sin(down), -np.cos(angle) * np.cos(down)])
    return Camera.from_field_of_view(side, side, 36.0, look_at(middle + offset, middle))


def room(seed: int, side: int = 128) -> tuple[NDArray[np.uint8], Mask]:
    """A room with other things, in three of four also with the object, and the object's exact mask."""
    random = np.random.default_rng([seed, 77])
    half = (random.uniform(1.7, 2.1), FLOOR, random.uniform(1.7, 2.1))
    walls = tuple(seeded_texture(random, axis) for axis in (0, 0, 1, 1, 2, 2))
    absent = random.uniform() < _ABSENT
    azimuth = random.uniform(-30, 30)
    yaw = 0.0
    others = tuple(_distractor(random, number) for number in range(int(random.integers(2, 5))))
    objects = () if absent else tin(yaw)
    lamp = (random.uniform(-0.9, 0.9), -1.0, random.uniform(-1.2, 0.2))
    colour = 0.6 * (1 + random.uniform(-0.15, 0.15, 3))
    light = Light("directional", lamp, (float(colour[0]), float(colour[1]), float(colour[2])))
    world = World((Body(InteriorBox(half), walls), *objects, *others), light, random.uniform(0.25, 0.5), half)
    aim = np.array([random.uniform(-0.25, 0.25), random.uniform(-0.12, 0.12), 0.0])
    view = render(world, camera(azimuth, random.uniform(14, 28), random.uniform(1.9, 2.7), side, aim), 2)
    mask = np.isin(view.instance, [6, 7]) & (not absent)
    return np.rint(view.srgb * 255).astype(np.uint8), mask


def _distractor(random: np.random.Generator, number: int) -> Body:
    """A box or ball beside the object's place; two of three in one of its colours."""
    side = (-1) ** number
    x, z = side * random.uniform(0.38, 0.7), random.uniform(-0.25, 0.7)
    kind = random.integers(3)
    if kind < 2:
        texture = plain((YELLOW, TEAL)[kind] * random.uniform(0.8, 1.2), 0.03, random)
    else:
        texture = seeded_texture(random, None)
    if random.uniform() < 0.5:
        radius = random.uniform(0.1, 0.2)
        return Body(Sphere((x, FLOOR - radius, z), radius), (texture,), 0.1)
    size = (random.uniform(0.08, 0.18), random.uniform(0.1, 0.28), random.uniform(0.08, 0.18))
    return Body(Box((x, FLOOR - size[1], z), size, random.uniform(0, np.pi / 2)), (texture,), 0.05)
