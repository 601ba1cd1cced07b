"""Estimates the layout of a place from one panorama: a level floor, vertical walls, and a ceiling or the sky.

Colours classify pixels as floor, wall or ceiling; the boundaries of floor and ceiling give the wall's distance in every
direction. Walls are planes with few orientations, found as the cheapest closed path around the panorama: inside a plane
distances follow perspective, and between planes they meet in a corner or jump. Corridors are found afterwards
(`openings`). The result is a prior, not a measurement; its only known length is the camera height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.places.worlds.boundaries import Evidence, costs_at, evidence_of
from scenewright_stages.vision.places.worlds.cheapest_path import closed_path, jumps
from scenewright_stages.vision.places.worlds.openings import Openings, find_openings
from scenewright_stages.vision.places.worlds.panorama import directions, sky_coloured
from scenewright_stages.vision.types import Float32Array, Float64Array, Mask

_CEILING_RATIOS = tuple(float(each) for each in np.geomspace(0.45, 2.2, 12))
"""Height of the ceiling above the camera over the camera's height."""
_NEAREST, _FARTHEST, _DISTANCES = 0.5, 12.0, 40
"""Of walls, in camera heights."""
_ORIENTATIONS = 12
_RIGHT_ANGLES = 4
_CORNER, _ODD_CORNER = 10.0, 20.0
"""Cost of another plane; the evidence of one column for one boundary is about 1."""


@dataclass(frozen=True, eq=False)
class Walls:
    """The walls of a place, one plane per panorama column.

    Attributes:
        azimuth: (W,) radians, direction of the column's wall normal, pointing away from the centre.
        offset: (W,) distance of that plane from the centre, in camera heights.
        ceiling: height of the ceiling above the camera in camera heights; None under the sky.
        cost: of the path; lower explains the image better.
        openings: corridors and niches; None without any.
    """

    azimuth: Float64Array
    offset: Float64Array
    ceiling: float | None
    cost: float
    openings: Openings | None = None

    @property
    def turn(self) -> float:
        """One of the dominant wall directions of the search, radians."""
        return float(self.azimuth[0])

    def reach(self, width: int) -> Float64Array:
        """(width,) horizontal distance of the wall in every column, in camera heights."""
        return _reach(self.azimuth, self.offset, width)

    def behind(self, width: int) -> tuple[Float64Array, Float64Array]:
        """(width,) horizontal distance of the wall behind openings, and the height of their lintel; 0 without one."""
        found = self.openings
        if found is None:
            return self.reach(width), np.zeros(width)
        lintel = np.where(found.open, found.lintel, 0)[_own(found.open, width)]
        return _reach(found.azimuth, found.offset, width), lintel


def _own(values: NDArray[Any], width: int) -> NDArray[np.int64]:
    """(width,) index of the value for each column."""
    own = ((np.arange(width) + 0.5) / width * len(values)).astype(np.int64)
    return np.asarray(np.minimum(own, len(values) - 1))


