"""Estimates from a panorama's colours where floor and ceiling end.

The layout search uses it: a wall hypothesis is a row in each column, and the evidence gives a cost for each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.vision.types import Float32Array, Float64Array

ROWS = 256
"""Rows of the panorama in which layouts are searched."""
_BINS = 12
_EVIDENCE = 2.0
_AROUND, _CHANGE = 0.12, 3.0


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for boundaries at each row: (rows, W), by angle from the horizon.

    Attributes:
        floor, ceiling: cost of a boundary at each row.
        lower_edges, upper_edges: colour change between rows below and above the horizon, CIELAB units.
        upright: (W,) share of the rows near the horizon with a colour change between columns.
    """

    floor: Float64Array
    ceiling: Float64Array
    lower_edges: Float64Array
    upper_edges: Float64Array
    upright: Float64Array


def evidence_of(srgb: Float32Array) -> Evidence:
    """The evidence of a panorama (H, 2 H, 3) in [0, 1]."""
    srgb = np.asarray(cv2.resize(srgb, (2 * ROWS, ROWS), interpolation=cv2.INTER_AREA), np.float32)
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(srgb, np.float32), cv2.COLOR_RGB2LAB), np.float32)
    upper, lower = lab[: ROWS // 2][::-1], lab[ROWS // 2 :]
    return Evidence(
        _floor_costs(lower), _ceiling_costs(upper), _change(lower, 1.0), _change(upper, 1.0), _upright_edges(lab)
    )


def _floor_costs(lab: Float32Array) -> Float64Array:
    """(rows, W) cost of the floor's boundary at every row; row 0 is the horizon, the last row the pole.

    Floors have patterns and things stand on them, so colours count more than edges.
    """
    return _region_costs(lab) - 0.25 * _thick(np.clip(_change(lab, 1.2) / 4.0, 0, 1))


def _ceiling_costs(lab: Float32Array) -> Float64Array:
    """The same for the ceiling's boundary, towards the other pole.

    Ceilings are smooth and often have the walls' colour, so the first edge from the pole counts more than colours.
    """
    change = _change(lab, 1.5)
    pattern = float(np.percentile(change[len(lab) // 2 :], 90))
    edges = np.clip(change / max(1.0, 1.6 * pattern), 0, 1)
    crossed = np.cumsum((edges * _row_weights(len(lab)))[::-1], axis=0)[::-1]
    return 0.35 * _region_costs(lab) - 0.8 * _thick(edges) + 0.016 * crossed


def _region_costs(lab: Float32Array) -> Float64Array:
    """Cost by the colours beyond each row: low if they resemble the pole's surroundings and not the horizon."""
    rows = len(lab)
    surface, wall = lab[rows // 2 : int(rows * 0.92)], lab[: rows // 5]
    ratio = np.log(_likelihood(surface, lab) / _likelihood(wall, lab))
    ratio = cv2.GaussianBlur(np.clip(ratio, -_EVIDENCE, _EVIDENCE), (0, 0), 1.0) * _row_weights(rows)
    return np.asarray(-2 * np.cumsum(ratio[::-1], axis=0)[::-1] / rows, np.float64)


def _row_weights(rows: int) -> Float64Array:
    """(rows, 1) weights that account for fewer independent pixels per row towards the pole."""
    return np.cos((np.arange(rows) + 0.5) / rows * np.pi / 2)[:, None]


def _change(lab: Float32Array, blur: float) -> Float64Array:
    """(rows, W) colour change between rows, CIELAB units."""
    change = np.gradient(cv2.GaussianBlur(lab, (0, 0), blur), axis=0)
    return np.asarray(np.linalg.norm(change, axis=-1), np.float64)


def _upright_edges(lab: Float32Array) -> Float64Array:
    """(W,) share of the rows within about 20 degrees of the horizon with a vertical edge at or beside a column."""
    closed = np.concatenate([lab[:, -2:], lab, lab[:, :2]], axis=1)
    change = np.linalg.norm(np.gradient(cv2.GaussianBlur(closed, (0, 0), 0.8), axis=1), axis=-1)
    around = int(ROWS * _AROUND)
    edges = (change[ROWS // 2 - around : ROWS // 2 + around] > _CHANGE).astype(np.float32)
    return np.asarray(cv2.dilate(edges, np.ones((1, 3), np.uint8))[:, 2:-2].mean(axis=0), np.float64)


def _thick(edges: Float64Array) -> Float64Array:
    return np.asarray(cv2.dilate(edges.astype(np.float32), np.ones((3, 1), np.uint8)), np.float64)


def _likelihood(part: Float32Array, lab: Float32Array) -> Float64Array:
    """(rows, W) likelihood of each pixel's colour under the colour distribution of a part of the image."""
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
    """(W, S) cost of a boundary at the end of a plane at horizontal distance `reach` (W, S), in units of its height."""
    rows = len(costs)
    angle = np.arctan(1 / reach) / (np.pi / 2) * rows - 0.5
    low = np.clip(angle.astype(int), 0, rows - 2)
    share = np.clip(angle - low, 0, 1)
    columns = np.arange(costs.shape[1])[:, None]
    return np.asarray(costs[low, columns] * (1 - share) + costs[low + 1, columns] * share)
