"""Where a camera can go: collisions in metres against the surfaces that a panorama shows from its middle.

A place is free if it lies before the surface in its direction and keeps a clearance from all surfaces. Nothing is
normalised, so the answer holds at every size of a scene.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scenewright_stages.vision.world.panorama import directions, sample

Floats = NDArray[np.float32]

_ROWS = 180
_SHRINKS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


class FreeSpace:
    """The free space around the middle of a panorama of distances, (H, 2 H) float32 metres, 0 where unknown."""

    def __init__(self, distance: Floats) -> None:
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
        """How many of the positions of a path come before the first that is not free."""
        blocked = np.flatnonzero(self.clearances(positions) < clearance)
        return int(blocked[0]) if len(blocked) else len(positions)

    def scale_of(self, positions: NDArray[np.floating], clearance: float) -> float:
        """The largest of 1, 0.9, ..., 0.3 by which a path can be scaled about the middle to be free; else the last."""
        fits = (each for each in _SHRINKS if self.steps_until_blocked(positions * each, clearance) == len(positions))
        return next(fits, _SHRINKS[-1])
