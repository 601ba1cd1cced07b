"""What a panorama's colours say of where the floor and the ceiling end.

Layouts are searched with it: a hypothesis about a wall is a row in each column, and evidence has a cost for each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Float64Array = NDArray[np.float64]

ROWS = 256
"""Rows of the panorama in which layouts are searched."""
_BINS = 12
_EVIDENCE = 2.0
_AROUND, _CHANGE = 0.12, 3.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks for boundaries at each row: (rows, W), by angle from the horizon.

    Attributes:
        floor, ceiling: cost of its end at each row.
        lower_edges, upper_edges: change of colour from row to row below and above the horizon, CIELAB units.
        upright: (W,) share of the rows round the horizon where the colour changes from column to column.
    """

    floor: Float64Array
    ceiling: Float64Array
    lower_edges: Float64Array
    upper_edges: Float64Array
    upright: Float64Array


def evidence_of(srgb: Floats) -> Evidence:
    """The evidence of a panorama (H, 2 H, 3) in [0, 1]."""
    srgb = np.asarray(cv2.resize(srgb, (2 * ROWS, ROWS), interpolation=cv2.INTER_AREA), np.float32)
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(srgb, np.float32), cv2.COLOR_RGB2LAB), np.float32)
    upper, lower = lab[: ROWS // 2][::-1], lab[ROWS // 2 :]
    return Evidence(
        _floor_costs(lower), _ceiling_costs(upper), _change(lower, 1.0), _change(upper, 1.0), _upright_edges(lab)
    )


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


def _upright_edges(lab: Floats) -> Float64Array:
    """(W,) share of the rows within about 20 degrees of the horizon with an upright edge at or beside a column."""
    closed = np.concatenate([lab[:, -2:], lab, lab[:, :2]], axis=1)
    change = np.linalg.norm(np.gradient(cv2.GaussianBlur(closed, (0, 0), 0.8), axis=1), axis=-1)
    around = int(ROWS * _AROUND)
    edges = (change[ROWS // 2 - around : ROWS // 2 + around] > _CHANGE).astype(np.float32)
    return np.asarray(cv2.dilate(edges, np.ones((1, 3), np.uint8))[:, 2:-2].mean(axis=0), np.float64)


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


def costs_at(costs: Float64Array, reach: Float64Array) -> Float64Array:
    """(W, S) cost of a boundary where a plane at horizontal distance `reach` (W, S), in its heights, ends."""
    rows = len(costs)
    angle = np.arctan(1 / reach) / (np.pi / 2) * rows - 0.5
    low = np.clip(angle.astype(int), 0, rows - 2)
    share = np.clip(angle - low, 0, 1)
    columns = np.arange(costs.shape[1])[:, None]
    return np.asarray(costs[low, columns] * (1 - share) + costs[low + 1, columns] * share)
