"""Measures depth in the images along a world's paths by plane sweeps.

Each image is swept against a few neighbours with a small baseline. The scaffold's depth bounds the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.depth.plane_sweep import Shot, sweep
from scenewright_stages.vision.places.worlds.correction import Measured
from scenewright_stages.vision.types import Float32Array

NEIGHBOURS = 4
_LEAST_CONFIDENCE = 0.6
_WIDEST_DEGREES = 40.0
_BASELINES = (0.03, 0.5)
"""Of the distance of what is seen: nearer cameras measure nothing, farther ones show other things."""
_BEST_BASELINE = 0.15
_RANGE = (0.4, 2.5)


def swept_pictures(shots: Sequence[Shot], depths: Sequence[Float32Array], references: int) -> list[Measured]:
    """The images that can be swept, with their reliable depth.

    Args:
        shots: images of the place.
        depths: (H, W) guessed z-depth of each image, which bounds the search; 0 where unknown.
        references: maximum number of swept images, evenly chosen.
    """
    chosen = np.unique(np.linspace(0, len(shots) - 1, min(references, len(shots))).round().astype(int))
    return [each for number in chosen.tolist() if (each := _swept(number, shots, depths)) is not None]


def chosen_neighbours(number: int, cameras: Sequence[Camera], distance: float) -> list[int]:
    """The neighbouring cameras with a suitable small baseline, best first.

    Args:
        number: of the camera whose neighbours are wanted.
        cameras: all cameras.
        distance: of the visible surface.
    """
    own = cameras[number]
    scores = {}
    for other, camera in enumerate(cameras):
        baseline = float(np.linalg.norm(camera.position - own.position)) / distance
        cosine = float(camera.camera_from_world[2, :3] @ own.camera_from_world[2, :3])
        if _BASELINES[0] <= baseline <= _BASELINES[1] and cosine > np.cos(np.radians(_WIDEST_DEGREES)):
            scores[other] = abs(np.log(baseline / _BEST_BASELINE)) + 2 * (1 - cosine)
    return sorted(scores, key=lambda other: (scores[other], other))[:NEIGHBOURS]


def _swept(number: int, shots: Sequence[Shot], depths: Sequence[Float32Array]) -> Measured | None:
    known = depths[number][depths[number] > 0]
    if not known.size:
        return None
    near, middle, far = (float(each) for each in np.percentile(known, (5, 50, 95)))
    neighbours = chosen_neighbours(number, [shot.camera for shot in shots], middle)
    if len(neighbours) < 2:
        return None
    found = sweep(shots[number], [shots[other] for other in neighbours], _RANGE[0] * near, _RANGE[1] * far)
    sure = found.textured & (found.confidence >= _LEAST_CONFIDENCE)
    return Measured(shots[number], np.where(sure, found.depth, 0).astype(np.float32))
