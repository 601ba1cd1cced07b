"""Depth of a picture from other pictures whose poses are known, by sweeping a plane through the space before it.

At each of many depths the neighbours are seen as if everything lay on a plane there; where the plane meets a surface
they look alike. Patches are compared by normalised correlation, which ignores brightness and contrast. A confidence
tells textured surfaces that several pictures agree on from all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array

_PATCH = 7
_LEAST_CONTRAST = 2e-4
"""Variance of a patch's brightness below which it holds nothing to compare."""
_LEAST_SCALE = 1e-5
_UNSEEN = np.float32(-1)
_LEAST_CORRELATION = 0.7
_LEAST_SEEING = 2
_APART = 3
"""Planes beside the best one that count as the same depth."""


@dataclass(frozen=True, eq=False)
class Shot:
    """A picture (H, W, 3) float32 and its camera."""

    srgb: Float32Array
    camera: Camera


@dataclass(frozen=True, eq=False)
class SweptDepth:
    """Depth by comparison.

    Attributes:
        depth: (H, W) float32 z-depth; 0 where nothing can be compared.
        confidence: (H, W) float32 in [0, 1]: how much better it fits than any other depth; 0 where nothing fits well.
        textured: (H, W) bool, where the picture has enough contrast.
    """

    depth: Float32Array
    confidence: Float32Array
    textured: NDArray[np.bool_]


def sweep(reference: Shot, neighbours: Sequence[Shot], nearest: float, farthest: float, planes: int = 96) -> SweptDepth:
    """The depth of a picture from its neighbours.

    Args:
        reference: whose depth is wanted.
        neighbours: pictures of the same place from elsewhere.
        nearest, farthest: depths between which surfaces lie.
        planes: how many are tried, evenly in inverse depth.

    Raises:
        ValueError: no neighbours, or depths out of order.
    """
    if not neighbours or not 0 < nearest < farthest:
        raise ValueError(f"a plane sweep needs neighbours and 0 < nearest < farthest, not {nearest} and {farthest}")
    own = _Patches.of(_grey(reference.srgb))
    greys = [_grey(shot.srgb) for shot in neighbours]
    inverse = np.linspace(1 / nearest, 1 / farthest, planes)
    scores = np.empty((planes, *own.mean.shape), np.float32)
    for number, each in enumerate(inverse):
        seen = [
            _correlation(own, grey, _through_plane(reference.camera, shot.camera, 1 / each))
            for grey, shot in zip(greys, neighbours, strict=True)
        ]
        scores[number] = _agreed(np.stack(seen))
    return _best(scores, inverse, own.variance >= _LEAST_CONTRAST)


@dataclass(frozen=True, eq=False)
class _Patches:
    """A grey picture, and mean and variance of the patch around each pixel."""

    grey: Float32Array
    mean: Float32Array
    variance: Float32Array

    @classmethod
    def of(cls, grey: Float32Array) -> _Patches:
        mean = _blur(grey)
        return cls(grey, mean, np.maximum(_blur(grey * grey) - mean * mean, 0).astype(np.float32))


def _grey(srgb: Float32Array) -> Float32Array:
    return np.asarray(cv2.cvtColor(np.asarray(srgb, np.float32), cv2.COLOR_RGB2GRAY), np.float32)


def _blur(values: Float32Array) -> Float32Array:
    return np.asarray(cv2.blur(values, (_PATCH, _PATCH), borderType=cv2.BORDER_REFLECT_101), np.float32)


def _through_plane(reference: Camera, other: Camera, depth: float) -> NDArray[np.float64]:
    """(3, 3) from pixels of the reference to pixels of another camera, for points at one depth; centres at 0."""
    relative = other.camera_from_world @ reference.world_from_camera
    plane = np.array([[0.0, 0.0, 1.0 / depth]])
    rotation = relative[:3, :3] + relative[:3, 3:] @ plane
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    back = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    return np.asarray(back @ other.intrinsics @ rotation @ np.linalg.inv(reference.intrinsics) @ half)


def _correlation(own: _Patches, grey: Float32Array, through: NDArray[np.float64]) -> Float32Array:
    """(H, W) normalised correlation of the patches in [-1, 1]; -1 where the other picture shows nothing."""
    height, width = own.grey.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(grey, through, (width, height), flags=flags, borderValue=-1.0)
    other = _Patches.of(np.asarray(seen, np.float32))
    outside = cv2.dilate((seen < 0).astype(np.uint8), np.ones((_PATCH, _PATCH), np.uint8)) > 0
    covariance = _blur(own.grey * other.grey) - own.mean * other.mean
    scale = np.sqrt(own.variance * other.variance)
    found = covariance / np.maximum(scale, _LEAST_SCALE)
    return np.where(outside | _behind(through, width, height), _UNSEEN, np.clip(found, -1, 1)).astype(np.float32)


def _behind(through: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return np.asarray(through[2, 0] * columns + through[2, 1] * rows + through[2, 2] <= 1e-9)


def _agreed(scores: Float32Array) -> Float32Array:
    """(H, W) mean over the better half of the neighbours that see the plane: a surface may be hidden from the others.

    At least two have to see it.
    """
    ordered = -np.sort(-scores, axis=0)
    seeing = (scores > _UNSEEN).sum(axis=0)
    half = np.maximum((seeing + 1) // 2, min(_LEAST_SEEING, len(scores)))
    counted = np.arange(len(scores))[:, None, None] < half
    mean = np.where(counted, ordered, 0).sum(axis=0) / half
    return np.where(seeing >= half, mean, _UNSEEN).astype(np.float32)


def _best(scores: Float32Array, inverse: NDArray[np.float64], textured: NDArray[np.bool_]) -> SweptDepth:
    """The best plane of each pixel, refined between planes by a parabola."""
    best = scores.argmax(axis=0)
    inner = np.clip(best, 1, len(inverse) - 2)
    below, at, above = (np.take_along_axis(scores, inner[None] + step, axis=0)[0] for step in (-1, 0, 1))
    bend = below - 2 * at + above
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where((bend < -1e-6) & (best == inner), (below - above) / (2 * bend), best - inner)
    place = inner + np.clip(offset, -1, 1)
    depth = 1 / np.interp(place, np.arange(len(inverse)), inverse)
    top = np.take_along_axis(scores, best[None], axis=0)[0]
    away = np.abs(np.arange(len(inverse))[:, None, None] - best) > _APART
    second = np.where(away, scores, -1).max(axis=0)
    usable = textured & (top > _LEAST_CORRELATION)
    # How much worse the next best depth fits, whatever the contrast of the texture.
    unique = 1 - (1 - np.clip(top, 0, 1)) / np.maximum(1 - second, 1e-6)
    confidence = np.where(usable, np.clip(unique, 0, 1), 0).astype(np.float32)
    return SweptDepth(np.where(usable, depth, 0).astype(np.float32), confidence, textured)
