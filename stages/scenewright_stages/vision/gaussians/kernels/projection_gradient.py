"""Gradient of the projection: from the tiles' gradient slots to the scene's parameters."""

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
from scenewright_stages.vision.gaussians.kernels.harmonics import direction_gradient, fill_basis
from scenewright_stages.vision.gaussians.kernels.layout import (
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    DEPTH,
    GREEN,
    MOMENT,
    MOMENT_X,
    MOMENT_XX,
    MOMENT_XY,
    MOMENT_Y,
    MOMENT_YY,
    OPACITY,
    RED,
    SLOT_BLUE,
    SLOT_COLUMNS,
    SLOT_DEPTH,
    SLOT_GREEN,
    SLOT_RED,
)

_BLOCK = 256


@compiled
def _sum_slots(slots: Any, first: int, last: int, total: Any) -> None:
    for column in range(SLOT_COLUMNS):
        total[column] = 0
    for slot in range(first, last):
        for column in range(SLOT_COLUMNS):
            total[column] += slots[slot, column]


@compiled
def _covariance_gradient(splat: Any, total: Any) -> Any:
    """dL/d(xx, xy, yy) of the 2D covariance; xy counts both off-diagonal elements.

    The conic is the inverse K of the covariance, so dL/dcov = -K G K for G = dL/dK (symmetric).
    """
    half = splat.dtype.type(0.5)
    a, b, c = splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY]
    g_xx, g_xy, g_yy = half * total[MOMENT_XX], half * total[MOMENT_XY], half * total[MOMENT_YY]
    left_xx, left_xy = a * g_xx + b * g_xy, a * g_xy + b * g_yy
    left_yx, left_yy = b * g_xx + c * g_xy, b * g_xy + c * g_yy
    xx = -(left_xx * a + left_xy * b)
    xy = -(left_xx * b + left_xy * c)
    yy = -(left_yx * b + left_yy * c)
    return xx, xy + xy, yy


@compiled
def _image_factor_gradient(image_factor: Any, xx: Any, xy: Any, yy: Any, out: Any) -> None:
    two = image_factor.dtype.type(2)
    for column in range(3):
        b0, b1 = image_factor[column], image_factor[3 + column]
        out[column] = two * xx * b0 + xy * b1
        out[3 + column] = xy * b0 + two * yy * b1


@compiled
def _camera_factor_gradient(d_image: Any, z: Any, slope_x: Any, slope_y: Any, lens: Any, out: Any) -> None:
    scale_x, scale_y = lens[0] / z, lens[1] / z
    for column in range(3):
        out[column] = scale_x * d_image[column]
        out[3 + column] = scale_y * d_image[3 + column]
        out[6 + column] = -slope_x * out[column] - slope_y * out[3 + column]


@compiled
def _camera_mean_gradient(
    d_image: Any, factor: Any, splat: Any, total: Any, x: Any, y: Any, lens: Any, pixels: Any
) -> Any:
    """dL/d(x, y, z) of the mean in camera coordinates: through the image mean, J and the depth."""
    z = splat[DEPTH]
    slope_x, slope_y, inside_x, inside_y = slopes(x, y, z, lens, pixels)
    scale_x, scale_y = lens[0] / z, lens[1] / z
    d_mean_x = splat[CONIC_XX] * total[MOMENT_X] + splat[CONIC_XY] * total[MOMENT_Y]
    d_mean_y = splat[CONIC_XY] * total[MOMENT_X] + splat[CONIC_YY] * total[MOMENT_Y]
    d_scale_x, d_scale_y = type(z)(0), type(z)(0)
    d_slope_x, d_slope_y = type(z)(0), type(z)(0)
    for column in range(3):
        d_scale_x += d_image[column] * (factor[column] - slope_x * factor[6 + column])
        d_scale_y += d_image[3 + column] * (factor[3 + column] - slope_y * factor[6 + column])
        d_slope_x -= d_image[column] * scale_x * factor[6 + column]
        d_slope_y -= d_image[3 + column] * scale_y * factor[6 + column]
    d_x, d_y = scale_x * d_mean_x, scale_y * d_mean_y
    d_z = total[SLOT_DEPTH] - (scale_x * x * d_mean_x + scale_y * y * d_mean_y) / z
    d_z -= (scale_x * d_scale_x + scale_y * d_scale_y) / z
    if inside_x:
        d_x += d_slope_x / z
        d_z -= d_slope_x * slope_x / z
    if inside_y:
        d_y += d_slope_y / z
        d_z -= d_slope_y * slope_y / z
    return d_x, d_y, d_z


