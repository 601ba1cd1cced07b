"""The `classic` depth: a prior over how photographs are usually laid out, not a measurement.

The ground rises to a horizon, things stand upright where they touch it, what stands out from the borders
is near, veiled things are far, and the sky is farthest. Object boundaries are those of the picture, and steps. Both
the range of depths and the field of view are assumptions, and the result says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.depth import cues
from scenewright_stages.vision.geometry.depth.outlines import straight_outlines
from scenewright_stages.vision.types import Float32Array

ASSUMED_HORIZONTAL_DEGREES = 60.0

_HAZE_SHARE = 0.5
_SKY_SHARE = 0.6
_OBJECT_SHARE = 0.15
_SALIENCY_EPSILON = 0.03
_DEPTH_EPSILON = 0.01
_OBJECT_BAND = (0.25, 0.6)  # saliency from which a pixel begins to be an object, and surely is one


@dataclass(frozen=True)
class PriorSettings:
    """Assumptions of the prior.

    Attributes:
        far_near_ratio: farthest over nearest depth; above 3 a moved camera tears the scene apart.
        near_metres: depth of the nearest pixels.
    """

    far_near_ratio: float = 3.0
    near_metres: float = 1.0

    def __post_init__(self) -> None:
        if not self.far_near_ratio > 1:
            raise ValueError(f"far_near_ratio {self.far_near_ratio} must be above 1")
        if not self.near_metres > 0:
            raise ValueError(f"near_metres {self.near_metres} must be positive")


@dataclass(frozen=True, eq=False)
class DepthPrior:
    """Assumed depth of a picture.

    Attributes:
        depth: (H, W) float32 z-depth in assumed metres; valid everywhere.
        confidence: (H, W) float32 in [0, 1]: agreement of the cues, at most 0.6 because nothing is measured.
        camera: at the origin; its field of view is the given or the assumed one.
        sky: (H, W) bool.
        notes: the assumptions in words.
    """

    depth: Float32Array
    confidence: Float32Array
    camera: Camera
    sky: NDArray[np.bool_]
    notes: tuple[str, ...]


def estimate_prior(
    srgb: Float32Array,
    settings: PriorSettings | None = None,
    horizontal_degrees: float | None = None,
) -> DepthPrior:
    """The prior for an image, (H, W, 3) float32 sRGB in [0, 1]; the same bytes for the same input.

    horizontal_degrees is the field of view if it is known (60 degrees are assumed otherwise).
    """
    chosen = settings or PriorSettings()
    height, width = srgb.shape[:2]
    sky = cues.sky(srgb)
    objects = _objects(srgb, sky)
    nearness = _refined(srgb, _layout(srgb, sky, objects))
    far, near = 1 / (chosen.near_metres * chosen.far_near_ratio), 1 / chosen.near_metres
    inverse = np.asarray(far + nearness * (near - far), np.float32)
    depth = (1 / straight_outlines(inverse, sum(_radii(srgb)) + 1)).astype(np.float32)
    degrees = horizontal_degrees or ASSUMED_HORIZONTAL_DEGREES
    return DepthPrior(
        depth=depth,
        confidence=_confidence(objects, sky),
        camera=Camera.from_field_of_view(width, height, degrees),
        sky=sky,
        notes=_notes(chosen, horizontal_degrees),
    )


def _objects(srgb: Float32Array, sky: NDArray[np.bool_]) -> Float32Array:
    """(H, W) float32 in [0, 1]: how surely a pixel belongs to something that stands upright."""
    radius = max(srgb.shape[:2]) // 24
    refined = _guided(srgb, cues.saliency(srgb), radius, _SALIENCY_EPSILON)
    low, high = _OBJECT_BAND
    objects = np.clip((refined - low) / (high - low), 0, 1, dtype=np.float32)
    return np.where(sky, np.float32(0), objects)


def _layout(srgb: Float32Array, sky: NDArray[np.bool_], objects: Float32Array) -> Float32Array:
    """(H, W) float32 relative inverse depth of ground, backdrop and objects, before refinement."""
    ground = cues.height_in_image(*objects.shape)
    veil = cues.haze(srgb)
    ground = ground - _HAZE_SHARE * cues.haze_weight(veil) * veil * (1 - objects) - _SKY_SHARE * sky
    upright = np.maximum(_upright_surface(ground, objects), ground) + _OBJECT_SHARE
    return np.asarray(ground + objects * (upright - ground), np.float32)


def _upright_surface(ground: Float32Array, objects: Float32Array) -> Float32Array:
    """Inverse depth of objects as upright boards: that of the ground where they touch it.

    Every column is carried upwards from its lowest object pixel; then the columns of an object are
    averaged, so that it stays in one piece.
    """
    carried = ground.copy()
    for row in range(len(ground) - 2, -1, -1):
        below = objects[row] * carried[row + 1] + (1 - objects[row]) * ground[row]
        carried[row] = np.maximum(ground[row], below)
    reach = max(ground.shape) // 8
    size = (2 * reach + 1, 2 * (reach // 4) + 1)
    weight = cv2.blur(objects, size, borderType=cv2.BORDER_REPLICATE)
    mean = cv2.blur(carried * objects, size, borderType=cv2.BORDER_REPLICATE) / np.maximum(weight, 1e-6)
    return np.asarray(np.where(weight > 1e-3, mean, carried), np.float32)


def _refined(srgb: Float32Array, layout: Float32Array) -> Float32Array:
    """Smoothed along the picture's surfaces, not across its edges, and stretched to [0, 1]."""
    for radius in _radii(srgb):
        layout = _guided(srgb, layout, radius, _DEPTH_EPSILON)
    low, high = np.percentile(layout, (1, 99))
    if high - low < 1e-6:
        return cues.height_in_image(*layout.shape)
    return np.asarray(np.clip((layout - low) / (high - low), 0, 1), np.float32)


def _radii(srgb: Float32Array) -> tuple[int, int]:
    """Radii (pixels) of the two guided filters; their sum is how far an edge is smeared."""
    side = max(srgb.shape[:2])
    return max(side // 72, 1), max(side // 144, 1)


def _guided(srgb: Float32Array, values: Float32Array, radius: int, epsilon: float) -> Float32Array:
    """The guided filter (He, Sun, Tang 2010)."""
    return np.asarray(cv2.ximgproc.guidedFilter(srgb, values, radius, epsilon), np.float32)


def _confidence(objects: Float32Array, sky: NDArray[np.bool_]) -> Float32Array:
    """Highest where one cue speaks clearly, lowest where an object is half suspected."""
    undecided = 4 * objects * (1 - objects)
    confidence = 0.5 - 0.3 * undecided + 0.1 * sky
    return confidence.astype(np.float32)


def _notes(settings: PriorSettings, horizontal_degrees: float | None) -> tuple[str, ...]:
    view = (
        f"field of view {horizontal_degrees:.1f} degrees as given"
        if horizontal_degrees
        else f"field of view of {ASSUMED_HORIZONTAL_DEGREES:g} degrees assumed"
    )
    return (
        "depth is a prior (ground, upright objects, haze, sky), not a measurement",
        f"nearest pixels assumed at {settings.near_metres:g} m, far:near at {settings.far_near_ratio:g}",
        view,
    )
