"""Band-limited procedural albedo: sums of seeded sinusoids and a soft checkerboard.

A texture is a function of the world position (a solid texture), so no surface needs coordinates of its
own. There are gradients everywhere, and no frequency above `HIGHEST_FREQUENCY` apart from the weak
harmonics of the softened checkerboard, so views can be compared at the resolutions of the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LOWEST_FREQUENCY = 0.25  # cycles per metre
HIGHEST_FREQUENCY = 2.5
_WAVES = 6
_CHECKER_SOFTNESS = 3.0


@dataclass(frozen=True, eq=False)
class Texture:
    """Linear albedo as a function of position.

    Attributes:
        base: (3,) mean linear albedo.
        waves: (K, 3) spatial frequencies, radians per metre.
        phases: (K,) radians.
        colours: (K, 3) linear albedo amplitudes.
        checker_waves: (2, 3) radians per metre: half a turn is one field of the board.
        checker_colour: (3,) linear albedo amplitude.
    """

    base: Floats
    waves: Floats
    phases: Floats
    colours: Floats
    checker_waves: Floats
    checker_colour: Floats

    def albedo_linear(self, points: Floats) -> Floats:
        """(N, 3) world points, metres, to (N, 3) linear albedo in [0.02, 0.98]."""
        kind = points.dtype
        angles = points @ self.waves.T.astype(kind) + self.phases.astype(kind)
        albedo: Floats = np.sin(angles) @ self.colours.astype(kind) + self.base.astype(kind)
        fields = np.sin(points @ self.checker_waves.T.astype(kind))
        board = fields[:, 0] * fields[:, 1]
        albedo += np.tanh(_CHECKER_SOFTNESS * board)[:, None] * self.checker_colour.astype(kind)
        return np.clip(albedo, 0.02, 0.98)


def seeded_texture(random: np.random.Generator, normal_axis: int | None) -> Texture:
    """A random texture; normal_axis (0, 1, 2) keeps its waves inside the plane of a wall, None is solid."""
    waves = _directions(random, _WAVES, normal_axis)
    frequencies = np.geomspace(LOWEST_FREQUENCY, HIGHEST_FREQUENCY, _WAVES)
    amplitudes = 0.16 * np.geomspace(1.0, 0.35, _WAVES)
    tints = random.uniform(0.35, 1.0, (_WAVES, 3)) * random.choice([-1.0, 1.0], (_WAVES, 1))
    checker = _directions(random, 1, normal_axis)[0]
    return Texture(
        base=random.uniform(0.25, 0.6, 3),
        waves=2 * np.pi * frequencies[:, None] * waves,
        phases=random.uniform(0, 2 * np.pi, _WAVES),
        colours=amplitudes[:, None] * tints,
        checker_waves=np.pi / random.uniform(0.45, 0.8) * np.stack([checker, _hole_borders(checker, normal_axis)]),
        checker_colour=random.uniform(0.06, 0.12) * random.uniform(0.5, 1.0, 3),
    )


def _directions(random: np.random.Generator, count: int, normal_axis: int | None) -> Floats:
    vectors = random.normal(size=(count, 3))
    if normal_axis is not None:
        vectors[:, normal_axis] = 0
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _hole_borders(direction: Floats, normal_axis: int | None) -> Floats:
    normal = np.eye(3)[1 if normal_axis is None else normal_axis]
    across: Floats = np.cross(direction, normal)
    across /= np.linalg.norm(across)
    return across
