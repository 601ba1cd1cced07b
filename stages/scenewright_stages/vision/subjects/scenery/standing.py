"""Estimates the base and height of things on the table, and computes their shadows.

A cut-out has no depth, so it is treated as a cylinder on its base: every pixel covers the part of its ray inside that
cylinder. Shadows then start at the base, have the right length, and soften with the height of the occluder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.subjects.scenery.panorama import Illumination
from scenewright_stages.vision.types import Float32Array

_PITCHES = range(4, 61, 2)
_SAMPLES = 7
"""Points along each line of sight."""
_CELLS = 80
"""Cells of the shadow's grid across the longer side of the first thing."""
_REACH = 3.2
"""How far the grid reaches beyond the things, in their longer sides."""
_MOST_CELLS = 2400
"""Cells along one side of the grid at most, whatever the distance between things."""
_LAYERS = 3
_COARSEST = 8
"""Cells of the grid that a wide blur takes together at most."""


@dataclass(frozen=True)
class Base:
    """Where a cut-out meets the table.

    Attributes:
        column, row: centre of its base, pixels of the cut-out.
        radius: of its base, pixels.
        height: of the thing, pixels.
        pitch: downward pitch of the camera, degrees.
    """

    column: float
    row: float
    radius: float
    height: float
    pitch: float


@dataclass(frozen=True, eq=False)
class Solid:
    """Points of a thing on the table: (N, 3) float32 x, height, z in world units."""

    points: Float32Array


def base_of(inside: NDArray[np.bool_], pitch: float | None = None) -> Base:
    """The base of a cut-out: the largest disc, seen at the pitch, whose lower half matches the outline.

    Args:
        inside: (H, W) bool, the silhouette; not empty.
        pitch: downward pitch of the camera, degrees; None: the one that fits the lower outline best.
    """
    if pitch is not None:
        return _base_at(inside, pitch)[0]
    return min((_base_at(inside, float(each)) for each in _PITCHES), key=lambda found: found[1])[0]


def solid_of(inside: NDArray[np.bool_], base: Base, x: float, z: float, scale: float) -> Solid:
    """The points of a thing with its base at (x, z), scaled by `scale`, on a grid of a few thousand pixels."""
    step = max(1, round(math.sqrt(max(int(inside.sum()), 1) / 2500)))
    rows, columns = np.nonzero(inside[::step, ::step])
    across = columns * step - base.column
    up = base.row - rows * step
    sine, cosine = math.sin(math.radians(base.pitch)), math.cos(math.radians(base.pitch))
    reach = np.sqrt(np.maximum(base.radius**2 - np.minimum(np.abs(across), 0.999 * base.radius) ** 2, 1.0))
    # Along a line of sight up = h cos + d sin: the part with 0 <= h <= height and |d| <= reach.
    low = np.maximum(-reach, (up - base.height * cosine) / sine)
    high = np.minimum(reach, up / sine)
    middle = (low + high) / 2
    low, high = np.where(low > high, middle, low), np.where(low > high, middle, high)
    share = np.linspace(0, 1, _SAMPLES)[:, None]
    depth = low + (high - low) * share
    height = np.clip((up - depth * sine) / cosine, 0, base.height)
    points = np.stack([np.broadcast_to(across, depth.shape) * scale + x, height * scale, depth * scale + z], axis=-1)
    return Solid(points.reshape(-1, 3).astype(np.float32))


@dataclass(frozen=True, eq=False)
class GroundLight:
    """Irradiance over pi of the table, on a grid; elsewhere it is unshadowed.

    Attributes:
        values: (rows along z, columns along x, 3) float32.
        left, near, cell: world coordinates of the first cell's corner, and the side of a cell.
        unshadowed: (3,) float32.
    """

    values: Float32Array
    left: float
    near: float
    cell: float
    unshadowed: Float32Array

    def at(self, x: Float32Array, z: Float32Array) -> Float32Array:
        """(..., 3) irradiance over pi at table positions, (H, W) each."""
        columns = ((x - self.left) / self.cell - 0.5).astype(np.float32)
        rows = ((z - self.near) / self.cell - 0.5).astype(np.float32)
        border = [float(value) for value in self.unshadowed]
        found = cv2.remap(
            self.values, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border
        )
        return np.asarray(found, np.float32)


