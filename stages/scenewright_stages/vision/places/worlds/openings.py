"""Finds openings in the walls of a room: corridors and niches, whose floor continues behind the wall's plane.

With one plane per column a corridor is flattened onto the wall beside it. A second search uses only the floor: where
the floor clearly ends farther away than the wall, there is an opening. Its walls are planes again, usually
continuations of the room's own. Above it the room's wall continues down to a lintel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.places.worlds.boundaries import Evidence, costs_at
from scenewright_stages.vision.places.worlds.cheapest_path import closed_path
from scenewright_stages.vision.types import Float64Array, Mask

_MEETING, _JUMPING, _EDGELESS = 2.0, 3.0, 12.0
"""Cost of a border of an opening where its wall meets the room's, where it jumps, and without an upright edge there.

The evidence of one column for one boundary is about 1."""
_CROSSED = 0.15
"""Cost of each row with a clear edge that the floor crosses behind the wall's plane."""
_EDGE_ROWS = 2
_PATTERN = 2.0
"""Change of colour, CIELAB units a row, that floors may have within themselves; twice as much is an edge."""
_NEW, _CONTINUED = 4.0, 1.0
"""Cost of another wall inside it, and of one that continues a wall of the room."""
_HIDDEN = 0.05
"""Highest cost of a column where the floor seems to end nearer: something may stand there."""
_UNSEEN = 0.3
"""Cost of a column where another wall shows no edge at its foot."""
_COLUMN = 0.05
"""Cost of each column of it: what is no clearer without it is no opening."""
_DEEPER = 1.1
"""How much farther its walls are than the room's."""
_NEAREST, _FARTHEST, _DISTANCES, _RIGHT_ANGLES = 0.5, 6.0, 64, 4
"""Offsets of planes from the middle, in camera heights, and how many are tried in each direction."""
_GRAZING, _FARTHEST_REACH = 0.12, 12.0
_CONTINUOUS = 0.3
"""Logarithm of a jump in distance that needs no edge."""
_LINTELS = np.linspace(0.95, 0.3, 60)
"""Heights of lintels above the camera, over that of the ceiling."""
_CLEAR_SHARE, _EDGE_WIDTH = 0.7, 5


@dataclass(frozen=True, eq=False)
class Openings:
    """Openings behind the walls' planes, per panorama column.

    Attributes:
        open: (W,) bool, whether there is an opening.
        azimuth, offset: (W,) of the wall behind, as in `Walls`.
        lintel: (W,) height of its top above the camera in camera heights; also the ceiling behind it.
    """

    open: Mask
    azimuth: Float64Array
    offset: Float64Array
    lintel: Float64Array


def find_openings(evidence: Evidence, azimuth: Float64Array, offset: Float64Array, ceiling: float) -> Openings | None:
    """The openings in walls (W,) with those planes; None without any.

    Args:
        evidence: of the panorama, W columns.
        azimuth: (W,) radians, direction of each column's wall normal, pointing away from the centre.
        offset: (W,) distance of its plane from the centre, in camera heights.
        ceiling: height of the ceiling above the camera in camera heights.
    """
    column = ((np.arange(len(azimuth)) + 0.5) / len(azimuth) - 0.5) * 2 * np.pi
    near = _reach(column, azimuth, offset)
    known = np.unique(np.stack([azimuth, offset], axis=1), axis=0)
    planes = np.concatenate([known, _new_planes(float(azimuth[0]))])
    reach = _reach(column[:, None], *planes.T[:, None])
    cost = _costs(evidence, reach, near, len(known))
    seen = np.cos(column[:, None] - planes[None, :, 0]) > _GRAZING
    usable = seen & (reach > _DEEPER * near[:, None]) & (reach < _FARTHEST_REACH)
    entering = np.where(np.arange(len(planes)) < len(known), _CONTINUED, _NEW)
    begin, end = _borders(evidence, np.log(reach), np.log(near))
    path = closed_path(np.where(usable, cost, np.inf), np.log(reach), entering, begin + entering, end)
    opened = path >= 0
    if not opened.any():
        return None
    chosen = planes[np.maximum(path, 0)]
    far = _reach(column, *chosen.T)
    lintel = np.full(len(path), ceiling)
    for part in _runs(opened):
        lintel[part] = _lintel(evidence, part, near[part], far[part], ceiling)
    return Openings(opened, chosen[:, 0], chosen[:, 1], lintel)


