"""Forward warping: the baseline without a model or an optimisation that depth tests compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import project, unproject, valid_depth
from scenewright_stages.vision.types import Float32Array, Float64Array, FloatArray, Mask

_SURFACE_TOLERANCE = 0.01  # relative depth within which samples of a warp belong to one surface
_STRONG_WEIGHT = 0.1  # bilinear weight from which a sample can hide what lies behind it
_COVERED_WEIGHT = 0.5  # sum of weights from which a target pixel counts as seen


@dataclass(frozen=True, eq=False)
class Warped:
    """A warped view: srgb (H, W, 3) float32, depth (H, W) float32 (both 0 where not covered), covered (H, W)."""

    srgb: Float32Array
    depth: Float32Array
    covered: Mask


def forward_warp(srgb: FloatArray, depth: FloatArray, camera: Camera, target: Camera) -> Warped:
    """A view as seen by target: every valid pixel is splatted bilinearly onto its four neighbours.

    Of the samples that reach a target pixel, those within 1 % of the nearest one's depth are averaged.
    srgb is (H, W, 3).
    """
    valid = valid_depth(depth)
    pixels, distance = project(unproject(depth, camera)[valid], target)
    footprint = _bilinear_footprint(pixels, distance, target)
    count = target.width * target.height
    nearest = np.full(count, np.inf)
    strong = footprint.weight > _STRONG_WEIGHT
    np.minimum.at(nearest, footprint.pixel[strong], distance[footprint.sample[strong]])
    front = distance[footprint.sample] <= nearest[footprint.pixel] * (1 + _SURFACE_TOLERANCE)
    pixel, sample, weight = footprint.pixel[front], footprint.sample[front], footprint.weight[front]
    values = np.concatenate([srgb[valid], distance[:, None]], axis=1)[sample]
    total = np.bincount(pixel, weight, count)
    sums = np.stack([np.bincount(pixel, weight * column, count) for column in values.T], axis=-1)
    covered = total > _COVERED_WEIGHT
    mean = np.where(covered[:, None], sums / np.maximum(total, 1e-12)[:, None], 0).astype(np.float32)
    mean = mean.reshape(target.height, target.width, 4)
    return Warped(mean[..., :3], mean[..., 3], covered.reshape(target.height, target.width))


@dataclass(frozen=True, eq=False)
class _Footprint:
    """Flat contributions: target pixel, source sample and bilinear weight."""

    pixel: NDArray[np.intp]
    sample: NDArray[np.intp]
    weight: Float64Array


def _bilinear_footprint(pixels: Float64Array, distance: Float64Array, target: Camera) -> _Footprint:
    samples = np.flatnonzero((distance > 0) & np.isfinite(pixels).all(axis=-1))
    corner = np.floor(pixels[samples] - 0.5)
    fraction = pixels[samples] - 0.5 - corner
    parts = []
    for right in (0, 1):
        for down in (0, 1):
            column, row = corner[:, 0] + right, corner[:, 1] + down
            weight = np.abs(1 - right - fraction[:, 0]) * np.abs(1 - down - fraction[:, 1])
            inside = (column >= 0) & (column < target.width) & (row >= 0) & (row < target.height)
            inside &= weight > 0
            flat = (row[inside] * target.width + column[inside]).astype(np.intp)
            parts.append((flat, samples[inside], weight[inside]))
    pixel, sample, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Footprint(pixel, sample, weight)
