"""Multi-scale Retinex (Jobson et al. 1997) with simplest colour balance (Limare et al. 2011), and its wide blurs.

Retinex is the mean over the scales of ``log10(I + 1) - log10(G * I + 1)`` with I in 0..255, normalised to [0, 1] over
the whole image, then stretched per channel so that 1 % of its pixels are black and 1 % are white. The stretch cancels
any affine map before it, so the first normalisation is not computed.

Wide Gaussian blurs run on a reduced copy: means over blocks of `factor` pixels, a blur of the blocks, and bilinear
upsampling. The blur's variance is reduced by what block means and upsampling add. The image is mirrored about the
centres of its outermost pixels (OpenCV's reflect101) *before* the reduction, because mirroring the reduced copy would
be off by half a block.

Per channel and over the whole image, as in the relighting seed, Retinex pulls every colour towards grey. If the subject
is known, only its intensity can be levelled, inside its matte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.albedo import kernels
from scenewright_stages.vision.imaging.resampling import enlarged
from scenewright_stages.vision.types import Float32Array

SCALES = (15.0, 80.0, 250.0)
BALANCE_PERCENT = 1.0
_BINS = 1 << 15
_BRIGHTEST = 3.0  # largest brightening; more would amplify the noise of black cloth

_TRUNCATION = 4.0  # standard deviations that cv2.GaussianBlur takes for float images
_BLOCKS_PER_SIGMA = 3.6  # coarser blocks show in the result, finer ones cost time
_LARGEST_FACTOR = 16


def multi_scale_retinex(srgb: Float32Array, scales: tuple[float, ...] = SCALES) -> Float32Array:
    """The image without slow changes of brightness.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        scales: standard deviations of the surrounds, pixels.

    Returns:
        (H, W, 3) float32 in [0, 1]. A constant channel is unchanged.
    """
    image = np.ascontiguousarray(srgb, np.float32) * np.float32(255)
    ratio, low, high = _log_ratio(image, scales)
    counts = kernels.histograms(ratio, low, high, _BINS)
    limits = [_limits(counts[channel], low, high) for channel in range(3)]
    stretched: Float32Array = kernels.stretched(ratio, image, np.array(limits, np.float32))
    return stretched


def chroma_keeping_retinex(srgb: Float32Array, mask: Float32Array, scales: tuple[float, ...] = SCALES) -> Float32Array:
    """The subject without slow changes of brightness, in its own colours (Petro et al. 2014, algorithm 2).

    Levels only the intensity. Surrounds and stretch use only the subject, so that a dark background does not brighten a
    face. All channels of a pixel get the same factor, which preserves hue and saturation.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        mask: (H, W) float32, the subject's matte.
        scales: standard deviations of the surrounds, pixels.

    Returns:
        (H, W, 3) float32 in [0, 1].
    """
    inside = mask > 0.5
    if not inside.any():
        return srgb
    intensity = srgb.mean(axis=2, dtype=np.float32) * np.float32(255)
    weighted = np.dstack([intensity * mask, mask, np.zeros_like(mask)])
    ratio = len(scales) * np.log2(intensity + 1)
    for blurred in retinex_blurs(weighted, scales):
        ratio -= np.log2(blurred[..., 0] / np.maximum(blurred[..., 1], np.float32(1e-3)) + 1)
    low, high = np.percentile(ratio[inside], (BALANCE_PERCENT, 100 - BALANCE_PERCENT))
    if high - low < 1e-5:
        return srgb
    wanted = np.clip((ratio - np.float32(low)) / np.float32(high - low), 0, 1) * np.float32(255)
    factor = np.minimum(wanted / np.maximum(intensity, 1), _BRIGHTEST)
    factor = np.minimum(factor, 1 / np.maximum(srgb.max(axis=2), np.float32(1 / 255)))
    levelled: Float32Array = np.clip(srgb * factor[..., None].astype(np.float32), 0, 1)
    return levelled


def _log_ratio(image: Float32Array, scales: tuple[float, ...]) -> tuple[Float32Array, np.float32, np.float32]:
    """The retinex in units of log2 and its least and greatest value."""
    product = np.ones((1, 1, 3), np.float32)
    for blurred in retinex_blurs(image, scales):
        product = kernels.multiplied(product, blurred)
    return kernels.log_ratio(image, product, len(scales))  # type: ignore[no-any-return]


def _limits(counts: NDArray[np.int64], low: np.float32, high: np.float32) -> tuple[float, float]:
    """The lower and upper percentile of the colour balance, interpolated as in NumPy."""
    edges = np.linspace(low, high, _BINS + 1, dtype=np.float64)
    reached = np.concatenate([[0], np.cumsum(counts)])
    ranks = np.array([BALANCE_PERCENT, 100 - BALANCE_PERCENT]) / 100 * (reached[-1] - 1) + 0.5
    first, last = np.interp(ranks, reached, edges)
    return float(first), float(last)


def retinex_blurs(image: Float32Array, sigmas: tuple[float, ...]) -> Iterator[Float32Array]:
    """Approximates ``cv2.GaussianBlur(image, (0, 0), sigma, borderType=BORDER_REFLECT_101)`` for each sigma.

    Args:
        image: (H, W, 3) float32.
        sigmas: standard deviations, pixels.

    Yields:
        One (H, W, 3) float32 per sigma, within about 0.5 / 255 of the image's range of the exact blur.
    """
    height, width = image.shape[:2]
    for small, factor in _reduced_blurs(image, sigmas):
        if factor == 1:
            yield small
            continue
        large = enlarged(small, (small.shape[1] * factor, small.shape[0] * factor))
        yield large[factor : factor + height, factor : factor + width]


def block_side(sigma: float) -> int:
    """The reduction factor of a blur, a power of two."""
    blocks = sigma / _BLOCKS_PER_SIGMA
    return min(_LARGEST_FACTOR, 2 ** max(0, math.floor(math.log2(blocks)))) if blocks >= 1 else 1


def _reduced_blurs(image: Float32Array, sigmas: tuple[float, ...]) -> list[tuple[Float32Array, int]]:
    """All reduced blurs from shared sums, which are large and freed here before any upsampling."""
    sums = kernels.running_sums(np.ascontiguousarray(image, np.float32))
    return [_reduced_blur(image, sums, sigma) for sigma in sigmas]


def _reduced_blur(image: Float32Array, sums: NDArray[np.float64], sigma: float) -> tuple[Float32Array, int]:
    """The blur before upsampling: (h, w, 3) with one extra block on every side, and the side of a block in pixels.

    A factor of 1 means full size without the extra border.
    """
    factor = block_side(sigma)
    if factor == 1:
        exact = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return np.asarray(exact, np.float32), 1
    border = math.ceil(_TRUNCATION * sigma / factor) + 1
    blocks = kernels.mirrored_block_means(sums, factor, border)
    # A mean over n pixels adds (n^2 - 1) / 12 to the variance, bilinear upsampling about n^2 / 6.
    variance = sigma**2 - (factor**2 - 1) / 12 - factor**2 / 6
    blurred = cv2.GaussianBlur(blocks, (0, 0), math.sqrt(variance) / factor, borderType=cv2.BORDER_REFLECT_101)
    inner = border - 1
    return np.ascontiguousarray(blurred[inner : blurred.shape[0] - inner, inner : blurred.shape[1] - inner]), factor
