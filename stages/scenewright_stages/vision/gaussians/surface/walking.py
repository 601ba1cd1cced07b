"""Where one can stand and walk on a surface: the walkable floor, and a capsule that steps over it.

All lengths are metres; y is up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scenewright_stages.vision.gaussians.surface.fusion import DistanceField
from scenewright_stages.vision.gaussians.surface.meshes import Mesh

_STEP_HEIGHT = 0.25
"""What one steps over, or onto."""
_FLAT = 0.8
"""Least vertical part of a floor's normal."""
_STRIDE = 0.1
_TURN = 0.6


@dataclass(frozen=True, eq=False)
class Walkable:
    """The floor on which a capsule can stand, as a grid over x and z.

    Attributes:
        free: (X, Z) bool.
        height: (X, Z) float64, y of the floor; NaN where there is none.
        origin: x and z of the middle of the first cell.
        cell: edge of a cell.
    """

    free: NDArray[np.bool_]
    height: NDArray[np.float64]
    origin: tuple[float, float]
    cell: float

    @property
    def area(self) -> float:
        """Square metres."""
        return float(self.free.sum()) * self.cell**2

    def outlines(self) -> list[dict[str, Any]]:
        """Outlines of the free area, outer ones and holes, as lists of [x, y, z]."""
        picture = self.free.astype(np.uint8)
        contours, tree = cv2.findContours(picture, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        found = []
        for number, contour in enumerate(contours):
            # OpenCV names columns first; the columns of the picture are z.
            z, x = contour[:, 0, 0], contour[:, 0, 1]
            points = np.stack(
                [self.origin[0] + x * self.cell, self.height[x, z], self.origin[1] + z * self.cell], axis=1
            )
            found.append({"hole": bool(tree[0][number][3] >= 0), "points": points.round(3).tolist()})
        return found


def walkable(mesh: Mesh, field: DistanceField, radius: float, height: float, stood: NDArray[np.float64]) -> Walkable:
    """The floor that a standing capsule reaches from where the cameras were.

    Args:
        stood: (N, 3) places of cameras. The floor is the level surface with the largest area below most of them.
    """
    size_x, _, size_z = field.distance.shape
    origin, cell = (float(field.origin[0]), float(field.origin[2])), field.voxel
    centres = mesh.vertices[mesh.faces].mean(axis=1)
    below = float(np.median(stood[:, 1]))
    flat = (mesh.normals[:, 1] > _FLAT) & (centres[:, 1] < below)
    floor = np.full((size_x, size_z), np.nan)
    if not flat.any():
        return Walkable(np.zeros((size_x, size_z), bool), floor, origin, cell)
    level = _most_common(centres[flat, 1], mesh.areas[flat], max(cell, 0.05))
    points = mesh.samples(cell / 2)
    near = np.abs(points[:, 1] - level) <= _STEP_HEIGHT
    blocking = (points[:, 1] > level + _STEP_HEIGHT) & (points[:, 1] < level + height)
    columns = field.cells(points)
    np.fmax.at(floor, (columns[near, 0], columns[near, 2]), points[near, 1])
    blocked = np.zeros((size_x, size_z), np.uint8)
    blocked[columns[blocking, 0], columns[blocking, 2]] = 1
    reach = int(np.ceil(radius / cell))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    ground = np.isfinite(floor).astype(np.uint8)
    # Cells of a coarse floor may lie between samples.
    ground = cv2.morphologyEx(ground, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    floor[(ground > 0) & np.isnan(floor)] = level
    # Where the floor ends without a wall nobody knows what comes.
    free = (cv2.dilate(blocked, disc) == 0) & (cv2.erode(ground, disc, borderValue=0) > 0)
    return Walkable(_reached(free, field.cells(stood)), floor, origin, cell)


def _most_common(values: NDArray[np.float64], weights: NDArray[np.float64], width: float) -> float:
    """The middle of the bin with the largest weight, refined to the mean within."""
    bins = np.floor((values - values.min()) / width).astype(int)
    best = int(np.bincount(bins, weights).argmax())
    inside = np.abs(bins - best) <= 1
    return float(np.average(values[inside], weights=weights[inside]))


def _reached(free: NDArray[np.bool_], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The connected parts of the free area over which a camera was; the largest if that is none."""
    count, label = cv2.connectedComponents(free.astype(np.uint8), connectivity=4)
    if count <= 1:
        return free
    under = set(np.unique(label[places[:, 0], places[:, 2]])) - {0}
    if not under:
        under = {int(np.bincount(label[label > 0]).argmax())}
    return np.asarray(np.isin(label, list(under)))


class Capsule:
    """A standing capsule that a mesh stops.

    Args:
        mesh: y up.
        radius: metres.
        height: from the ground to its top.
    """

    def __init__(self, mesh: Mesh, radius: float, height: float) -> None:
        self._spacing = radius / 4
        self._tree = cKDTree(mesh.samples(self._spacing))
        self.radius, self.height = radius, height
        # Samples are some way apart, and a capsule must not slip between them.
        self._reach = radius + self._spacing
        low, high = _STEP_HEIGHT + radius, height - radius
        self._axis = np.linspace(low, max(low, high), max(2, int(np.ceil((high - low) / radius)) + 1))

    def stands(self, foot: NDArray[np.float64]) -> bool:
        """Whether it touches nothing with its foot at a point; lower than a step nothing counts."""
        line = np.repeat(foot[None], len(self._axis), axis=0)
        line[:, 1] += self._axis
        distance, _ = self._tree.query(line, distance_upper_bound=self._reach)
        return bool(np.isinf(distance).all())

    def walk(self, start: NDArray[np.float64], steps: int, seed: int) -> tuple[NDArray[np.float64], int]:
        """A random walk: (steps, 3) places of its foot, and how many steps the mesh has stopped."""
        random = np.random.default_rng(seed)
        turns, fresh = random.normal(0, _TURN, steps), random.uniform(0, 2 * np.pi, steps)
        stride = min(_STRIDE, self.radius / 2)
        place, angle, stopped = start.astype(np.float64), 0.0, 0
        found = np.empty((steps, 3))
        for number in range(steps):
            angle += turns[number]
            ahead = place + stride * np.array([np.sin(angle), 0.0, np.cos(angle)])
            if self.stands(ahead):
                place = ahead
            else:
                stopped += 1
                angle = fresh[number]
            found[number] = place
        return found, stopped
