"""Geometry that the projection and its gradient share, one Gaussian at a time.

With the view rotation V, a Gaussian's rotation Q and its scales S, the camera factor is V Q S and the
image factor is B = J V Q S, where J is the Jacobian of the perspective projection; B Bᵀ is the
covariance in the image (Zwicker et al., "EWA Splatting", 2002).
"""

from __future__ import annotations

import math
from typing import Any

from numba import njit

from scenewright_stages.vision.gaussians.kernels.layout import FIELD_OF_VIEW_MARGIN

# Inlined where they are used: a call costs more than most of these. Only serial kernels may use them:
# inlining into a parallel loop silently drops stores (seen with numba 0.68).
compiled = njit(cache=True, error_model="numpy", inline="always")


@compiled
def rotation(quaternions: Any, i: int, out: Any) -> None:
    """Row-major (9,) rotation of quaternion i (wxyz), normalised here."""
    w, x, y, z = quaternions[i, 0], quaternions[i, 1], quaternions[i, 2], quaternions[i, 3]
    real = type(w)
    one, two = real(1), real(2)
    inverse_norm = one / math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w * inverse_norm, x * inverse_norm, y * inverse_norm, z * inverse_norm
    out[0], out[1], out[2] = one - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)
    out[3], out[4], out[5] = two * (x * y + w * z), one - two * (x * x + z * z), two * (y * z - w * x)
    out[6], out[7], out[8] = two * (x * z - w * y), two * (y * z + w * x), one - two * (x * x + y * y)


@compiled
def to_camera(means: Any, i: int, view: Any) -> Any:
    """Camera coordinates of mean i; view is the (3, 4) top of camera_from_world."""
    x, y, z = means[i, 0], means[i, 1], means[i, 2]
    return (
        view[0, 0] * x + view[0, 1] * y + view[0, 2] * z + view[0, 3],
        view[1, 0] * x + view[1, 1] * y + view[1, 2] * z + view[1, 3],
        view[2, 0] * x + view[2, 1] * y + view[2, 2] * z + view[2, 3],
    )


@compiled
def slopes(x: Any, y: Any, z: Any, lens: Any, pixels: Any) -> Any:
    """x/z and y/z limited to the widened field of view, and whether each was inside it."""
    real = type(x)
    width, height, margin = real(pixels[0]), real(pixels[1]), real(FIELD_OF_VIEW_MARGIN)
    margin_x, margin_y = margin * real(0.5) * width / lens[0], margin * real(0.5) * height / lens[1]
    right, left = (width - lens[2]) / lens[0] + margin_x, lens[2] / lens[0] + margin_x
    bottom, top = (height - lens[3]) / lens[1] + margin_y, lens[3] / lens[1] + margin_y
    slope_x, slope_y = x / z, y / z
    inside_x = (slope_x <= right) and (slope_x >= -left)
    inside_y = (slope_y <= bottom) and (slope_y >= -top)
    return min(right, max(-left, slope_x)), min(bottom, max(-top, slope_y)), inside_x, inside_y


@compiled
def camera_factor(rotation: Any, log_scales: Any, i: int, view: Any, out: Any) -> None:
    """(9,) row-major V Q S: the camera-space square root of covariance i."""
    for column in range(3):
        scale = math.exp(log_scales[i, column])
        for row in range(3):
            out[3 * row + column] = scale * (
                view[row, 0] * rotation[column]
                + view[row, 1] * rotation[3 + column]
                + view[row, 2] * rotation[6 + column]
            )


@compiled
def image_factor(factor: Any, z: Any, slope_x: Any, slope_y: Any, lens: Any, out: Any) -> None:
    """(6,) row-major B = J A: the image-space square root, for A the camera factor."""
    scale_x, scale_y = lens[0] / z, lens[1] / z
    for column in range(3):
        out[column] = scale_x * (factor[column] - slope_x * factor[6 + column])
        out[3 + column] = scale_y * (factor[3 + column] - slope_y * factor[6 + column])


@compiled
def view_direction(means: Any, i: int, position: Any) -> Any:
    """Unit direction from the camera to mean i, and the inverse distance."""
    dx, dy, dz = means[i, 0] - position[0], means[i, 1] - position[1], means[i, 2] - position[2]
    inverse = type(dx)(1) / math.sqrt(dx * dx + dy * dy + dz * dz)
    return dx * inverse, dy * inverse, dz * inverse, inverse
