"""Constants, column layouts and argument records shared by the compiled kernels.

The numbers that decide what is visible are those of gsplat 1.5 in "classic" mode, so that both
renderers draw the same picture: near plane 0.01, 0.3 px² added to the projected covariance, alpha
below 1/255 skipped, alpha clamped to 0.999, a pixel finished once its transmittance reaches 1e-4.

The records are named tuples, which numba takes apart at no cost.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera

TILE = 16
TILE_PIXELS = TILE * TILE

NEAR_PLANE = 0.01
FAR_PLANE = 1e10
COVARIANCE_BLUR = 0.3
ALPHA_MINIMUM = 1.0 / 255.0
ALPHA_MAXIMUM = 0.999
TRANSMITTANCE_STOP = 1e-4
# Radius limit in standard deviations; sqrt(2 ln 255) = 3.329 is where an opaque Gaussian fades out.
EXTENT_LIMIT = 3.33
# The projection's Jacobian is evaluated at most this fraction of the field of view outside the image.
FIELD_OF_VIEW_MARGIN = 0.3

# Columns of a "splat": a Gaussian as one camera sees it, pixels and metres.
MEAN_X, MEAN_Y = 0, 1
CONIC_XX, CONIC_XY, CONIC_YY = 2, 3, 4
OPACITY = 5
RED, GREEN, BLUE, DEPTH = 6, 7, 8, 9
REACH_X, REACH_Y = 10, 11
SPLAT_COLUMNS = 12

# Columns of a gradient slot: what one tile contributes to one splat. The first six are moments of
# dL/dsigma (sigma is the exponent) over the offset (x, y) of splat mean minus pixel centre.
MOMENT, MOMENT_X, MOMENT_Y, MOMENT_XX, MOMENT_XY, MOMENT_YY = 0, 1, 2, 3, 4, 5
SLOT_RED, SLOT_GREEN, SLOT_BLUE, SLOT_DEPTH = 6, 7, 8, 9
SLOT_COLUMNS = 10

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