@compiled
def _quaternion_gradient(quaternions: Any, i: int, d: Any, out: Any) -> None:
    """dL/dquaternion i from the (9,) row-major gradient d of its rotation matrix."""
    w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
    two = type(w)(2)
    inverse = type(w)(1) / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    d_w = two * (x * (d[7] - d[5]) + y * (d[2] - d[6]) + z * (d[3] - d[1]))
    d_x = two * (-two * x * (d[4] + d[8]) + y * (d[1] + d[3]) + z * (d[2] + d[6]) + w * (d[7] - d[5]))
    d_y = two * (x * (d[1] + d[3]) - two * y * (d[0] + d[8]) + z * (d[5] + d[7]) + w * (d[2] - d[6]))
    d_z = two * (x * (d[2] + d[6]) + y * (d[5] + d[7]) - two * z * (d[0] + d[4]) + w * (d[3] - d[1]))
    along = d_w * w + d_x * x + d_y * y + d_z * z
    out[i, 0], out[i, 1] = (d_w - along * w) * inverse, (d_x - along * x) * inverse
    out[i, 2], out[i, 3] = (d_y - along * y) * inverse, (d_z - along * z) * inverse


@compiled
def _shape_gradient(d_factor: Any, turn: Any, scene: Any, i: int, view: Any, d_turn: Any, gradient: Any) -> None:
    """Chain dL/d(V Q S) to the scales and the quaternion of Gaussian i."""
    for column in range(3):
        scale = math.exp(scene.log_scales[i, column])
        gradient.log_scales[i, column] = 0
        for row in range(3):
            d_world = (
                view[0, row] * d_factor[column]
                + view[1, row] * d_factor[3 + column]
                + view[2, row] * d_factor[6 + column]
            )
            d_turn[3 * row + column] = scale * d_world
            gradient.log_scales[i, column] += scale * d_world * turn[3 * row + column]
    _quaternion_gradient(scene.quaternions, i, d_turn, gradient.quaternions)


@compiled
def _weighted(harmonics: Any, i: int, k: int, red: Any, green: Any, blue: Any) -> Any:
    return harmonics[i, k, 0] * red + harmonics[i, k, 1] * green + harmonics[i, k, 2] * blue


@compiled
def _colour_gradient(scene: Any, splat: Any, total: Any, i: int, viewpoint: Any, basis: Any, gradient: Any) -> Any:
    """Fill dL/dharmonics of Gaussian i; returns dL/dmean through the viewing direction."""
    zero = splat.dtype.type(0)
    direction_x, direction_y, direction_z, inverse = view_direction(scene.means, i, viewpoint.position)
    fill_basis(direction_x, direction_y, direction_z, basis)
    red = total[SLOT_RED] if splat[RED] > zero else zero
    green = total[SLOT_GREEN] if splat[GREEN] > zero else zero
    blue = total[SLOT_BLUE] if splat[BLUE] > zero else zero
    for k in range(basis.shape[0]):
        gradient.harmonics[i, k, 0], gradient.harmonics[i, k, 1] = basis[k] * red, basis[k] * green
        gradient.harmonics[i, k, 2] = basis[k] * blue
    if basis.shape[0] == 1:
        return zero, zero, zero
    for k in range(basis.shape[0]):
        basis[k] = _weighted(scene.harmonics, i, k, red, green, blue)
    gx, gy, gz = direction_gradient(direction_x, direction_y, direction_z, basis)
    along = gx * direction_x + gy * direction_y + gz * direction_z
    return (
        (gx - along * direction_x) * inverse,
        (gy - along * direction_y) * inverse,
        (gz - along * direction_z) * inverse,
    )


