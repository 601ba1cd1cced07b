"""EWA projection of 3D Gaussians to image splats, and its gradient.

Zwicker et al., "EWA Splatting" (2002); the visibility rules are gsplat's (see `layout`). With the
view rotation V, the Gaussian's rotation Q and its scales S, the 2D covariance is B Bᵀ + 0.3 I where
B = J V Q S and J is the Jacobian of the perspective projection. Every kernel works per Gaussian, so
the result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

from .harmonics import direction_gradient, fill_basis
from .layout import (
    ALPHA_MINIMUM,
    BLUE,
    CONIC_XX,
    CONIC_XY,
    CONIC_YY,
    COVARIANCE_BLUR,
    DEPTH,
    EXTENT_LIMIT,
    FAR_PLANE,
    FIELD_OF_VIEW_MARGIN,
    GREEN,
    MEAN_X,
    MEAN_Y,
    MOMENT,
    MOMENT_X,
    MOMENT_XX,
    MOMENT_XY,
    MOMENT_Y,
    MOMENT_YY,
    NEAR_PLANE,
    OPACITY,
    REACH_X,
    REACH_Y,
    RED,
    SLOT_BLUE,
    SLOT_COLUMNS,
    SLOT_DEPTH,
    SLOT_GREEN,
    SLOT_RED,
)

_BLOCK = 256
_compiled = njit(cache=True, error_model="numpy")
_compiled_parallel = njit(cache=True, error_model="numpy", parallel=True)


@_compiled
def _rotation(quaternions: Any, i: int, out: Any) -> None:
    """Row-major (9,) rotation of quaternion i (wxyz), normalised here."""
    w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
    real = type(w)
    one, two = real(1), real(2)
    inverse_norm = one / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse_norm, x * inverse_norm, y * inverse_norm, z * inverse_norm
    out[0], out[1], out[2] = one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)
    out[3], out[4], out[5] = two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x)
    out[6], out[7], out[8] = two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y)


@_compiled
def _to_camera(means: Any, i: int, view: Any) -> Any:
    """Camera coordinates of mean i; view is the (3, 4) top of camera_from_world."""
    x, y, z = means[i, 0], means[i, 1], means[i, 2]
    return (
        view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3],
        view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3],
        view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3],
    )


@_compiled
def _slopes(x: Any, y: Any, z: Any, lens: Any, size: Any) -> Any:
    """x/z and y/z limited to the widened field of view, and whether each was inside it."""
    real = type(x)
    width, height, margin = real(size[0]), real(size[1]), real(FIELD_OF_VIEW_MARGIN)
    margin_x, margin_y = margin * real(0.5) * width / lens[0], margin * real(0.5) * height / lens[1]
    right, left = (width - lens[2]) / lens[0] + margin_x, lens[2] / lens[0] + margin_x
    bottom, top = (height - lens[3]) / lens[1] + margin_y, lens[3] / lens[1] + margin_y
    slope_x, slope_y = x / z, y / z
    inside_x = (slope_x <= right) and (slope_x >= -left)
    inside_y = (slope_y <= bottom) and (slope_y >= -top)
    return min(right, max(-left, slope_x)), min(bottom, max(-top, slope_y)), inside_x, inside_y


@_compiled
def _camera_factor(rotation: Any, log_scales: Any, i: int, view: Any, out: Any) -> None:
    """(9,) row-major V Q S: the camera-space square root of covariance i."""
    for column in range(3):
        scale = math.exp(log_scales[i, column])
        for row in range(3):
            out[3 * row + column] = scale * (
                view[row, 0] * rotation[column]
                + view[row, 1] * rotation[3 + column]
                + view[row, 2] * rotation[6 + column]
            )


@_compiled
def _image_factor(factor: Any, z: Any, slope_x: Any, slope_y: Any, lens: Any, out: Any) -> None:
    """(6,) row-major B = J A: the image-space square root, for A the camera factor."""
    scale_x, scale_y = lens[0] / z, lens[1] / z
    for column in range(3):
        out[column] = scale_x * (factor[column] - slope_x * factor[6 + column])
        out[3 + column] = scale_y * (factor[3 + column] - slope_y * factor[6 + column])


@_compiled
def _covariance(image_factor: Any) -> Any:
    """Blurred 2D covariance (xx, xy, yy) in square pixels."""
    b = image_factor
    blur = b.dtype.type(COVARIANCE_BLUR)
    return (
        b[0] * b[0] + b[1] * b[1] + b[2] * b[2] + blur,
        b[0] * b[3] + b[1] * b[4] + b[2] * b[5],
        b[3] * b[3] + b[4] * b[4] + b[5] * b[5] + blur,
    )


@_compiled
def _sigmoid(logit: Any) -> Any:
    real = type(logit)
    return real(1) / (real(1) + math.exp(-logit))


@_compiled
def _view_direction(means: Any, i: int, position: Any) -> Any:
    """Unit direction from the camera to mean i, and the inverse distance."""
    dx, dy, dz = means[i, 0] - position[0], means[i, 1] - position[1], means[i, 2] - position[2]
    inverse = type(dx)(1) / math.sqrt(dx * dx + dy * dy + dz * dz)
    return dx * inverse, dy * inverse, dz * inverse, inverse


@_compiled
def _colour(harmonics: Any, i: int, basis: Any, channel: int) -> Any:
    value = basis.dtype.type(0.5)
    for k in range(basis.shape[0]):
        value += basis[k] * harmonics[i, k, channel]
    return value


@_compiled
def _project_one(
    means: Any,
    log_scales: Any,
    quaternions: Any,
    opacity_logits: Any,
    harmonics: Any,
    i: int,
    view: Any,
    position: Any,
    lens: Any,
    size: Any,
    scratch: Any,
    basis: Any,
    splats: Any,
) -> bool:
    """Fill splats[i]; False where the Gaussian is not seen (or holds a value that is not finite)."""
    real = splats.dtype.type
    x, y, z = _to_camera(means, i, view)
    if not (z >= real(NEAR_PLANE) and z <= real(FAR_PLANE)):
        return False
    opacity = _sigmoid(opacity_logits[i])
    if not opacity > real(ALPHA_MINIMUM):
        return False
    _rotation(quaternions, i, scratch[0:9])
    _camera_factor(scratch[0:9], log_scales, i, view, scratch[9:18])
    slope_x, slope_y, _, _ = _slopes(x, y, z, lens, size)
    _image_factor(scratch[9:18], z, slope_x, slope_y, lens, scratch[18:24])
    xx, xy, yy = _covariance(scratch[18:24])
    determinant = xx * yy - xy * xy
    if not (determinant > real(0) and determinant < real(np.inf)):
        return False
    extent = min(real(EXTENT_LIMIT), math.sqrt(real(2) * math.log(opacity / real(ALPHA_MINIMUM))))
    reach_x, reach_y = extent * math.sqrt(xx), extent * math.sqrt(yy)
    mean_x, mean_y = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
    outside_x = mean_x + math.ceil(reach_x) <= real(0) or mean_x - math.ceil(reach_x) >= real(size[0])
    outside_y = mean_y + math.ceil(reach_y) <= real(0) or mean_y - math.ceil(reach_y) >= real(size[1])
    if outside_x or outside_y:
        return False
    direction_x, direction_y, direction_z, _ = _view_direction(means, i, position)
    fill_basis(direction_x, direction_y, direction_z, basis)
    splat = splats[i]
    splat[MEAN_X], splat[MEAN_Y] = mean_x, mean_y
    splat[CONIC_XX], splat[CONIC_XY], splat[CONIC_YY] = yy / determinant, -xy / determinant, xx / determinant
    splat[OPACITY], splat[DEPTH] = opacity, z
    splat[REACH_X], splat[REACH_Y] = reach_x, reach_y
    total = mean_x + mean_y + reach_x + reach_y
    for channel in range(3):
        splat[RED + channel] = max(real(0), _colour(harmonics, i, basis, channel))
        total += _colour(harmonics, i, basis, channel)
    return bool(math.isfinite(total))


@_compiled_parallel
def project(
    means: Any,
    log_scales: Any,
    quaternions: Any,
    opacity_logits: Any,
    harmonics: Any,
    view: Any,
    position: Any,
    lens: Any,
    size: Any,
    splats: Any,
    visible: Any,
) -> None:
    """Fill splats (N, SPLAT_COLUMNS) and visible (N,) bool.

    lens is (fx, fy, cx, cy), size is (width, height) int64, position the camera centre, view the
    (3, 4) top of camera_from_world. All real arrays share one dtype.
    """
    count = means.shape[0]
    for block in prange((count + _BLOCK - 1) // _BLOCK):
        scratch = np.empty(24, splats.dtype)
        basis = np.empty(harmonics.shape[1], splats.dtype)
        for i in range(block * _BLOCK, min(count, (block + 1) * _BLOCK)):
            visible[i] = _project_one(
                means,
                log_scales,
                quaternions,
                opacity_logits,
                harmonics,
                i,
                view,
                position,
                lens,
                size,
                scratch,
                basis,
                splats,
            )


@_compiled
def _sum_slots(slots: Any, first: int, last: int, total: Any) -> None:
    for column in range(SLOT_COLUMNS):
        total[column] = 0
    for slot in range(first, last):
        for column in range(SLOT_COLUMNS):
            total[column] += slots[slot, column]


@_compiled
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


@_compiled
def _image_factor_gradient(image_factor: Any, xx: Any, xy: Any, yy: Any, out: Any) -> None:
    two = image_factor.dtype.type(2)
    for column in range(3):
        b0, b1 = image_factor[column], image_factor[3 + column]
        out[column] = two * xx * b0 + xy * b1
        out[3 + column] = xy * b0 + two * yy * b1


@_compiled
def _camera_factor_gradient(d_image: Any, z: Any, slope_x: Any, slope_y: Any, lens: Any, out: Any) -> None:
    scale_x, scale_y = lens[0] / z, lens[1] / z
    for column in range(3):
        out[column] = scale_x * d_image[column]
        out[3 + column] = scale_y * d_image[3 + column]
        out[6 + column] = -slope_x * out[column] - slope_y * out[3 + column]


@_compiled
def _camera_mean_gradient(
    d_image: Any, factor: Any, splat: Any, total: Any, x: Any, y: Any, lens: Any, size: Any
) -> Any:
    """dL/d(x, y, z) of the mean in camera coordinates: through the image mean, J and the depth."""
    z = splat[DEPTH]
    slope_x, slope_y, inside_x, inside_y = _slopes(x, y, z, lens, size)
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


@_compiled
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


@_compiled
def _shape_gradient(
    d_factor: Any,
    rotation: Any,
    log_scales: Any,
    quaternions: Any,
    i: int,
    view: Any,
    scratch: Any,
    d_log_scales: Any,
    d_quaternions: Any,
) -> None:
    """Chain dL/d(V Q S) to the scales and the quaternion of Gaussian i."""
    for column in range(3):
        scale = math.exp(log_scales[i, column])
        d_log_scales[i, column] = 0
        for row in range(3):
            d_world = (
                view[0, row] * d_factor[column]
                + view[1, row] * d_factor[3 + column]
                + view[2, row] * d_factor[6 + column]
            )
            scratch[3 * row + column] = scale * d_world
            d_log_scales[i, column] += scale * d_world * rotation[3 * row + column]
    _quaternion_gradient(quaternions, i, scratch, d_quaternions)


@_compiled
def _colour_gradient(
    harmonics: Any, splat: Any, total: Any, i: int, means: Any, position: Any, basis: Any, d_harmonics: Any
) -> Any:
    """Fill dL/dharmonics of Gaussian i; returns dL/dmean through the viewing direction."""
    zero = splat.dtype.type(0)
    direction_x, direction_y, direction_z, inverse = _view_direction(means, i, position)
    fill_basis(direction_x, direction_y, direction_z, basis)
    red = total[SLOT_RED] if splat[RED] > zero else zero
    green = total[SLOT_GREEN] if splat[GREEN] > zero else zero
    blue = total[SLOT_BLUE] if splat[BLUE] > zero else zero
    for k in range(basis.shape[0]):
        d_harmonics[i, k, 0], d_harmonics[i, k, 1] = basis[k] * red, basis[k] * green
        d_harmonics[i, k, 2] = basis[k] * blue
    if basis.shape[0] == 1:
        return zero, zero, zero
    for k in range(basis.shape[0]):
        basis[k] = harmonics[i, k, 0] * red + harmonics[i, k, 1] * green + harmonics[i, k, 2] * blue
    gx, gy, gz = direction_gradient(direction_x, direction_y, direction_z, basis)
    along = gx * direction_x + gy * direction_y + gz * direction_z
    return (
        (gx - along * direction_x) * inverse,
        (gy - along * direction_y) * inverse,
        (gz - along * direction_z) * inverse,
    )


@_compiled
def _backpropagate_one(
    means: Any,
    log_scales: Any,
    quaternions: Any,
    harmonics: Any,
    i: int,
    splat: Any,
    total: Any,
    view: Any,
    position: Any,
    lens: Any,
    size: Any,
    scratch: Any,
    basis: Any,
    d_means: Any,
    d_log_scales: Any,
    d_quaternions: Any,
    d_opacity_logits: Any,
    d_harmonics: Any,
) -> None:
    x, y, z = _to_camera(means, i, view)
    slope_x, slope_y, _, _ = _slopes(x, y, z, lens, size)
    rotation, factor, image_factor = scratch[0:9], scratch[9:18], scratch[18:24]
    d_image, d_factor = scratch[24:30], scratch[30:39]
    _rotation(quaternions, i, rotation)
    _camera_factor(rotation, log_scales, i, view, factor)
    _image_factor(factor, z, slope_x, slope_y, lens, image_factor)
    xx, xy, yy = _covariance_gradient(splat, total)
    _image_factor_gradient(image_factor, xx, xy, yy, d_image)
    _camera_factor_gradient(d_image, z, slope_x, slope_y, lens, d_factor)
    d_x, d_y, d_z = _camera_mean_gradient(d_image, factor, splat, total, x, y, lens, size)
    _shape_gradient(d_factor, rotation, log_scales, quaternions, i, view, scratch[39:48], d_log_scales, d_quaternions)
    c_x, c_y, c_z = _colour_gradient(harmonics, splat, total, i, means, position, basis, d_harmonics)
    d_means[i, 0] = view[0, 0] * d_x + view[1, 0] * d_y + view[2, 0] * d_z + c_x
    d_means[i, 1] = view[0, 1] * d_x + view[1, 1] * d_y + view[2, 1] * d_z + c_y
    d_means[i, 2] = view[0, 2] * d_x + view[1, 2] * d_y + view[2, 2] * d_z + c_z
    # The moments are of dL/dsigma, and dL/dopacity * opacity = -sum(dL/dsigma).
    d_opacity_logits[i] = -total[MOMENT] * (type(z)(1) - splat[OPACITY])


@_compiled_parallel
def backpropagate(
    means: Any,
    log_scales: Any,
    quaternions: Any,
    harmonics: Any,
    view: Any,
    position: Any,
    lens: Any,
    size: Any,
    splats: Any,
    ids: Any,
    slots: Any,
    slot_offsets: Any,
    d_means: Any,
    d_log_scales: Any,
    d_quaternions: Any,
    d_opacity_logits: Any,
    d_harmonics: Any,
) -> None:
    """Sum each splat's gradient slots in order and chain them to the scene's parameters.

    ids (M,) names the Gaussian of splat m, whose slots are slot_offsets[m]:slot_offsets[m + 1]. The
    output rows of Gaussians that are not in ids keep what they held (callers pass zeros).
    """
    count = ids.shape[0]
    for block in prange((count + _BLOCK - 1) // _BLOCK):
        scratch = np.empty(48, splats.dtype)
        basis = np.empty(harmonics.shape[1], splats.dtype)
        total = np.empty(SLOT_COLUMNS, splats.dtype)
        for m in range(block * _BLOCK, min(count, (block + 1) * _BLOCK)):
            _sum_slots(slots, slot_offsets[m], slot_offsets[m + 1], total)
            _backpropagate_one(
                means,
                log_scales,
                quaternions,
                harmonics,
                ids[m],
                splats[m],
                total,
                view,
                position,
                lens,
                size,
                scratch,
                basis,
                d_means,
                d_log_scales,
                d_quaternions,
                d_opacity_logits,
                d_harmonics,
            )