def _reach(column: Float64Array, azimuth: Float64Array, offset: Float64Array) -> Float64Array:
    """Horizontal distances of planes in the directions `column`, radians."""
    return np.asarray(offset / np.maximum(np.cos(column - azimuth), 0.05))


def _costs(evidence: Evidence, reach: Float64Array, near: Float64Array, known: int) -> Float64Array:
    """(W, N) cost of a wall at those horizontal distances, relative to the room's own walls (W,)."""
    edges = np.clip(evidence.lower_edges / _PATTERN - 1, 0, 1)
    # The edge at the floor's boundary is a few rows wide and does not count as crossed.
    crossed = np.pad(np.cumsum(edges, axis=0)[_EDGE_ROWS:], ((0, _EDGE_ROWS), (0, 0)), mode="edge")
    floor = evidence.floor - _CROSSED * crossed
    own = near[:, None]
    # If the colours show the floor ending at the room's own wall, there is no corridor behind it.
    clear = np.maximum(evidence.floor[0][:, None] - costs_at(evidence.floor, own), 0.0)
    cost = np.minimum(costs_at(floor, reach) - costs_at(floor, own), _HIDDEN + clear) + _COLUMN
    thick = np.asarray(cv2.dilate(edges, np.ones((2 * _EDGE_ROWS + 1, 1), np.uint8)), np.float64)
    feet = costs_at(thick, reach[:, known:])
    cost[:, known:] += _UNSEEN * (1 - feet)
    return np.asarray(cost)


def _new_planes(turn: float) -> Float64Array:
    """(N, 2) azimuths and offsets of planes at right angles to each other."""
    azimuths = turn + 2 * np.pi / _RIGHT_ANGLES * np.arange(_RIGHT_ANGLES)
    pairs = np.meshgrid(azimuths, np.geomspace(_NEAREST, _FARTHEST, _DISTANCES), indexing="ij")
    return np.stack([each.ravel() for each in pairs], axis=1)


def _borders(evidence: Evidence, log_reach: Float64Array, log_near: Float64Array) -> tuple[Float64Array, Float64Array]:
    """(W, N) cost of starting and of ending an opening at each column's left border, by the wall behind.

    Args:
        evidence: of the panorama.
        log_reach: (W, N) of the distances of walls behind.
        log_near: (W,) of those of the room's own walls.
    """
    upright = np.maximum(evidence.upright, np.roll(evidence.upright, 1))
    jumping = (_JUMPING + _EDGELESS * (1 - upright))[:, None]
    begun = log_reach - np.roll(log_near, 1)[:, None]
    ended = np.roll(log_reach, 1, axis=0) - log_near[:, None]
    begin, end = (np.where(jump > _CONTINUOUS, jumping, _MEETING) for jump in (begun, ended))
    return begin, end


def _lintel(
    evidence: Evidence, part: NDArray[np.int64], near: Float64Array, far: Float64Array, ceiling: float
) -> float:
    """Height of an opening's top: the clearest lower end of the wall above it, or the ceiling."""
    own, behind = (_mean(evidence.ceiling, part, reach / ceiling) for reach in (near, far))
    if behind < own:
        return ceiling
    heights = ceiling * _LINTELS
    clear = np.clip(evidence.upper_edges / (2 * _PATTERN), 0, 1)
    edges = np.array([_mean(clear, part, near / height) for height in heights])
    # Take the first edge from above, because things below it, such as a door, have edges too.
    first = int(np.flatnonzero(edges >= _CLEAR_SHARE * edges.max())[0])
    return float(heights[first + int(np.argmax(edges[first : first + _EDGE_WIDTH]))])


def _mean(values: Float64Array, part: NDArray[np.int64], reach: Float64Array) -> float:
    """Mean of values (rows, W) in the columns `part`, at the boundary of a surface at that distance, in its heights."""
    return float(costs_at(values[:, part], reach[:, None]).mean())


def _runs(flags: Mask) -> list[NDArray[np.int64]]:
    """The columns of each connected run around the panorama."""
    columns = np.flatnonzero(flags)
    parts = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
    if len(parts) > 1 and flags[0] and flags[-1]:
        parts = [np.concatenate([parts[-1], parts[0]]), *parts[1:-1]]
    return parts
