"""Pictorial cues to depth, each a map over the image.

All functions take (H, W, 3) float32 sRGB in [0, 1] and return (H, W) float32 in [0, 1]. They are cues,
not measurements; `prior` weighs them against each other.
"""

from __future__ import annotations

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float32Array, Mask

_SALIENCY_SIDE = 160  # pixels of the long side at which saliency is computed
_BARRIER_SWEEPS = 6
_SKY_GRADIENT = 0.03
_SKY_WARMTH = 0.06  # red above blue from which a surface is not sky
_SAME_COLOUR = 0.09
_SPECK_SHARE = 0.004  # of the image; smaller islands in the sky belong to it
_SKY_PALE = 0.5  # pale surfaces may be somewhat warmer
_SKY_LEAST_TOP_SHARE = 0.25  # of the top border; a smaller patch is a door or a window


def height_in_image(height: int, width: int) -> Float32Array:
    """0 in the top row, 1 in the bottom row: what stands lower is usually nearer."""
    rows = np.linspace(0.0, 1.0, height, dtype=np.float32)
    return np.repeat(rows[:, None], width, axis=1)


def haze(srgb: Float32Array) -> Float32Array:
    """The dark channel (He, Sun, Tang 2009): far things are veiled, so even their darkest channel is bright."""
    size = 2 * (max(srgb.shape[:2]) // 64) + 1
    dark = cv2.erode(srgb.min(axis=2), np.ones((size, size), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return _stretched(_blurred(dark, size / 2))


def haze_weight(veil: Float32Array) -> float:
    """How far haze can be trusted: its correlation with height in the image, negative ones count as 0."""
    upwards = 1 - height_in_image(*veil.shape)
    if veil.std() < 1e-6:
        return 0.0
    correlation = np.corrcoef(veil.ravel(), upwards.ravel())[0, 1]
    return float(np.clip((correlation - 0.3) / 0.5, 0.0, 1.0))


def sky(srgb: Float32Array) -> Mask:
    """(H, W) bool: the smooth region that hangs together with the top border and is bright up there.

    False everywhere if it covers less than 1 % of the image.
    """
    side = max(srgb.shape[:2])
    smooth = _blurred(srgb, side / 200)
    warmth = smooth[..., 0] - smooth[..., 2]
    cool = (warmth < _SKY_WARMTH) | ((warmth < 2.5 * _SKY_WARMTH) & (smooth.min(axis=2) > _SKY_PALE))
    plain = (_gradient(smooth) < _SKY_GRADIENT) & cool
    opened = _morphology(plain, cv2.MORPH_OPEN, side // 64)
    _, labels = cv2.connectedComponents(opened.astype(np.uint8), connectivity=4)
    touching = np.unique(labels[0][opened[0]])
    region = _morphology(np.isin(labels, touching) & opened, cv2.MORPH_CLOSE, side // 100)
    if region[0].mean() < _SKY_LEAST_TOP_SHARE:
        return np.zeros_like(region)
    return _grown(srgb, region, side // 32)


def saliency(srgb: Float32Array) -> Float32Array:
    """How strongly a region stands out from the top and side borders, weighted towards the centre.

    Minimum barrier distance to those borders (Zhang et al., ICCV 2015) in CIE Lab, in raster sweeps; the
    bottom border is not a seed, because objects that are cut off usually are cut off there.
    """
    height, width = srgb.shape[:2]
    scale = min(1.0, _SALIENCY_SIDE / max(height, width))
    small = cv2.resize(srgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    lab = _array(cv2.cvtColor(_blurred(small, 1.0), cv2.COLOR_RGB2LAB)) / np.float32(100)
    barrier = sum(_barrier_distance(np.ascontiguousarray(lab[..., channel])) for channel in range(3))
    distinct = _stretched(np.asarray(barrier, np.float32)) * _centre_weight(*barrier.shape)
    contrasted = 1 / (1 + np.exp(-12 * (_stretched(distinct) - 0.42)))
    reach = max(contrasted.shape) // 20
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    whole = cv2.morphologyEx(contrasted.astype(np.float32), cv2.MORPH_CLOSE, kernel)
    return np.clip(cv2.resize(whole, (width, height)), 0, 1)


def _centre_weight(height: int, width: int) -> Float32Array:
    """A wide Gaussian around a point somewhat below the middle."""
    rows = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - 0.58
    columns = (np.arange(width, dtype=np.float32)[None] + 0.5) / width - 0.5
    return _array(np.exp(-(rows**2 / 0.32 + columns**2 / 0.18)))


def _grown(srgb: Float32Array, region: Mask, reach: int) -> Mask:
    """The region with the pixels within reach whose colour is that of the region nearby.

    Gradients keep a smooth region off the objects in front of it; colour brings it back to their edges.
    """
    size = (2 * reach + 1, 2 * reach + 1)
    inside = region.astype(np.float32)
    share = cv2.boxFilter(inside, -1, size, borderType=cv2.BORDER_CONSTANT)
    total = _array(cv2.boxFilter(srgb * inside[..., None], -1, size, borderType=cv2.BORDER_CONSTANT))
    mean = total / np.maximum(share, 1e-6)[..., None]
    alike = (np.abs(srgb - mean).max(axis=2) < _SAME_COLOUR) & (share > 1e-3)
    return _without_specks(region | alike)


def _without_specks(region: Mask) -> Mask:
    """The region with the small islands in it filled."""
    outside = cv2.medianBlur((~region).astype(np.uint8), 3)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(outside, connectivity=8)
    small = statistics[:, cv2.CC_STAT_AREA] < _SPECK_SHARE * region.size
    filled: Mask = (outside == 0) | small[labels]
    return filled


def _array(values: NDArray[np.generic]) -> Float32Array:
    return np.asarray(values, np.float32)


def _blurred(values: NDArray[np.generic], sigma: float) -> Float32Array:
    return _array(cv2.GaussianBlur(_array(values), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def _morphology(mask: Mask, operation: int, radius: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed: Mask = cv2.morphologyEx(mask.astype(np.uint8), operation, kernel) > 0
    return closed


def _gradient(srgb: Float32Array) -> Float32Array:
    columns = np.abs(cv2.Sobel(srgb, cv2.CV_32F, 1, 0, scale=0.125)).max(axis=2)
    rows = np.abs(cv2.Sobel(srgb, cv2.CV_32F, 0, 1, scale=0.125)).max(axis=2)
    return np.asarray(columns + rows, np.float32)


def _stretched(values: Float32Array) -> Float32Array:
    """Linear stretch of the 1st to 99th percentile to [0, 1]; zero for a constant map."""
    low, high = np.percentile(values, (1, 99))
    if high - low < 1e-6:
        return np.zeros(values.shape, np.float32)
    return _array(np.clip((values - low) / (high - low), 0, 1))


@numba.njit("f4[:,::1](f4[:,::1])", cache=True)
def _barrier_distance(channel):  # type: ignore[no-untyped-def]
    """Least (highest - lowest) value over the paths from the top and side borders, approximated by sweeps."""
    height, width = channel.shape
    highest, lowest = channel.copy(), channel.copy()
    distance = np.full((height, width), np.float32(np.inf), np.float32)
    distance[0, :] = 0
    distance[:, 0] = 0
    distance[:, width - 1] = 0
    for sweep in range(_BARRIER_SWEEPS):
        back = sweep % 2 == 1
        step = 1 if back else -1
        for i in range(height):
            row = height - 1 - i if back else i
            for j in range(width):
                column = width - 1 - j if back else j
                value = channel[row, column]
                for k in range(2):
                    other_row = row + step if k == 0 else row
                    other_column = column if k == 0 else column + step
                    if not (0 <= other_row < height and 0 <= other_column < width):
                        continue
                    if distance[other_row, other_column] == np.inf:
                        continue
                    top = max(highest[other_row, other_column], value)
                    bottom = min(lowest[other_row, other_column], value)
                    if top - bottom < distance[row, column]:
                        distance[row, column] = top - bottom
                        highest[row, column] = top
                        lowest[row, column] = bottom
    return distance
