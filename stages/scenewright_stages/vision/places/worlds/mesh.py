"""Renders RGB-D images from other viewpoints, as meshes that are torn at depth discontinuities.

A mesh has no cracks at any distance, and gives for every pixel its source position in an image, so that colours are
sampled only once and stay sharp. Meshes of panoramas are closed at the seam.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import depth_edges, unproject
from scenewright_stages.vision.places.worlds.panorama import directions, remap_list
from scenewright_stages.vision.types import Float32Array, Mask

_TEAR = 0.04
"""Jump of inverse depth, relative to itself, at which a mesh is torn."""
_NEAR = np.float32(0.02)


@dataclass(frozen=True, eq=False)
class Surface:
    """An RGB-D image as a mesh in the world.

    Attributes:
        srgb: (H, W, 3) float32.
        points: (H, W, 3) float32 metres, world coordinates; NaN if unknown.
        torn: (H, W) bool, pixels at a depth jump; triangles between two such pixels of different depth are dropped.
        distance: (H, W) float32 metres from the image's viewpoint.
        closed: whether the last column is connected to the first.
    """

    srgb: Float32Array
    points: Float32Array
    torn: Mask
    distance: Float32Array
    closed: bool = False

    @classmethod
    def of_panorama(cls, srgb: Float32Array, distance: Float32Array) -> Surface:
        """The mesh of a panorama around the origin, from distances along the rays; 0 where unknown."""
        points = directions(len(distance)) * np.where(distance > 0, distance, np.nan)[..., None]
        wide = np.concatenate([distance[:, -2:], distance, distance[:, :2]], axis=1)
        return cls(srgb, points.astype(np.float32), depth_edges(wide, _TEAR)[:, 2:-2], distance, closed=True)

    @classmethod
    def of_view(cls, srgb: Float32Array, depth: Float32Array, camera: Camera) -> Surface:
        """The mesh of a view, from z-depth; 0 where unknown."""
        return cls(srgb, unproject(depth, camera).astype(np.float32), depth_edges(depth, _TEAR), depth)

    def only(self, mask: Mask) -> Surface:
        """The part of the mesh inside an (H, W) mask."""
        return replace(self, points=np.where(mask[..., None], self.points, np.float32(np.nan)))


@dataclass(frozen=True, eq=False)
class Seen:
    """A camera's render of surfaces.

    Attributes:
        srgb: (H, W, 3) float32, 0 where empty.
        depth: (H, W) float32 z-depth in metres, 0 where empty.
        source: (H, W) int32, number of the surface, -1 where empty.
    """

    srgb: Float32Array
    depth: Float32Array
    source: NDArray[np.int32]

    @property
    def hole(self) -> Mask:
        """(H, W) bool: pixels that show no surface."""
        return np.asarray(self.source < 0)


def look(surfaces: Sequence[Surface], camera: Camera) -> Seen:
    """Renders the nearest surface in every pixel, with the colours of its image."""
    shape = (camera.height, camera.width)
    depth = np.full(shape, np.inf, np.float32)
    source = np.full(shape, -1, np.int32)
    places = np.zeros((*shape, 2), np.float32)
    for number, surface in enumerate(surfaces):
        local = surface.points @ camera.camera_from_world[:3, :3].T.astype(np.float32)
        local = (local + camera.camera_from_world[:3, 3].astype(np.float32)).astype(np.float32)
        lens = np.array([*camera.focal, *camera.principal_point], np.float32)
        _draw(local, surface.torn, surface.distance, surface.closed, lens, number, depth, source, places)
    srgb = np.zeros((*shape, 3), np.float32)
    for number, surface in enumerate(surfaces):
        mine = source == number
        if mine.any():
            srgb[mine] = _colours(surface, places[mine])
    return Seen(srgb, np.where(source >= 0, depth, 0).astype(np.float32), source)


def _colours(surface: Surface, places: Float32Array) -> Float32Array:
    """(N, 3) colours at (N, 2) positions (column, row) of a surface's image; whole numbers are pixel centres."""
    # One extra column closes the circle of a panorama.
    picture = np.concatenate([surface.srgb, surface.srgb[:, :1]], axis=1) if surface.closed else surface.srgb
    return remap_list(picture, places[:, 0], places[:, 1])


@njit(cache=True, nogil=True)
def _draw(local, torn, distance, closed, lens, number, depth, source, places):
    rows, columns = torn.shape
    last = columns if closed else columns - 1
    for row in range(rows - 1):
        for column in range(last):
            right = column + 1 if column + 1 < columns else 0
            for half in range(2):
                if half == 0:
                    r = (row, row, row + 1)
                    c = (column, right, column)
                    u = (column, column + 1, column)
                else:
                    r = (row, row + 1, row + 1)
                    c = (right, right, column)
                    u = (column + 1, column + 1, column)
                x0, x1, x2 = local[r[0], c[0]], local[r[1], c[1]], local[r[2], c[2]]
                # Comparisons with NaN are false.
                if not (x0[2] > _NEAR and x1[2] > _NEAR and x2[2] > _NEAR):
                    continue
                if torn[r[0], c[0]] or torn[r[1], c[1]] or torn[r[2], c[2]]:
                    d0, d1, d2 = distance[r[0], c[0]], distance[r[1], c[1]], distance[r[2], c[2]]
                    if max(d0, d1, d2) > 1.08 * min(d0, d1, d2):
                        continue
                _triangle(x0, x1, x2, r, u, lens, number, depth, source, places)


@njit(cache=True, nogil=True)
def _triangle(x0, x1, x2, r, u, lens, number, depth, source, places):
    height, width = depth.shape
    w0, w1, w2 = 1 / x0[2], 1 / x1[2], 1 / x2[2]
    ax, ay = x0[0] * w0 * lens[0] + lens[2], x0[1] * w0 * lens[1] + lens[3]
    bx, by = x1[0] * w1 * lens[0] + lens[2], x1[1] * w1 * lens[1] + lens[3]
    cx, cy = x2[0] * w2 * lens[0] + lens[2], x2[1] * w2 * lens[1] + lens[3]
    left = max(0, int(np.floor(min(ax, bx, cx) - np.float32(0.5))))
    stop = min(width, int(np.ceil(max(ax, bx, cx) + np.float32(0.5))))
    top = max(0, int(np.floor(min(ay, by, cy) - np.float32(0.5))))
    bottom = min(height, int(np.ceil(max(ay, by, cy) + np.float32(0.5))))
    if left >= stop or top >= bottom:
        return
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < np.float32(1e-9):
        return
    # Rounding must not leave cracks between neighbours.
    slack = np.float32(-1e-3)
    for y in range(top, bottom):
        py = y + np.float32(0.5)
        for x in range(left, stop):
            px = x + np.float32(0.5)
            s1 = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) / area
            s2 = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / area
            s0 = 1 - s1 - s2
            if s0 < slack or s1 < slack or s2 < slack:
                continue
            inverse = s0 * w0 + s1 * w1 + s2 * w2
            if inverse <= 0:
                continue
            z = 1 / inverse
            if z < depth[y, x]:
                depth[y, x] = z
                source[y, x] = number
                places[y, x, 0] = (s0 * w0 * u[0] + s1 * w1 * u[1] + s2 * w2 * u[2]) * z
                places[y, x, 1] = (s0 * w0 * r[0] + s1 * w1 * r[1] + s2 * w2 * r[2]) * z


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache, with a tiny image."""
    camera = Camera.from_field_of_view(8, 8, 60.0)
    picture = np.full((8, 8, 3), 0.5, np.float32)
    look([Surface.of_view(picture, np.ones((8, 8), np.float32), camera)], camera)
