"""The loss of the fitting loop with its gradient, and the Adam step that follows from it.

SSIM is Wang et al. 2004 with an 11 x 11 Gaussian window of sigma 1.5, zero padding, and images in
[0, 1]; it is taken between the target and the picture in which unsupervised pixels are replaced by the
target's, so these cost nothing and have no gradient. Every kernel works row by row in a fixed order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

WINDOW = 11
HALF_WINDOW = WINDOW // 2
WINDOW_SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2

_FAST = {"contract", "nsz"}
_compiled = njit(cache=True, error_model="numpy", fastmath=_FAST)
_compiled_parallel = njit(cache=True, error_model="numpy", fastmath=_FAST, parallel=True)


def window_weights(dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """(11,) normalised Gaussian weights."""
    offsets = np.arange(WINDOW) - HALF_WINDOW
    weights = np.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    return np.asarray(weights / weights.sum(), dtype)


@_compiled
def _add_scaled(target: Any, weight: Any, source: Any) -> None:
    # Counting from zero lets the compiler vectorise this.
    for j in range(target.shape[0]):
        target[j] += weight * source[j]


@_compiled
def _blur_row(source: Any, weights: Any, padded: Any, first: int, last: int, out: Any) -> None:
    """Columns first..last of one row blurred along it; source is zero outside its length."""
    width = source.shape[0]
    padded[:HALF_WINDOW] = 0
    padded[HALF_WINDOW : HALF_WINDOW + width] = source
    padded[HALF_WINDOW + width :] = 0
    target = out[first:last]
    target[:] = 0
    for tap in range(WINDOW):
        _add_scaled(target, weights[tap], padded[tap + first : tap + last])


@_compiled
def _blur_column_row(plane: Any, weights: Any, row: int, first: int, last: int, out: Any) -> None:
    """Columns first..last of one output row blurred across rows."""
    target = out[first:last]
    target[:] = 0
    for tap in range(WINDOW):
        i = row + tap - HALF_WINDOW
        if i >= 0 and i < plane.shape[0]:
            _add_scaled(target, weights[tap], plane[i, first:last])


@_compiled_parallel
def blur(planes: Any, weights: Any, box: Any, scratch: Any, out: Any) -> None:
    """Blur planes (P, H, W) inside the box (top, bottom, left, right; half open) into out.

    planes must be valid within HALF_WINDOW of the box. scratch has the shape of planes.
    """
    count, height, width = planes.shape
    top, bottom, left, right = box[0], box[1], box[2], box[3]
    above, below = max(0, top - HALF_WINDOW), min(height, bottom + HALF_WINDOW)
    for k in prange(count * (below - above)):
        plane, row = k // (below - above), above + k % (below - above)
        padded = np.empty(width + 2 * HALF_WINDOW, planes.dtype)
        _blur_row(planes[plane, row], weights, padded, left, right, scratch[plane, row])
    for k in prange(count * (bottom - top)):
        plane, row = k // (bottom - top), top + k % (bottom - top)
        _blur_column_row(scratch[plane], weights, row, left, right, out[plane, row])


@_compiled_parallel
def compare_inputs(colour: Any, target: Any, mask: Any, box: Any, moments: Any) -> None:
    """Fill moments (9, H, W) inside the box with x, x², x y per channel.

    x is colour (H, W, 3) where mask is nonzero and target (3, H, W) elsewhere; y is target.
    """
    for i in prange(box[0], box[1]):
        for channel in range(3):
            for j in range(box[2], box[3]):
                y = target[channel, i, j]
                x = colour[i, j, channel] if mask[i, j] > 0 else y
                moments[channel, i, j] = x
                moments[3 + channel, i, j] = x * x
                moments[6 + channel, i, j] = x * y


@_compiled_parallel
def ssim_terms(
    blurred: Any, target_mean: Any, target_square: Any, mask: Any, box: Any, derivatives: Any, loss: Any
) -> None:
    """From blurred moments: mask * (1 - SSIM) averaged over channels, and the derivatives of its sum.

    Fills loss (H, W) and derivatives (9, H, W): by mean x, by mean x² and by mean x y, per channel.
    """
    real = mask.dtype.type
    one, two, c1, c2 = real(1), real(2), real(C1), real(C2)
    third = one / real(3)
    for i in prange(box[0], box[1]):
        for j in range(box[2], box[3]):
            loss[i, j] = 0
        for channel in range(3):
            for j in range(box[2], box[3]):
                mean_x, mean_y = blurred[channel, i, j], target_mean[channel, i, j]
                luminance = two * mean_x * mean_y + c1
                luminance_norm = mean_x * mean_x + mean_y * mean_y + c1
                contrast = two * (blurred[6 + channel, i, j] - mean_x * mean_y) + c2
                variance_x = blurred[3 + channel, i, j] - mean_x * mean_x
                contrast_norm = variance_x + target_square[channel, i, j] - mean_y * mean_y + c2
                inverse = one / (luminance_norm * contrast_norm)
                similarity = luminance * contrast * inverse
                weight = -third * mask[i, j]
                by_square = -similarity / contrast_norm
                by_product = two * luminance * inverse
                by_luminance = two * mean_y * contrast * inverse - two * mean_x * similarity / luminance_norm
                by_mean = by_luminance - two * mean_x * by_square - mean_y * by_product
                loss[i, j] += third * mask[i, j] * (one - similarity)
                derivatives[channel, i, j] = weight * by_mean
                derivatives[3 + channel, i, j] = weight * by_square
                derivatives[6 + channel, i, j] = weight * by_product


@_compiled
def _colour_term(difference: Any, beta: Any) -> Any:
    """Huber-type value and derivative: |d| - beta / 2 beyond beta, d² / (2 beta) below; beta 0 is L1."""
    real = type(difference)
    size = abs(difference)
    if size >= beta:
        slope = real(1) if difference > real(0) else (real(-1) if difference < real(0) else real(0))
        return size - real(0.5) * beta, slope
    return real(0.5) * difference * difference / beta, difference / beta


@_compiled_parallel
def colour_loss(
    colour: Any,
    target: Any,
    mask: Any,
    beta: Any,
    ssim_weight: Any,
    blurred: Any,
    box: Any,
    scale: Any,
    loss: Any,
    d_colour: Any,
) -> None:
    """Add the colour term to ssim_weight * loss (H, W), and fill d_colour (H, W, 3), inside the box.

    blurred (9, H, W) are the blurred SSIM derivatives; scale multiplies the gradient (1 / pixels).
    """
    real = mask.dtype.type
    third, two = real(1) / real(3), real(2)
    for i in prange(box[0], box[1]):
        for j in range(box[2], box[3]):
            total = ssim_weight * loss[i, j]
            for channel in range(3):
                x, y = colour[i, j, channel], target[channel, i, j]
                value, slope = _colour_term(x - y, beta)
                total += mask[i, j] * third * value
                gradient = third * slope + ssim_weight * (
                    blurred[channel, i, j] + two * x * blurred[3 + channel, i, j] + y * blurred[6 + channel, i, j]
                )
                d_colour[i, j, channel] = scale * mask[i, j] * gradient
            loss[i, j] = total


@_compiled_parallel
def depth_loss(
    depth_sum: Any,
    transmittance: Any,
    target: Any,
    weight: Any,
    coverage: Any,
    box: Any,
    scale: Any,
    loss: Any,
    d_sum: Any,
    d_rest: Any,
) -> None:
    """Add weight * |expected depth - target| to loss; fill the gradients by depth_sum and transmittance.

    weight (H, W) is zero where nothing is supervised; undrawn pixels cost nothing. coverage (H, W) is what
    a pixel's transmittance costs: its part of the gradient is added, its loss is the caller's. scale
    multiplies the gradients (1 / pixels).
    """
    real = weight.dtype.type
    for i in prange(box[0], box[1]):
        for j in range(box[2], box[3]):
            alpha = real(1) - transmittance[i, j]
            d_sum[i, j] = 0
            d_rest[i, j] = scale * coverage[i, j]
            if weight[i, j] > real(0) and alpha > real(1e-10):
                depth = depth_sum[i, j] / alpha
                value, slope = _colour_term(depth - target[i, j], real(0))
                loss[i, j] += weight[i, j] * value
                d_sum[i, j] = scale * weight[i, j] * slope / alpha
                d_rest[i, j] += depth * d_sum[i, j]


@_compiled
def total(loss: Any) -> float:
    """Sum of a (H, W) map in float64, row by row."""
    result = 0.0
    for i in range(loss.shape[0]):
        row = 0.0
        for j in range(loss.shape[1]):
            row += loss[i, j]
        result += row
    return result


@_compiled
def weighted_total(weight: Any, values: Any) -> float:
    """Sum of weight * values, (H, W) each, in float64, row by row."""
    result = 0.0
    for i in range(values.shape[0]):
        row = 0.0
        for j in range(values.shape[1]):
            row += weight[i, j] * values[i, j]
        result += row
    return result


@njit(cache=True, error_model="numpy")
def adam(
    values: Any,
    gradient: Any,
    first_moment: Any,
    second_moment: Any,
    rates: Any,
    step: int,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One Adam step (Kingma & Ba 2015) on values (N, C) in place, learning rate per column."""
    real = values.dtype.type
    correction1, correction2 = 1.0 - beta1**step, math.sqrt(1.0 - beta2**step)
    keep1, take1 = real(beta1), real(1.0 - beta1)
    keep2, take2 = real(beta2), real(1.0 - beta2)
    inverse2, small = real(1.0 / correction2), real(epsilon)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            g = gradient[i, j]
            m = keep1 * first_moment[i, j] + take1 * g
            v = keep2 * second_moment[i, j] + take2 * g * g
            first_moment[i, j], second_moment[i, j] = m, v
            rate = rates[j] / real(correction1)
            values[i, j] -= rate * m / (math.sqrt(v) * inverse2 + small)
