"""Differences in exposure and white balance between the photographs of a capture.

A camera with automatic exposure shows the same surface brighter in one photograph than in the next. A scene that must
reproduce both gets thin places, or hides the difference in view-dependent colours. The points of a capture lie on
surfaces that several photographs show, so ratios of their colours tell how the photographs differ before any training.
The stage that reads a capture calls this module.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.captures.pictures import Photograph, PosedPhotographs
from scenewright_stages.vision.geometry import project

Gains = NDArray[np.float64]
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


def exposure_gains(photographs: PosedPhotographs) -> Gains:
    """(N, 3) by how much each channel of a photograph is brighter than in the others; their geometric mean is 1.

    NaN for photographs that show too few points of others to tell.
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


def matched(photographs: PosedPhotographs, gains: Gains) -> PosedPhotographs:
    """The photographs divided by their gains (N, 3), which they remember; without a gain one stays as it is."""
    applied = np.nan_to_num(gains, nan=1.0)
    evened = tuple(
        replace(each, srgb=np.asarray(np.clip(np.round(each.srgb / gain), 0, 255), np.uint8))
        for each, gain in zip(photographs.photographs, applied, strict=True)
    )
    return replace(photographs, photographs=evened, gains=applied)


def exposure_span(gains: Gains) -> float:
    """How many times brighter the brightest photograph is than the darkest; 1 where nothing is known."""
    known = gains[np.isfinite(gains).all(axis=1)].mean(axis=1)
    return float(known.max() / known.min()) if len(known) else 1.0


def _levels(photograph: Photograph, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 3) sRGB levels at points (P, 3); NaN where the photograph does not show one or clips."""
    camera = photograph.camera
    places, depth = project(points, camera)
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & np.all((places >= 0) & (places < (camera.width, camera.height)), axis=1)
    columns, rows = places[inside].astype(np.intp).T
    blurred = cv2.GaussianBlur(photograph.srgb.astype(np.float32), (0, 0), _BLUR * max(camera.width, camera.height))
    found = np.full((len(points), 3), np.nan)
    found[inside] = blurred[rows, columns]
    found[((found < _DARKEST) | (found > _BRIGHTEST)).any(axis=1)] = np.nan
    return found


def _offsets(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) offsets of the photographs in logs (N, P, 3), where NaN is unknown.

    Each logarithm is a photograph's offset plus a point's colour. Their absolute residuals are minimised by least
    squares with weights that follow from the last residuals: what hides a point from one photograph weighs little.
    """
    return np.stack([_channel_offsets(logs[..., channel]) for channel in range(3)], axis=1)


def _channel_offsets(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(logs)
    values, weights = np.where(known, logs, 0.0), known.astype(np.float64)
    for _ in range(_ROUNDS):
        # The points' colours are eliminated: what is left is one equation for each photograph.
        total = np.maximum(weights.sum(axis=0), 1e-12)
        matrix = np.diag(weights.sum(axis=1)) - (weights / total) @ weights.T
        mean = (weights * values).sum(axis=0) / total
        offsets = np.linalg.lstsq(matrix, (weights * (values - mean)).sum(axis=1), rcond=None)[0]
        offsets -= offsets.mean()
        colours = (weights * (values - offsets[:, None])).sum(axis=0) / total
        weights = known / (_SMALL + np.abs(values - offsets[:, None] - colours))
    return np.asarray(offsets)
