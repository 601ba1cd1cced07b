"""Normals of the surface that a depth map describes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]


def normals_from_depth(depth: Float32Array, intrinsics: NDArray[np.float64]) -> Float32Array:
    """Unit normals toward the camera from central differences of the back-projected points.

    Args:
        depth: (H, W) float32 z-depth, positive and finite.
        intrinsics: (3, 3) in pixels, pixel centres at +0.5.

    Returns:
        (H, W, 3) float32, camera frame (OpenCV axes); (0, 0, -1) where a difference is not finite or vanishes.
    """
    height, width = depth.shape
    x = ((np.arange(width) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]).astype(np.float32)
    y = ((np.arange(height) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]).astype(np.float32)
    points = np.stack([depth * x[None], depth * y[:, None], depth], axis=-1)
    with np.errstate(invalid="ignore"):
        normals = np.cross(_difference(points, 0), _difference(points, 1))
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        # The cross product of down and right points to the camera where the surface is seen from its front.
        unit = normals / length
        unit = np.where(np.sum(unit * points, axis=-1, keepdims=True) > 0, -unit, unit)
    valid = np.isfinite(unit).all(axis=-1, keepdims=True) & (length > 0)
    return np.where(valid, unit, np.array([0, 0, -1], np.float32)).astype(np.float32)


def _difference(points: Float32Array, axis: int) -> Float32Array:
    difference: Float32Array = np.gradient(points, axis=axis)
    return difference
