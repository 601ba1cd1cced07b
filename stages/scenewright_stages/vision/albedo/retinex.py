"""Multi-scale Retinex (Jobson et al. 1997) with simplest colour balance (Limare et al. 2011).

The mean over the scales of ``log10(I + 1) - log10(G * I + 1)`` with I in 0..255, brought to [0, 1] over the whole
picture, then for each channel stretched so that 1 % of its pixels are black and 1 % are white. The stretch undoes
whatever affine map came before it, so the first normalisation need not be computed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.albedo import retinex_kernels
from scenewright_stages.vision.albedo.blurs import reduced_blurs
from scenewright_stages.vision.resampling import enlarged

Float32Array = NDArray[np.float32]

SCALES = (15.0, 80.0, 250.0)
BALANCE_PERCENT = 1.0
_BINS = 1 << 15


def multi_scale_retinex(srgb: Float32Array, scales: tuple[float, ...] = SCALES) -> Float32Array:
    """The picture without slow changes of brightness.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        scales: standard deviations of the surrounds, pixels.

    Returns:
        (H, W, 3) float32 in [0, 1]. A channel of one single value stays as it is.
    """
    image = np.ascontiguousarray(srgb, np.float32) * np.float32(255)
    ratio, low, high = _log_ratio(image, scales)
    counts = retinex_kernels.histograms(ratio, low, high, _BINS)
    limits = [_limits(counts[channel], low, high) for channel in range(3)]
    stretched: Float32Array = retinex_kernels.stretched(ratio, image, np.array(limits, np.float32))
    return stretched


def _log_ratio(image: Float32Array, scales: tuple[float, ...]) -> tuple[Float32Array, np.float32, np.float32]:
    """The retinex in units of log2 and its least and greatest value."""
    height, width = image.shape[:2]
    product = np.ones((1, 1, 3), np.float32)
    for small, factor in reduced_blurs(image, scales):
        blurred = small
        if factor > 1:
            size = (small.shape[1] * factor, small.shape[0] * factor)
            large = enlarged(small, size)
            blurred = large[factor : factor + height, factor : factor + width]
        product = retinex_kernels.multiplied(product, blurred)
    return retinex_kernels.log_ratio(image, product, len(scales))  # type: ignore[no-any-return]


def _limits(counts: NDArray[np.int64], low: np.float32, high: np.float32) -> tuple[float, float]:
    """The values below and above which the balanced percentage lies, as numpy's percentile has them."""
    edges = np.linspace(low, high, _BINS + 1, dtype=np.float64)
    reached = np.concatenate([[0], np.cumsum(counts)])
    ranks = np.array([BALANCE_PERCENT, 100 - BALANCE_PERCENT]) / 100 * (reached[-1] - 1) + 0.5
    first, last = np.interp(ranks, reached, edges)
    return float(first), float(last)
