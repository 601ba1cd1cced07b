"""EWA projection of 3D Gaussians to image splats.

The visibility rules are gsplat's (see `layout`). Gaussians are independent, so the result does not depend on the
number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from scenewright_stages.vision.gaussians.kernels.geometry import (
    camera_factor,
    compiled,
    image_factor,
    rotation,
    slopes,
    to_camera,
    view_direction,
)
from scenewright_stages.vision.gaussians.kernels.harmonics import fill_basis
from scenewright_stages.vision.gaussians.kernels.layout import (
    ALPHA_MINIMUM,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    COVARIANCE_BLUR,
    DEPTH,
    EXTENT_LIMIT,
    FAR_PLANE,
    MEAN_X,
    MEAN_Y,
    NEAR_PLANE,
    OPACITY,
    REACH_X,
    REACH_Y,
    RED,
)

_BLOCK = 256


@compiled
def _covariance(image_factor: Any) -> Any:
    """Blurred 2D covariance (xx, xy, yy) in square pixels."""
    b = image_factor
    blur = b.dtype.type(COVARIANCE_BLUR)
    return (
        b[0] * b[0] + b[1] * b[1] + b[2] * b[2] + blur,
        b[0] * b[3] + b[1] * b[4] + b[2] * b[5],
        b[3] * b[3] + b[4] * b[4] + b[5] * b[5] + blur,
    )


@compiled
def _sigmoid(logit: Any) -> Any:
    real = type(logit)
    return real(1) / (real(1) + math.exp(-logit))


@compiled
def _colour(harmonics: Any, i: int, basis: Any, channel: int) -> Any:
    value = basis.dtype.type(0.5)
    for k in range(basis.shape[0]):
        value += basis[k] * harmonics[i, k, channel]
    return value


@compiled
def _reach(opacity: Any, xx: Any, yy: Any) -> Any:
    """Half width and height of the box outside which alpha is below its minimum, pixels."""
    real = type(opacity)
    extent = min(real(EXTENT_LIMIT), math.sqrt(real(2) * math.log(opacity / real(ALPHA_MINIMUM))))
    return extent * math.sqrt(xx), extent * math.sqrt(yy)


@compiled
def _in_image(centre: Any, reach: Any, pixels: int) -> bool:
    """Whether the box meets the image along one axis; the reach is rounded up as gsplat does."""
    real = type(centre)
    reach = math.ceil(reach)
    return bool(centre + reach > real(0) and centre - reach < real(pixels))


@compiled
def _fill_colour(scene: Any, i: int, viewpoint: Any, basis: Any, splat: Any) -> Any:
    """Write the colour of Gaussian i; returns the unclipped channels' sum to tell finite ones."""
    zero = splat.dtype.type(0)
    x, y, z, _ = view_direction(scene.means, i, viewpoint.position)
    fill_basis(x, y, z, basis)
    total = zero
    for channel in range(3):
        value = _colour(scene.harmonics, i, basis, channel)
        splat[RED + channel] = max(zero, value)
        total += value
    return total


@compiled
def _project_one(scene: Any, i: int, viewpoint: Any, scratch: Any, basis: Any, splat: Any) -> bool:
    """Fill the splat; False where the Gaussian is not seen (or holds a value that is not finite)."""
    real = splat.dtype.type
    turn, in_camera, in_image = scratch
    lens, pixels = viewpoint.lens, viewpoint.pixels
    x, y, z = to_camera(scene.means, i, viewpoint.pose)
    opacity = _sigmoid(scene.opacity_logits[i])
    if not (z >= real(NEAR_PLANE) and z <= real(FAR_PLANE) and opacity > real(ALPHA_MINIMUM)):
        return False
    rotation(scene.quaternions, i, turn)
    camera_factor(turn, scene.log_scales, i, viewpoint.pose, in_camera)
    slope_x, slope_y, _, _ = slopes(x, y, z, lens, pixels)
    image_factor(in_camera, z, slope_x, slope_y, lens, in_image)
    xx, xy, yy = _covariance(in_image)
    determinant = xx * yy - xy * xy
    if not (determinant > real(0) and determinant < real(np.inf)):
        return False
    reach_x, reach_y = _reach(opacity, xx, yy)
    mean_x, mean_y = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
    if not (_in_image(mean_x, reach_x, pixels[0]) and _in_image(mean_y, reach_y, pixels[1])):
        return False
    splat[MEAN_X], splat[MEAN_Y] = mean_x, mean_y
    splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY] = yy / determinant, -xy / determinant, xx / determinant
    splat[OPACITY], splat[DEPTH] = opacity, z
    splat[REACH_X], splat[REACH_Y] = reach_x, reach_y
    total = mean_x + mean_y + reach_x + reach_y + _fill_colour(scene, i, viewpoint, basis, splat)
    return bool(math.isfinite(total))


@njit(cache=True, error_model="numpy")
def _project_block(scene: Any, viewpoint: Any, first: int, last: int, splats: Any, visible: Any) -> None:
    scratch = (np.empty(9, splats.dtype), np.empty(9, splats.dtype), np.empty(6, splats.dtype))
    basis = np.empty(scene.harmonics.shape[1], splats.dtype)
    for i in range(first, last):
        visible[i] = _project_one(scene, i, viewpoint, scratch, basis, splats[i])


@njit(cache=True, error_model="numpy", parallel=True)
def project(scene: Any, viewpoint: Any, splats: Any, visible: Any) -> None:
    """Fill splats (N, SPLAT_COLUMNS) and visible (N,) bool; unseen rows hold garbage.

    scene is `layout.SceneArrays`, viewpoint `layout.Viewpoint`; all real arrays share one dtype.
    """
    count = scene.means.shape[0]
    for block in prange((count + _BLOCK - 1) // _BLOCK):
        first, last = block * _BLOCK, min(count, (block + 1) * _BLOCK)
        _project_block(scene, viewpoint, first, last, splats, visible)
