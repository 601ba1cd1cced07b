"""Corridors: a painted room whose wall opens into one, found again from its colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.vision.places.worlds.boundaries import ROWS, evidence_of
from scenewright_stages.vision.places.worlds.cheapest_path import closed_path, jumps
from scenewright_stages.vision.places.worlds.layout import Walls, distances
from scenewright_stages.vision.places.worlds.openings import Openings, find_openings
from scenewright_stages.vision.places.worlds.panorama import directions

WIDTH = 2 * ROWS
CEILING = 1.0
COLOURS = np.array([(0.45, 0.38, 0.3), (0.92, 0.92, 0.9), (0.75, 0.7, 0.62), (0.6, 0.66, 0.7), (0.2, 0.16, 0.15)])
"""Of floor, ceiling, two kinds of walls, and the end of the corridor."""


def room(*, corridor: bool) -> Walls:
    """A room of 3 by 4 camera heights; in the wall ahead, a corridor with a lintel."""
    azimuths = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) * 2 * np.pi
    walls = np.array([(0.0, 1.5), (np.pi / 2, 2.0), (np.pi, 1.5), (-np.pi / 2, 2.0)])
    azimuth, offset = walls[_nearest(azimuths, walls)].T
    plain = Walls(azimuth, offset, CEILING, 0.0)
    if not corridor:
        return plain
    behind = np.array([(0.0, 4.0), (np.pi / 2, 2.0), (-np.pi / 2, 0.05)])
    chosen = behind[_nearest(azimuths, behind)]
    into = (azimuths > np.radians(2)) & (np.tan(azimuths) * 1.5 < 1.0) & (azimuths < 1)
    return replace(plain, openings=Openings(into, *chosen.T, np.full(WIDTH, 0.7)))


def _nearest(azimuths: NDArray[np.float64], planes: NDArray[np.float64]) -> NDArray[np.int64]:
    """(W,) number of the plane that is met first in each direction."""
    facing = np.cos(azimuths[:, None] - planes[None, :, 0])
    return np.where(facing > 0.01, planes[None, :, 1] / np.maximum(facing, 0.01), np.inf).argmin(axis=1)


def painted(walls: Walls) -> NDArray[np.float32]:
    """(H, 2 H, 3) the panorama of a room, with some noise."""
    distance = distances(walls, ROWS, 1.0, 30.0)
    points = directions(ROWS) * distance[..., None]
    kind = np.where(np.abs(np.abs(points[..., 2]) - 1.5) < 0.01, 2, 3)
    kind = np.where(points[..., 2] > 3.95, 4, kind)
    above = np.where(points[..., 2] > 1.51, 0.695, 0.995)
    kind = np.where(points[..., 1] > 0.995, 0, np.where(-points[..., 1] > above, 1, kind))
    noise = np.random.default_rng(0).normal(0, 0.01, (*kind.shape, 3))
    return np.clip(COLOURS[kind] + noise, 0, 1).astype(np.float32)


def found_in(walls: Walls) -> Openings | None:
    plain = replace(walls, openings=None)
    return find_openings(evidence_of(painted(walls)), plain.azimuth, plain.offset, CEILING)


def test_a_corridor_is_found_with_its_end_and_its_lintel() -> None:
    true = room(corridor=True)
    assert true.openings is not None
    found = found_in(true)
    assert found is not None
    both = found.open & true.openings.open
    assert both.sum() >= 0.9 * true.openings.open.sum()
    assert both.sum() >= 0.9 * found.open.sum()
    assert np.median(found.lintel[both]) == pytest.approx(0.7, rel=0.05)
    exact, guess, flat = (
        distances(each, ROWS, 1.0, 30.0) for each in (true, replace(true, openings=found), replace(true, openings=None))
    )
    inside = exact > 1.05 * flat
    assert inside.any()
    assert np.percentile(np.abs(np.log(guess / exact))[inside], 80) < 0.1
    assert np.percentile(np.abs(np.log(flat / exact))[inside], 80) > 0.3


def test_a_plain_room_has_no_opening() -> None:
    assert found_in(room(corridor=False)) is None


def test_what_is_seen_through_an_opening_lies_behind_the_wall_and_below_its_lintel() -> None:
    walls = room(corridor=True)
    assert walls.openings is not None
    points = directions(ROWS) * distances(walls, ROWS, 1.0, 30.0)[..., None]
    through = points[..., 2] > 1.51
    assert through.any()
    assert walls.openings.open[np.flatnonzero(through.any(axis=0))].all()
    assert points[through][:, 1].min() >= -0.7001


Costs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def test_the_path_is_the_cheapest_of_all_closed_ones() -> None:
    random = np.random.default_rng(3)
    shape = (7, 2)
    for _ in range(20):
        cost, log_reach = random.normal(0, 1, shape), random.normal(0, 0.05, shape)
        costs = (cost, log_reach, random.random(2), random.random(shape), random.random(shape))
        best = min(total(path, costs) for path in product(range(-1, 2), repeat=len(cost)))
        assert total(closed_path(*costs).tolist(), costs) == pytest.approx(best)


def total(path: Sequence[int], costs: Costs) -> float:
    """The cost of a closed path, summed step by step."""
    cost, log_reach, entering, leaving, returning = costs
    found = 0.0
    for column, plane in enumerate(path):
        before = path[column - 1]
        found += cost[column, plane] if plane >= 0 else 0.0
        if plane < 0 <= before:
            found += returning[column, before]
        elif before < 0 <= plane:
            found += leaving[column, plane]
        elif plane != before:
            found += entering[plane] + jumps(log_reach[column, plane], log_reach[column - 1, before])
    return found