def ground_light(solids: Sequence[Solid], light: Illumination, side: float) -> GroundLight:
    """The light on the table with the shadows of things.

    Args:
        solids: the things.
        light: from all directions.
        side: of the first thing, world units; sets the resolution.
    """
    cell = max(side / _CELLS, 1.0)
    points = np.concatenate([each.points for each in solids])
    reach = _REACH * side
    (near, rows), (left, columns) = (_cells(points[:, axis], solids[0].points[:, axis], reach, cell) for axis in (2, 0))
    shape = rows, columns
    total = np.zeros((3, *shape), np.float32)
    tallest = max(float(points[:, 1].max()), 1e-3)
    layers = [points[(points[:, 1] >= low) & (points[:, 1] <= high)] for low, high in _heights(tallest)]
    for direction, colour, spread in zip(light.directions, light.colours, light.spreads, strict=True):
        hidden = np.zeros(shape, np.float32)
        for layer in layers:
            if len(layer):
                shade = _thrown(layer, direction, (left, near, cell), shape)
                blur = float(layer[:, 1].mean()) * math.tan(min(spread, 0.9)) / float(direction[1]) / cell
                np.maximum(hidden, softened(shade, max(blur, 0.8)), out=hidden)
        shown = 1 - hidden
        for channel in range(3):
            total[channel] += shown * colour[channel]
    return GroundLight(np.ascontiguousarray(np.moveaxis(total, 0, -1)), left, near, cell, light.on_table)


def _cells(places: Float32Array, first: Float32Array, reach: float, cell: float) -> tuple[float, int]:
    """Start of the grid along one axis and its number of cells: around all things, as far as the grid may go.

    What stands far away, such as something near the horizon, has its shadow there and needs no cells in between.
    """
    low, high = float(places.min()) - reach, float(places.max()) + reach
    middle, most = float(first.mean()), _MOST_CELLS * cell / 2
    low, high = max(low, middle - most), min(high, middle + most)
    return low, _COARSEST * math.ceil((high - low) / cell / _COARSEST)


def softened(shade: Float32Array, sigma: float) -> Float32Array:
    """(H, W) float32 blurred with a standard deviation in cells; H and W are multiples of 8.

    A wide blur leaves no fine detail, so it runs at reduced resolution.
    """
    factor = 1
    while factor < _COARSEST and sigma >= 4 * factor:
        factor *= 2
    if factor == 1:
        return np.asarray(cv2.GaussianBlur(shade, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    height, width = shade.shape
    small = cv2.resize(shade, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    # Account for the variance that down- and upsampling add: a box and a triangle filter.
    left = math.sqrt(sigma**2 - factor**2 / 4) / factor
    small = cv2.GaussianBlur(small, (0, 0), left, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _heights(tallest: float) -> list[tuple[float, float]]:
    edges = tallest * np.linspace(0, 1, _LAYERS + 1) ** 1.5
    return [(float(low), float(high)) for low, high in itertools.pairwise(edges)]


def _thrown(
    points: Float32Array, direction: Float32Array, grid: tuple[float, float, float], shape: tuple[int, int]
) -> Float32Array:
    """(rows, columns) 1 where the points cast their shadow."""
    left, near, cell = grid
    x = points[:, 0] - points[:, 1] * (direction[0] / direction[1])
    z = points[:, 2] - points[:, 1] * (direction[2] / direction[1])
    columns, rows = ((x - left) / cell).astype(np.int32), ((z - near) / cell).astype(np.int32)
    kept = (columns >= 0) & (columns < shape[1]) & (rows >= 0) & (rows < shape[0])
    hit = np.zeros(shape, np.float32)
    hit[rows[kept], columns[kept]] = 1
    # Close gaps, because points are up to two cells apart.
    return np.asarray(cv2.morphologyEx(hit, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), np.float32)


def _base_at(inside: NDArray[np.bool_], pitch: float) -> tuple[Base, float]:
    """The base at a pitch, and the fit error of its disc to the lower outline (mean distance over its radius)."""
    rows = np.flatnonzero(inside.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1])
    sine, cosine = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    whole = np.flatnonzero(inside.any(axis=0))
    half_width = (whole[-1] - whole[0] + 1) / 2
    radius, column, row = 1.0, float(np.flatnonzero(inside[bottom]).mean()), float(bottom)
    for each in range(bottom, max(top, bottom - math.ceil(half_width * sine * 1.05)) - 1, -1):
        across = np.flatnonzero(inside[each])
        needed = (bottom - each) / sine
        if len(across) and (across[-1] - across[0] + 1) / 2 >= needed * 0.97:
            radius, column, row = max(needed, 1.0), float(across[0] + across[-1]) / 2, float(each)
    last = inside.shape[0] - 1 - np.argmax(inside[::-1], axis=0)
    columns = np.arange(inside.shape[1])
    share = (columns - column) / max(radius, 1.0)
    kept = inside.any(axis=0) & (np.abs(share) < 0.95)
    fitted = row + radius * sine * np.sqrt(1 - np.minimum(np.abs(share[kept]), 1) ** 2)
    error = float(np.abs(last[kept] - fitted).mean()) / radius if kept.any() else 1.0
    # Penalise a disc much narrower than the thing, because it fits any outline.
    error += 0.15 * max(0.0, 1 - radius / half_width)
    height = max((row - top - radius * sine) / cosine, 0.15 * radius)
    return Base(column, row, radius, height, pitch), error
