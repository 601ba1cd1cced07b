"""Matches exposure and white balance between the photographs of a capture.

With automatic exposure the same surface is brighter in one photograph than in the next. A scene trained on both gets
semi-transparent areas, or explains the difference by view-dependent colour. The points of a capture are visible in
several photographs, so ratios of their colours give the differences before any training. The capture stage calls this
module.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.points import inside_picture, project
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs
from scenewright_stages.vision.types import Float64Array

_POINTS = 4000
"""More points than these hardly change the result."""
_LEAST_SHARED = 20
"""A photograph that shows fewer points of others stays as it is."""
_DARKEST, _BRIGHTEST = 10, 245
"""Beyond these levels a photograph clips, and ratios mean nothing."""
_BLUR = 1 / 160
"""Standard deviation of the blur relative to the longest side: poses and points are not exact to the pixel."""
_ROUNDS = 20
_SMALL = 0.01
"""Residuals below this, of logarithms, count alike."""


def exposure_gains(photographs: PosedPhotographs) -> Float64Array:
    """(N, 3) gain of each photograph and channel relative to the others; their geometric mean is 1.

    NaN for photographs that share too few points with others.
    """
    chosen = np.random.default_rng(0).permutation(len(photographs.points))[:_POINTS]
    points = photographs.points[np.sort(chosen)]
    seen = np.stack([_levels(each, points) for each in photographs.photographs])
    seen = seen[:, np.isfinite(seen).all(axis=2).sum(axis=0) >= 2]
    known = np.isfinite(seen).all(axis=2).sum(axis=1) >= _LEAST_SHARED
    gains = np.full((len(seen), 3), np.nan)
    if known.any():
        gains[known] = np.exp(_offsets(np.log(seen[known])))
    return gains


def matched(photographs: PosedPhotographs, gains: Float64Array) -> PosedPhotographs:
    """The photographs divided by their gains (N, 3), which are stored with them; a NaN gain leaves one unchanged."""
    applied = np.nan_to_num(gains, nan=1.0)
    evened = tuple(
        replace(each, srgb=np.asarray(np.clip(np.round(each.srgb / gain), 0, 255), np.uint8))
        for each, gain in zip(photographs.photographs, applied, strict=True)
    )
    return replace(photographs, photographs=evened, gains=applied)


def exposure_span(gains: Float64Array) -> float:
    """Ratio between the brightest and the darkest photograph; 1 if unknown."""
    known = gains[np.isfinite(gains).all(axis=1)].mean(axis=1)
    return float(known.max() / known.min()) if len(known) else 1.0


def _levels(photograph: Photograph, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 3) sRGB levels at points (P, 3); NaN for points that are not visible, masked or clipped."""
    camera = photograph.camera
    places, depth = project(points, camera)
    inside = inside_picture(places, depth, camera)
    columns, rows = places[inside].astype(np.intp).T
    blurred = cv2.GaussianBlur(photograph.srgb.astype(np.float32), (0, 0), _BLUR * max(camera.width, camera.height))
    found = np.full((len(points), 3), np.nan)
    found[inside] = np.where(photograph.counted()[rows, columns, None], blurred[rows, columns], np.nan)
    found[((found < _DARKEST) | (found > _BRIGHTEST)).any(axis=1)] = np.nan
    return found


def _offsets(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) offsets of the photographs, from log colours (N, P, 3) in which NaN is unknown.

    Each log colour is a photograph's offset plus a point's colour. Iteratively reweighted least squares minimise the
    absolute residuals, so that an occluded point has little weight.
    """
    return np.stack([_channel_offsets(logs[..., channel]) for channel in range(3)], axis=1)


def _channel_offsets(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(logs)
    values, weights = np.where(known, logs, 0.0), known.astype(np.float64)
    for _ in range(_ROUNDS):
        # Eliminate the points' colours; one equation per photograph remains.
        total = np.maximum(weights.sum(axis=0), 1e-12)
        matrix = np.diag(weights.sum(axis=1)) - (weights / total) @ weights.T
        mean = (weights * values).sum(axis=0) / total
        offsets = np.linalg.lstsq(matrix, (weights * (values - mean)).sum(axis=1), rcond=None)[0]
        offsets -= offsets.mean()
        colours = (weights * (values - offsets[:, None])).sum(axis=0) / total
        weights = known / (_SMALL + np.abs(values - offsets[:, None] - colours))
    return np.asarray(offsets)
