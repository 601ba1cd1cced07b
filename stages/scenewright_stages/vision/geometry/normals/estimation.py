"""Pseudo-normals of a person without a model.

The silhouette is inflated like a cushion, with the image's luminance relief on top. The height field solves Poisson's
equation with a constant source inside the silhouette and zero height on its outline; its square root meets the image
plane at a right angle, as round bodies do (Johnston 2002, Lumo; Oswald et al. 2012). Where the image border cuts the
silhouette the body continues, so the height is level there.
"""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.vision.geometry.normals import kernels
from scenewright_stages.vision.imaging.resampling import enlarged, reduced, reduced_size
from scenewright_stages.vision.types import Float32Array

_GRID = 128  # longer side of the grid that the height is solved on
_COARSEST = 8
_SWEEPS = 24
_REACH = 0.18  # distance from the outline over which the cushion rises, as a share of the root of the area
_RELIEF_HEIGHT = 0.5  # of the coarse scale, for a step from black to white
_RELIEF_SHARES = (0.004, 0.03)  # scales of the relief: finer is texture, coarser is shape or albedo


def inflated_normals(
    alpha: Float32Array, luminance: Float32Array, detail: float = 1.0, reach: float = _REACH
) -> Float32Array:
    """Unit normals in the camera's frame (OpenCV axes; facing the camera = -z).

    Args:
        alpha: (H, W) float32 in [0, 1], the person's matte.
        luminance: (H, W) float32 in [0, 1]; bright areas of medium size count as raised. May be sRGB-encoded.
        detail: strength of that relief; 0 gives only the smooth cushion.
        reach: see :func:`inflated_height`.

    Returns:
        (H, W, 3) float32; (0, 0, -1) outside the person.
    """
    height = inflated_height(alpha, reach)
    size = (alpha.shape[1], alpha.shape[0])
    slopes = kernels.slopes(height, np.float32(max(alpha.shape) / max(height.shape)))
    slopes = enlarged(slopes, size)
    relief = _relief(luminance) if detail > 0 else np.zeros((1, 1), np.float32)
    cover = np.ascontiguousarray(alpha, np.float32)
    normals: Float32Array = kernels.compose(slopes, relief, cover, np.float32(detail))
    return normals


def inflated_height(alpha: Float32Array, reach: float = _REACH) -> Float32Array:
    """(h, w) height of the cushion over the image plane in pixels of the full image, on a reduced grid; 0 outside.

    Args:
        alpha: (H, W) float32 in [0, 1].
        reach: distance from the outline over which it rises, as a share of the root of the area. From about 1 a disc
            becomes a hemisphere.
    """
    size, scale = reduced_size(alpha.shape, _GRID, least=2)
    inside = reduced(alpha, size)
    levels = [np.ascontiguousarray(inside, np.float32)]
    while min(levels[-1].shape) > _COARSEST:
        rows, columns = levels[-1].shape
        levels.append(reduced(levels[-1], ((columns + 1) // 2, (rows + 1) // 2)))
    distance = reach * np.sqrt(max(float(inside.sum()), 1.0))
    field = np.zeros_like(levels[-1])
    for depth in range(len(levels) - 1, -1, -1):
        level = levels[depth]
        if field.shape != level.shape:
            field = enlarged(field, (level.shape[1], level.shape[0]))
        sweeps = _SWEEPS if depth else 2 * _SWEEPS
        field = kernels.relax(field, level, np.float32(4.0**depth), np.float32(4.0**depth / distance**2), sweeps)
    # A disc of radius R has the potential (R^2 - r^2) / 4 under a unit source: 2 sqrt of it is a half sphere.
    result: Float32Array = (2 / scale * np.sqrt(np.maximum(field, 0))).astype(np.float32)
    return result


def _relief(luminance: Float32Array) -> Float32Array:
    """(h, w) band-pass of the luminance, on a grid just fine enough for it."""
    fine, coarse = (share * max(luminance.shape) for share in _RELIEF_SHARES)
    factor = max(1, int(fine))
    size = (max(2, luminance.shape[1] // factor), max(2, luminance.shape[0] // factor))
    small = reduced(luminance, size)
    sigmas = (max(fine / factor, 0.6), coarse / factor)
    near, far = (cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for sigma in sigmas)
    relief: Float32Array = (near - far) * np.float32(_RELIEF_HEIGHT * coarse)
    return relief


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    tile = np.zeros((16, 16), np.float32)
    tile[4:12, 4:12] = 1
    inflated_normals(tile, tile)
    inflated_normals(tile, tile, 0.0)
    kernels.unit_normals(np.zeros((4, 4, 3), np.float32))
