"""Free space for cameras: collision tests, in metres, against the surfaces of a panorama.

A position is free if it lies in front of the surface in its direction and keeps a clearance from all surfaces. Nothing
is normalised, so the test works at every scene scale.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scenewright_stages.vision.places.worlds.panorama import directions, sample
from scenewright_stages.vision.types import Float32Array

_ROWS = 180
_SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


class FreeSpace:
    """Free space around the centre of a panorama of distances, (H, 2 H) float32 metres, 0 where unknown."""

    def __init__(self, distance: Float32Array) -> None:
        step = max(1, len(distance) // _ROWS)
        points = (directions(len(distance)) * distance[..., None])[::step, ::step]
        self._distance = distance
        self._tree = cKDTree(points[distance[::step, ::step] > 0].reshape(-1, 3))

    def clearances(self, positions: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N,) metres from positions (N, 3) to the nearest surface; negative behind one."""
        nearest, _ = self._tree.query(positions)
        reach = np.linalg.norm(positions, axis=1)
        surface = sample(self._distance[..., None], np.where(reach[:, None] > 1e-9, positions, (0.0, 0.0, 1.0)))[:, 0]
        return np.asarray(np.where((surface > 0) & (reach > surface), -nearest, nearest))

    def steps_until_blocked(self, positions: NDArray[np.floating], clearance: float) -> int:
        """Number of positions of a path before the first one that is not free."""
        blocked = np.flatnonzero(self.clearances(positions) < clearance)
        return int(blocked[0]) if len(blocked) else len(positions)

    def scale_of(self, positions: NDArray[np.floating], clearance: float) -> float:
        """The largest factor of 1, 0.9, ..., 0.3 at which the path, scaled about the centre, is free; otherwise 0.3."""
        fits = (each for each in _SHRINKS if self.steps_until_blocked(positions * each, clearance) == len(positions))
        return next(fits, _SHRINKS[-1])
