"""Argument records of the compiled kernels (named tuples, which numba takes apart at no cost)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cameras import Camera
from .layout import TILE

Array = NDArray[Any]


class SceneArrays(NamedTuple):
    """A Gaussian scene, or its gradient, as contiguous numpy arrays of one real dtype.

    Shapes as in `GaussianScene`: means (N, 3), log_scales (N, 3), quaternions (N, 4) wxyz,
    opacity_logits (N,), harmonics (N, K, 3).
    """

    means: Array
    log_scales: Array
    quaternions: Array
    opacity_logits: Array
    harmonics: Array

    @property
    def size(self) -> int:
        """Number N of Gaussians."""
        return int(self.means.shape[0])

    def zeros(self) -> SceneArrays:
        return SceneArrays(*(np.zeros_like(group) for group in self))

    def select(self, index: Array) -> SceneArrays:
        """Contiguous copy of the named rows (bool mask or integer index)."""
        return SceneArrays(*(np.ascontiguousarray(group[index]) for group in self))


class Viewpoint(NamedTuple):
    """A camera as the kernels take it.

    Attributes:
        pose: (3, 4) top of camera_from_world.
        position: (3,) camera centre in the world.
        lens: (4,) fx, fy, cx, cy in pixels.
        pixels: (2,) int64 width and height.
    """

    pose: Array
    position: Array
    lens: Array
    pixels: Array

    @classmethod
    def of(cls, camera: Camera, dtype: Any) -> Viewpoint:
        return cls(
            np.ascontiguousarray(camera.camera_from_world[:3], dtype),
            np.ascontiguousarray(camera.position, dtype),
            np.array([*camera.focal, *camera.principal_point], dtype),
            np.array([camera.width, camera.height], np.int64),
        )

    @property
    def width(self) -> int:
        return int(self.pixels[0])

    @property
    def height(self) -> int:
        return int(self.pixels[1])

    @property
    def tile_grid(self) -> tuple[int, int]:
        """Tile columns and rows."""
        return -(-self.width // TILE), -(-self.height // TILE)