@compiled
def _backpropagate_one(
    scene: Any, i: int, viewpoint: Any, splat: Any, total: Any, scratch: Any, basis: Any, gradient: Any
) -> None:
    turn, in_camera, in_image, d_image, d_camera, d_turn = scratch
    view, lens, pixels = viewpoint.pose, viewpoint.lens, viewpoint.pixels
    x, y, z = to_camera(scene.means, i, view)
    slope_x, slope_y, _, _ = slopes(x, y, z, lens, pixels)
    rotation(scene.quaternions, i, turn)
    camera_factor(turn, scene.log_scales, i, view, in_camera)
    image_factor(in_camera, z, slope_x, slope_y, lens, in_image)
    xx, xy, yy = _covariance_gradient(splat, total)
    _image_factor_gradient(in_image, xx, xy, yy, d_image)
    _camera_factor_gradient(d_image, z, slope_x, slope_y, lens, d_camera)
    _shape_gradient(d_camera, turn, scene, i, view, d_turn, gradient)
    d_x, d_y, d_z = _camera_mean_gradient(d_image, in_camera, splat, total, x, y, lens, pixels)
    c_x, c_y, c_z = _colour_gradient(scene, splat, total, i, viewpoint, basis, gradient)
    gradient.means[i, 0] = view[0, 0] * d_x + view[1, 0] * d_y + view[2, 0] * d_z + c_x
    gradient.means[i, 1] = view[0, 1] * d_x + view[1, 1] * d_y + view[2, 1] * d_z + c_y
    gradient.means[i, 2] = view[0, 2] * d_x + view[1, 2] * d_y + view[2, 2] * d_z + c_z
    # The moments are of dL/dsigma, and dL/dopacity * opacity = -sum(dL/dsigma).
    gradient.opacity_logits[i] = -total[MOMENT] * (type(z)(1) - splat[OPACITY])


@njit(cache=True, error_model="numpy")
def _backpropagate_block(
    scene: Any,
    viewpoint: Any,
    splats: Any,
    ids: Any,
    slots: Any,
    slot_offsets: Any,
    first: int,
    last: int,
    gradient: Any,
) -> None:
    real = splats.dtype
    scratch = (
        np.empty(9, real),
        np.empty(9, real),
        np.empty(6, real),
        np.empty(6, real),
        np.empty(9, real),
        np.empty(9, real),
    )
    basis = np.empty(scene.harmonics.shape[1], real)
    total = np.empty(SLOT_COLUMNS, real)
    for m in range(first, last):
        _sum_slots(slots, slot_offsets[m], slot_offsets[m + 1], total)
        _backpropagate_one(scene, ids[m], viewpoint, splats[m], total, scratch, basis, gradient)


@njit(cache=True, error_model="numpy", parallel=True)
def backpropagate(
    scene: Any, viewpoint: Any, splats: Any, ids: Any, slots: Any, slot_offsets: Any, gradient: Any
) -> None:
    """Sum each splat's gradient slots in order and chain them to the scene's parameters.

    ids (M,) names the Gaussian of splat m, whose slots are slot_offsets[m]:slot_offsets[m + 1]. The rows
    of `gradient` (`layout.SceneArrays`) of Gaussians that are not in ids are unchanged.
    """
    count = ids.shape[0]
    for block in prange((count + _BLOCK - 1) // _BLOCK):
        first, last = block * _BLOCK, min(count, (block + 1) * _BLOCK)
        _backpropagate_block(scene, viewpoint, splats, ids, slots, slot_offsets, first, last, gradient)
