"""Aligns the depths of a ring of views: solves one scale and shift per view so that overlapping views agree.

A model sees one view at a time, and two views of the same wall get different depths. All overlaps are solved jointly,
including last with first, so that no jump remains where the ring closes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import inside_picture, on_surface, project, sample_nearest, valid_depth
from scenewright_stages.vision.places.worlds.panorama import rays_of
from scenewright_stages.vision.types import Float32Array, Float64Array

_SAMPLES = 4000
_ROUNDS = 30
_TUKEY = 4.685
_NORMAL = 1.4826
_LEAST_DEVIATION = 1e-6
_LEAST_OVERLAP = 50
_PRIOR = 1e-5
"""Weight of "no shift", which decides where an overlap shows a single depth."""
_LEAST_SHARE = 0.05
"""Of its median, below which no depth of a view is pushed."""


@dataclass(frozen=True, eq=False)
class RingDepth:
    """Aligned depths.

    Attributes:
        depths: (H, W) float32 z-depth of each view, 0 where unknown.
        scales, shifts: (N,) of each view: ``scale * depth + shift``.
        disagreement: median relative difference of neighbours in their overlap, after alignment.
        before: the same before alignment.
    """

    depths: list[Float32Array]
    scales: Float64Array
    shifts: Float64Array
    disagreement: float
    before: float


@dataclass(frozen=True, eq=False)
class _Overlap:
    """Directions seen by two views: z-depths (M,) in both, and lengths (M,) of both rays at z-depth 1."""

    first: int
    second: int
    depths: tuple[Float64Array, Float64Array]
    lengths: tuple[Float64Array, Float64Array]

    def distances(self, scales: Float64Array, shifts: Float64Array) -> tuple[Float64Array, Float64Array]:
        """(M,) distances from the centre according to both views."""
        pairs = zip((self.first, self.second), self.depths, self.lengths, strict=True)
        first, second = ((scales[view] * depth + shifts[view]) * length for view, depth, length in pairs)
        return first, second


def closed_ring(depths: Sequence[Float32Array], cameras: Sequence[Camera]) -> RingDepth:
    """Aligns the depths of views around one point; preserves their overall scale.

    Args:
        depths: (H, W) z-depth of each view up to scale and shift; 0 or NaN where unknown.
        cameras: of the views, in order around the point.

    Raises:
        ValueError: two neighbours share too few known pixels.
    """
    count = len(cameras)
    medians = np.array([float(np.median(depth[valid_depth(depth)])) for depth in depths])
    relative = [depth / median for depth, median in zip(depths, medians, strict=True)]
    overlaps = [_overlap(relative, cameras, view, (view + 1) % count) for view in range(count)]
    ones, zeros = medians.copy(), np.zeros(count)
    before = _disagreement(overlaps, ones, zeros)
    scales, shifts = _solved(overlaps, count)
    # The overall scale is the geometric mean of the views' own levels.
    level = float(np.exp(np.mean(np.log(medians) - np.log(np.maximum(scales + shifts, 1e-6)))))
    scales, shifts = scales * level, shifts * level
    made = []
    for view, depth in enumerate(relative):
        known = valid_depth(depth)
        least = _LEAST_SHARE * (scales[view] + shifts[view])
        values = np.maximum(scales[view] * np.where(known, depth, 1) + shifts[view], least)
        made.append(np.where(known, values, 0).astype(np.float32))
    return RingDepth(made, scales / medians, shifts, _disagreement(overlaps, scales, shifts), before)


def _overlap(depths: Sequence[Float32Array], cameras: Sequence[Camera], first: int, second: int) -> _Overlap:
    rays = rays_of(cameras[first])
    places, z = project(rays, _turned(cameras[second]))
    usable = [on_surface(depths[view]) & valid_depth(depths[view]) for view in (first, second)]
    inside = inside_picture(places, z, cameras[second]) & usable[0]
    rows, columns = np.nonzero(inside)
    seen = np.floor(places[rows, columns]).astype(int)
    both = usable[1][seen[:, 1], seen[:, 0]]
    rows, columns, seen = rows[both], columns[both], places[rows, columns][both]
    if len(rows) < _LEAST_OVERLAP:
        raise ValueError(f"the depths of views {first} and {second} share only {len(rows)} known pixels")
    step = max(1, len(rows) // _SAMPLES)
    rows, columns, seen = rows[::step], columns[::step], seen[::step]
    ray, ray_z = rays[rows, columns], z[rows, columns]
    length = np.linalg.norm(ray, axis=-1)
    return _Overlap(
        first,
        second,
        (np.asarray(depths[first][rows, columns], np.float64), sample_nearest(depths[second], seen)),
        (length, length / ray_z),
    )


def _solved(overlaps: Sequence[_Overlap], count: int) -> tuple[Float64Array, Float64Array]:
    """Scales and shifts by iteratively reweighted least squares over relative differences."""
    scales, shifts = _scales_alone(overlaps, count), np.zeros(count)
    for _ in range(_ROUNDS):
        rows, weights = [], []
        for overlap in overlaps:
            first, second = overlap.distances(scales, shifts)
            size = np.maximum(np.abs(first + second) / 2, 1e-6)
            error = np.abs(first - second) / size
            limit = _TUKEY * max(_NORMAL * float(np.median(error)), _LEAST_DEVIATION)
            weights.append(np.where(error < limit, (1 - (error / limit) ** 2) ** 2, 0.0))
            rows.append(_equations(overlap, count) / size[:, None])
        table, weight = np.concatenate(rows), np.concatenate(weights)
        normal = (table * (weight / weight.sum())[:, None]).T @ table
        normal[range(count, 2 * count), range(count, 2 * count)] += _PRIOR
        scales, shifts = _on_level(normal, count)
    return scales, shifts


def _equations(overlap: _Overlap, count: int) -> Float64Array:
    """(M, 2 N) coefficients of all scales, then all shifts, for the difference of the two distances."""
    table = np.zeros((len(overlap.depths[0]), 2 * count))
    for sign, view, depth, length in zip(
        (1, -1), (overlap.first, overlap.second), overlap.depths, overlap.lengths, strict=True
    ):
        table[:, view] = sign * depth * length
        table[:, count + view] = sign * length
    return table


def _on_level(normal: Float64Array, count: int) -> tuple[Float64Array, Float64Array]:
    """The best solution with mean depth 1; without that constraint all depths would shrink to zero."""
    level = np.ones(2 * count) / count
    system = np.block([[normal, level[:, None]], [level[None], np.zeros((1, 1))]])
    found = np.linalg.solve(system, np.append(np.zeros(2 * count), 1.0))
    return found[:count], found[count : 2 * count]


def _scales_alone(overlaps: Sequence[_Overlap], count: int) -> Float64Array:
    """Scales from median ratios, without shifts; distributes the closing error evenly around the ring."""
    ones, zeros = np.ones(count), np.zeros(count)
    table, steps = np.zeros((len(overlaps), count)), np.zeros(len(overlaps))
    for number, overlap in enumerate(overlaps):
        first, second = overlap.distances(ones, zeros)
        table[number, [overlap.first, overlap.second]] = (1, -1)
        steps[number] = float(np.median(np.log(second / first)))
    logarithms = np.linalg.lstsq(table, steps, rcond=None)[0]
    scales = np.exp(logarithms - logarithms.mean())
    return np.asarray(scales / scales.mean())


def _disagreement(overlaps: Sequence[_Overlap], scales: Float64Array, shifts: Float64Array) -> float:
    pairs = [overlap.distances(scales, shifts) for overlap in overlaps]
    return float(np.median(np.concatenate([np.abs(np.log(np.abs(a / b))) for a, b in pairs])))


def _turned(camera: Camera) -> Camera:
    pose = camera.camera_from_world.copy()
    pose[:3, 3] = 0
    return camera.with_pose(pose)
