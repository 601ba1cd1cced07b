"""Closed-form ray intersections with the solids of the synthetic world.

Coordinates are world coordinates with OpenCV axes (y points down, so the floor has the larger y) in
metres. A ray is ``origin + t * direction``; directions need no unit length. Every shape answers three
questions about (N, 3) arrays: the first t > `NEAREST` at which a ray meets its surface (inf for a
miss), which part of the surface a point on it belongs to, and the unit normal there, towards the side
from which rays come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Vector = tuple[float, float, float]

NEAREST = 1e-4


def dot(first: Floats, second: Floats) -> Floats:
    """Products of (..., 3) vectors; written out because a reduction over three elements is slow."""
    product: Floats = first[..., 0] * second[..., 0]
    product = product + first[..., 1] * second[..., 1]
    return product + first[..., 2] * second[..., 2]


def _smallest(values: Floats) -> Floats:
    """The least of three components that is not NaN."""
    return np.fmin(np.fmin(values[..., 0], values[..., 1]), values[..., 2])


class Shape(Protocol):
    """What the ray caster needs to know about a solid."""

    @property
    def parts(self) -> int: ...

    def intersect(self, origin: Floats, directions: Floats) -> Floats: ...

    def part(self, points: Floats) -> NDArray[np.int32]: ...

    def normals(self, points: Floats) -> Floats: ...


@dataclass(frozen=True)
class InteriorBox:
    """A room seen from inside; parts: 0 -x, 1 +x, 2 ceiling (-y), 3 floor (+y), 4 -z, 5 +z."""

    half_size: Vector
    parts: int = 6

    def intersect(self, origin: Floats, directions: Floats) -> Floats:
        half = np.asarray(self.half_size, directions.dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            exits = (np.copysign(half, directions) - origin) / directions
        return _smallest(exits)

    def part(self, points: Floats) -> NDArray[np.int32]:
        relative = points / np.asarray(self.half_size, points.dtype)
        axis = np.argmax(np.abs(relative), axis=-1)
        positive = np.take_along_axis(relative, axis[:, None], axis=-1)[:, 0] > 0
        part: NDArray[np.int32] = (2 * axis + positive).astype(np.int32)
        return part

    def normals(self, points: Floats) -> Floats:
        inward = np.concatenate([np.stack([row, -row]) for row in np.eye(3, dtype=points.dtype)])
        return inward[self.part(points)]


@dataclass(frozen=True)
class InteriorCylinder:
    """An upright round room seen from inside; parts: 0 wall, 1 ceiling (-y), 2 floor (+y)."""

    radius: float
    half_height: float
    parts: int = 3

    def intersect(self, origin: Floats, directions: Floats) -> Floats:
        dx, dy, dz = directions[..., 0], directions[..., 1], directions[..., 2]
        ox, oy, oz = origin[..., 0], origin[..., 1], origin[..., 2]
        a, b = dx * dx + dz * dz, ox * dx + oz * dz
        c = ox * ox + oz * oz - self.radius**2
        with np.errstate(divide="ignore", invalid="ignore"):
            wall = (np.sqrt(np.maximum(b * b - a * c, 0)) - b) / a
            cap = (np.copysign(self.half_height, dy) - oy) / dy
        return np.fmin(wall, cap)

    def part(self, points: Floats) -> NDArray[np.int32]:
        radial = np.hypot(points[:, 0], points[:, 2]) / self.radius
        vertical = points[:, 1] / self.half_height
        caps = np.where(vertical > 0, 2, 1)
        return np.where(radial >= np.abs(vertical), 0, caps).astype(np.int32)

    def normals(self, points: Floats) -> Floats:
        wall = -points / self.radius
        wall[:, 1] = 0
        up = np.array([[0, 0, 0], [0, 1, 0], [0, -1, 0]], points.dtype)
        part = self.part(points)
        return np.where((part == 0)[:, None], wall, up[part])


@dataclass(frozen=True)
class Sphere:
    center: Vector
    radius: float
    parts: int = 1

    def intersect(self, origin: Floats, directions: Floats) -> Floats:
        offset = origin - np.asarray(self.center, directions.dtype)
        a, b = dot(directions, directions), dot(offset, directions)
        c = dot(offset, offset) - self.radius**2
        discriminant = b * b - a * c
        distance = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
        return np.where((discriminant >= 0) & (distance > NEAREST), distance, np.inf)

    def part(self, points: Floats) -> NDArray[np.int32]:
        return np.zeros(len(points), np.int32)

    def normals(self, points: Floats) -> Floats:
        return (points - np.asarray(self.center, points.dtype)) / self.radius


@dataclass(frozen=True)
class Box:
    """A solid box turned about the vertical axis by yaw radians."""

    center: Vector
    half_size: Vector
    yaw: float = 0.0
    parts: int = 1

    def _local_from_world(self) -> NDArray[np.float64]:
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])

    def _to_local(self, vectors: Floats) -> Floats:
        return vectors @ self._local_from_world().T.astype(vectors.dtype)

    def intersect(self, origin: Floats, directions: Floats) -> Floats:
        half = np.asarray(self.half_size, directions.dtype)
        local_origin = self._to_local(origin - np.asarray(self.center, directions.dtype))
        local = self._to_local(directions)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / local
            middle, reach = -local_origin * inverse, half * np.abs(inverse)
        enter = -_smallest(reach - middle)
        leave = _smallest(middle + reach)
        return np.where((enter <= leave) & (enter > NEAREST), enter, np.inf)

    def part(self, points: Floats) -> NDArray[np.int32]:
        return np.zeros(len(points), np.int32)

    def normals(self, points: Floats) -> Floats:
        local = self._to_local(points - np.asarray(self.center, points.dtype))
        relative = local / np.asarray(self.half_size, points.dtype)
        axis = np.argmax(np.abs(relative), axis=-1)
        normals = np.zeros_like(local)
        rows = np.arange(len(local))
        normals[rows, axis] = np.sign(relative[rows, axis])
        return normals @ self._local_from_world().astype(points.dtype)