def _reach(azimuth: Float64Array, offset: Float64Array, width: int) -> Float64Array:
    """(width,) horizontal distances of planes that are given for fewer columns."""
    own = _own(azimuth, width)
    facing = np.cos(((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi - azimuth[own])
    return np.asarray(offset[own] / np.maximum(facing, 0.05))


def find_walls(srgb: Float32Array, *, ceiling: bool, ratio: float = 0.0) -> Walls:
    """The walls of a panorama (H, 2 H, 3) in [0, 1].

    Args:
        srgb: the panorama.
        ceiling: whether there is a ceiling; otherwise walls end at the sky.
        ratio: height of the ceiling above the camera relative to the camera height, if known.
    """
    evidence = evidence_of(srgb)

    def best(turns: Sequence[float], ratios: Sequence[float | None]) -> Walls:
        found = (_search(evidence, turn, each, _RIGHT_ANGLES) for turn in turns for each in ratios)
        return min(found, key=lambda walls: walls.cost)

    first = (ratio or 0.8) if ceiling else None
    walls = best([float(each) for each in np.radians(np.arange(0, 90, 7.5))], [first])
    if ceiling and not ratio:
        walls = best([walls.turn], _CEILING_RATIOS)
        walls = best([walls.turn], [walls.ceiling * each for each in (0.94, 0.97, 1.0, 1.03) if walls.ceiling])
    walls = best([walls.turn + float(each) for each in np.radians((-5.0, -2.5, 0.0, 2.5, 5.0))], [walls.ceiling])
    walls = _search(evidence, walls.turn, walls.ceiling, _ORIENTATIONS)
    if walls.ceiling is None:
        return walls
    return replace(walls, openings=find_openings(evidence, walls.azimuth, walls.offset, walls.ceiling))


def distances(
    walls: Walls, height: int, camera_height: float, farthest: float, sky: Mask | None = None
) -> Float32Array:
    """(H, 2 H) float32 metres along the ray to floor, walls, and ceiling or sky.

    Args:
        walls: of the place.
        height: rows of the panorama.
        camera_height: of the camera above the floor, metres.
        farthest: distance of the sky and limit of all others, metres.
        sky: (H, 2 H) bool, pixels that show the sky.
    """
    rays = directions(height).astype(np.float64)
    down = rays[..., 1]
    flat = np.hypot(rays[..., 0], rays[..., 2])
    along = walls.reach(2 * height)[None] / np.maximum(flat, 1e-6)
    behind, lintel = walls.behind(2 * height)
    passes = (lintel > 0)[None] & (-down * along < lintel[None])
    along = np.where(passes, behind[None] / np.maximum(flat, 1e-6), along)
    along = np.minimum(along, 1 / np.maximum(down, 1e-6))
    if walls.ceiling is not None:
        top = np.where(passes, lintel[None], walls.ceiling)
        along = np.minimum(along, top / np.maximum(-down, 1e-6))
    metres = along * camera_height
    if sky is not None:
        metres = np.where(sky & (down < 0), farthest, metres)
    return np.minimum(metres, farthest).astype(np.float32)


def _search(evidence: Evidence, turn: float, ceiling: float | None, orientations: int) -> Walls:
    """The cheapest closed sequence of planes."""
    width = evidence.floor.shape[1]
    step = 2 * np.pi / orientations
    azimuths = turn + step * np.arange(orientations)
    offsets = np.geomspace(_NEAREST, _FARTHEST, _DISTANCES)
    azimuth, offset = (each.ravel() for each in np.meshgrid(azimuths, offsets, indexing="ij"))
    column = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    facing = np.cos(column[:, None] - azimuth[None])
    reach = offset[None] / np.maximum(facing, 0.05)
    cost = costs_at(evidence.floor, reach)
    if ceiling is not None:
        cost = cost + costs_at(evidence.ceiling, reach / ceiling)
    cost = np.where((facing > 0.12) & (reach < 2 * _FARTHEST), cost, np.inf)
    right_angled = np.arange(orientations) % max(1, orientations // _RIGHT_ANGLES) == 0
    entering = np.repeat(np.where(right_angled, _CORNER, _ODD_CORNER), len(offsets))
    log_reach, never = np.log(reach), np.full(cost.shape, np.inf)
    path = closed_path(cost, log_reach, entering, never, never)
    return Walls(azimuth[path], offset[path], ceiling, _cost_of(path, cost, log_reach, entering))


def _cost_of(path: NDArray[np.int64], cost: Float64Array, log_reach: Float64Array, entering: Float64Array) -> float:
    columns = np.arange(len(path))
    before = np.roll(path, 1)
    jump = jumps(log_reach[columns, path], log_reach[columns - 1, before])
    changes = np.where(path != before, entering[path] + jump, 0)
    return float(cost[columns, path].sum() + changes.sum())


def looks_like_sky(srgb: Float32Array) -> bool:
    """Whether the top of a panorama looks like sky: mostly bright, or blue."""
    return bool(sky_coloured(srgb[: len(srgb) // 8]).mean() > 0.5)


def find_sky(srgb: Float32Array) -> Mask:
    """(H, W) bool: pixels connected to the top of a panorama with the colours of its sky."""
    height = len(srgb)
    lab = cv2.cvtColor(np.ascontiguousarray(srgb, np.float32), cv2.COLOR_RGB2LAB)
    top = lab[: height // 6].reshape(-1, 3)
    spread = np.maximum(top.std(axis=0), (8.0, 4.0, 6.0))
    distance = np.sqrt((((lab - np.median(top, axis=0)) / spread) ** 2).sum(axis=-1))
    alike = (distance < 3.0) | ((srgb.min(axis=-1) > 0.92) & (lab[..., 0] > 93))
    alike[height // 2 :] = False
    wide = np.concatenate([alike, alike], axis=1).astype(np.uint8)
    _, labels = cv2.connectedComponents(cv2.morphologyEx(wide, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    open_labels = np.setdiff1d(np.unique(labels[: height // 8]), [0])
    found = np.isin(labels, open_labels)
    return np.asarray(found[:, : srgb.shape[1]] | found[:, srgb.shape[1] :])
