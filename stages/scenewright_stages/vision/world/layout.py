"""A guess at the shape of a place from one panorama: a level floor, upright walls, a ceiling or the sky.

Colours say which pixels are floor, wall or ceiling; where floor and ceiling end gives the distance of the wall in every
direction. Walls are planes of few directions, found as the cheapest closed path round the panorama: inside a plane
distances change as perspective demands, between planes they meet in a corner or jump. It is a prior, not a
measurement: the only length that it knows is the height of the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.world.panorama import directions

Floats = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ROWS = 256
"""Rows of the panorama in which the layout is searched."""
_CEILING_RATIOS = tuple(float(each) for each in np.geomspace(0.45, 2.2, 12))
"""Height of the ceiling above the camera over the camera's height."""
_NEAREST, _FARTHEST, _DISTANCES = 0.5, 12.0, 40
"""Of walls, in camera heights."""
_ORIENTATIONS = 12
_RIGHT_ANGLES = 4
_CORNER, _ODD_CORNER = 10.0, 20.0
"""Cost of another plane; the evidence of one column for one boundary is about 1."""
_JUMP, _MAXIMUM_JUMP = 10.0, 12.0
_BINS = 12
_EVIDENCE = 2.0


@dataclass(frozen=True, eq=False)
class Walls:
    """The walls of a place, one plane for each column of a panorama.

    Attributes:
        azimuth: (W,) radians, direction in which the column's wall faces away from the middle.
        offset: (W,) distance of that plane from the middle, in camera heights.
        ceiling: height of the ceiling above the camera in camera heights; None under the sky.
        cost: of the path that found them; lower explains the picture better.
    """

    azimuth: Float64Array
    offset: Float64Array
    ceiling: float | None
    cost: float

    @property
    def turn(self) -> float:
        """Radians, one of the directions that the search was based on."""
        return float(self.azimuth[0])

    def reach(self, width: int) -> Float64Array:
        """(width,) horizontal distance of the wall in every column, in camera heights."""
        column = (np.arange(width) + 0.5) / width
        own = np.minimum((column * len(self.azimuth)).astype(int), len(self.azimuth) - 1)
        facing = np.cos((column - 0.5) * 2 * np.pi - self.azimuth[own])
        return np.asarray(self.offset[own] / np.maximum(facing, 0.05))


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What speaks for the end of the floor or of the ceiling at each row: (rows, W) costs by angle from the horizon."""

    floor: Float64Array
    ceiling: Float64Array


def find_walls(srgb: Floats, *, ceiling: bool, ratio: float = 0.0) -> Walls:
    """The walls of a panorama (H, 2 H, 3) in [0, 1].

    Args:
        srgb: the panorama.
        ceiling: whether there is one; else walls end at the sky.
        ratio: height of the ceiling above the camera over the camera's height, if known.
    """
    small = np.asarray(cv2.resize(srgb, (2 * _ROWS, _ROWS), interpolation=cv2.INTER_AREA), np.float32)
    evidence = _evidence(small)

    def best(turns: Sequence[float], ratios: Sequence[float | None]) -> Walls:
        found = (_search(evidence, turn, each, _RIGHT_ANGLES) for turn in turns for each in ratios)
        return min(found, key=lambda walls: walls.cost)

    first = (ratio or 0.8) if ceiling else None
    walls = best([float(each) for each in np.radians(np.arange(0, 90, 7.5))], [first])
    if ceiling and not ratio:
        walls = best([walls.turn], _CEILING_RATIOS)
        walls = best([walls.turn], [walls.ceiling * each for each in (0.94, 0.97, 1.0, 1.03) if walls.ceiling])
    walls = best([walls.turn + float(each) for each in np.radians((-5.0, -2.5, 0.0, 2.5, 5.0))], [walls.ceiling])
    return _search(evidence, walls.turn, walls.ceiling, _ORIENTATIONS)


def distances(walls: Walls, height: int, camera_height: float, farthest: float, sky: Mask | None = None) -> Floats:
    """(H, 2 H) float32 metres along the ray to floor, walls, and ceiling or sky.

    Args:
        walls: of the place.
        height: rows of the panorama.
        camera_height: of the camera above the floor, metres.
        farthest: metres; of the sky, and of whatever lies farther.
        sky: (H, 2 H) bool, pixels that show the sky.
    """
    rays = directions(height).astype(np.float64)
    down = rays[..., 1]
    flat = np.hypot(rays[..., 0], rays[..., 2])
    along = walls.reach(2 * height)[None] / np.maximum(flat, 1e-6)
    along = np.minimum(along, 1 / np.maximum(down, 1e-6))
    if walls.ceiling is not None:
        along = np.minimum(along, walls.ceiling / np.maximum(-down, 1e-6))
    metres = along * camera_height
    if sky is not None:
        metres = np.where(sky & (down < 0), farthest, metres)
    return np.minimum(metres, farthest).astype(np.float32)


def _evidence(srgb: Floats) -> _Evidence:
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(srgb, np.float32), cv2.COLOR_RGB2LAB), np.float32)
    return _Evidence(_floor_costs(lab[_ROWS // 2 :]), _ceiling_costs(lab[: _ROWS // 2][::-1]))


def _floor_costs(lab: Floats) -> Float64Array:
    """(rows, W) cost of the floor's end at every row; row 0 lies at the horizon, the last one at the pole.

    Floors have patterns, and things stand on them: colours count more than edges.
    """
    return _region_costs(lab) - 0.25 * _thick(np.clip(_change(lab, 1.2) / 4.0, 0, 1))


def _ceiling_costs(lab: Floats) -> Float64Array:
    """The same of the ceiling's end, towards the other pole.

    Ceilings are smooth and often have the colour of the walls: the first edge from the pole counts more than colours.
    """
    change = _change(lab, 1.5)
    pattern = float(np.percentile(change[len(lab) // 2 :], 90))
    edges = np.clip(change / max(1.0, 1.6 * pattern), 0, 1)
    crossed = np.cumsum((edges * _row_weights(len(lab)))[::-1], axis=0)[::-1]
    return 0.35 * _region_costs(lab) - 0.8 * _thick(edges) + 0.016 * crossed


def _region_costs(lab: Floats) -> Float64Array:
    """What the colours beyond each row say: low where they look like the pole's surroundings, not like the horizon."""
    rows = len(lab)
    surface, wall = lab[rows // 2 : int(rows * 0.92)], lab[: rows // 5]
    ratio = np.log(_likelihood(surface, lab) / _likelihood(wall, lab))
    ratio = cv2.GaussianBlur(np.clip(ratio, -_EVIDENCE, _EVIDENCE), (0, 0), 1.0) * _row_weights(rows)
    return np.asarray(-2 * np.cumsum(ratio[::-1], axis=0)[::-1] / rows, np.float64)


def _row_weights(rows: int) -> Float64Array:
    """(rows, 1): towards the pole fewer pixels of the place fill a row."""
    return np.cos((np.arange(rows) + 0.5) / rows * np.pi / 2)[:, None]


def _change(lab: Floats, blur: float) -> Float64Array:
    """(rows, W) change of colour from row to row, CIELAB units."""
    change = np.gradient(cv2.GaussianBlur(lab, (0, 0), blur), axis=0)
    return np.asarray(np.linalg.norm(change, axis=-1), np.float64)


def _thick(edges: Float64Array) -> Float64Array:
    return np.asarray(cv2.dilate(edges.astype(np.float32), np.ones((3, 1), np.uint8)), np.float64)


def _likelihood(part: Floats, lab: Floats) -> Float64Array:
    """(rows, W) density of each pixel's colour in a part of the picture."""
    low, high = np.array([0.0, -40.0, -40.0]), np.array([100.0, 40.0, 40.0])
    scaled = [np.clip((each - low) / (high - low) * _BINS, 0, _BINS - 1e-3) for each in (part, lab)]
    found, _ = np.histogramdd(scaled[0].reshape(-1, 3), bins=_BINS, range=[(0, _BINS)] * 3)
    smooth = found.astype(np.float64)
    for axis in range(3):
        before, after = (np.roll(smooth, shift, axis=axis) for shift in (1, -1))
        smooth = 0.25 * before + 0.5 * smooth + 0.25 * after
    density = smooth / smooth.sum() + 2e-4
    cells = scaled[1].astype(int)
    return np.asarray(density[cells[..., 0], cells[..., 1], cells[..., 2]])


def _search(evidence: _Evidence, turn: float, ceiling: float | None, orientations: int) -> Walls:
    """The cheapest closed sequence of planes."""
    width = evidence.floor.shape[1]
    step = 2 * np.pi / orientations
    azimuths = turn + step * np.arange(orientations)
    offsets = np.geomspace(_NEAREST, _FARTHEST, _DISTANCES)
    azimuth, offset = (each.ravel() for each in np.meshgrid(azimuths, offsets, indexing="ij"))
    column = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    facing = np.cos(column[:, None] - azimuth[None])
    reach = offset[None] / np.maximum(facing, 0.05)
    cost = _costs_at(evidence.floor, reach)
    if ceiling is not None:
        cost = cost + _costs_at(evidence.ceiling, reach / ceiling)
    cost = np.where((facing > 0.12) & (reach < 2 * _FARTHEST), cost, 1e3)
    right_angled = np.arange(orientations) % max(1, orientations // _RIGHT_ANGLES) == 0
    entering = np.repeat(np.where(right_angled, _CORNER, _ODD_CORNER), len(offsets))
    path, total = _closed_path(cost, np.log(reach), entering)
    return Walls(azimuth[path], offset[path], ceiling, total)


def _costs_at(costs: Float64Array, reach: Float64Array) -> Float64Array:
    """(W, S) cost of a boundary where a plane at horizontal distance `reach` (W, S), in its heights, ends."""
    rows = len(costs)
    angle = np.arctan(1 / reach) / (np.pi / 2) * rows - 0.5
    low = np.clip(angle.astype(int), 0, rows - 2)
    share = np.clip(angle - low, 0, 1)
    columns = np.arange(costs.shape[1])[:, None]
    return np.asarray(costs[low, columns] * (1 - share) + costs[low + 1, columns] * share)


def _closed_path(
    cost: Float64Array, log_reach: Float64Array, entering: Float64Array
) -> tuple[NDArray[np.int64], float]:
    """States (W,) of the cheapest path round the columns, and its cost; two rounds make its ends meet."""
    width, states = cost.shape
    best = np.zeros(states)
    back = np.zeros((2 * width, states), np.int32)
    rows = np.arange(states)
    for place in range(2 * width):
        here = place % width
        jump = np.abs(log_reach[here][:, None] - log_reach[here - 1][None])
        change = best[None] + entering[:, None] + np.minimum(_JUMP * jump, _MAXIMUM_JUMP)
        change[rows, rows] = best
        back[place] = change.argmin(axis=1)
        best = change[rows, back[place]] + cost[here]
    state = int(best.argmin())
    found = np.zeros(2 * width, np.int64)
    for place in range(2 * width - 1, -1, -1):
        found[place] = state
        state = int(back[place, state])
    path = np.roll(found[width // 2 : width // 2 + width], width // 2)
    return path, _cost_of(path, cost, log_reach, entering)


def _cost_of(path: NDArray[np.int64], cost: Float64Array, log_reach: Float64Array, entering: Float64Array) -> float:
    columns = np.arange(len(path))
    before = np.roll(path, 1)
    jump = np.abs(log_reach[columns, path] - log_reach[columns - 1, before])
    changes = np.where(path != before, entering[path] + np.minimum(_JUMP * jump, _MAXIMUM_JUMP), 0)
    return float(cost[columns, path].sum() + changes.sum())


def looks_like_sky(srgb: Floats) -> bool:
    """Whether the top of a panorama is open: mostly bright, or blue."""
    top = srgb[: len(srgb) // 8].reshape(-1, 3)
    bright = top.min(axis=1) > 0.85
    blue = (top[:, 2] > top[:, 0] + 0.06) & (top[:, 2] > 0.35)
    return bool((bright | blue).mean() > 0.5)


def find_sky(srgb: Floats) -> Mask:
    """(H, W) bool: what is connected to the top of a panorama and has colours of its sky."""
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
