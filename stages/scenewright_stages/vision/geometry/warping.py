"""Warps a photograph into another camera: looks up each pixel's surface point in the photograph."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import inside_picture, project, sample_nearest, unproject
from scenewright_stages.vision.types import Float32Array

_HIDDEN_BEHIND = 0.08
"""A point that is this much farther than what the other camera sees there, relative to its depth, is hidden from it."""


def warp_reference(
    depth: NDArray[np.floating],
    camera: Camera,
    reference_srgb: Float32Array,
    reference_camera: Camera,
    reference_depth: NDArray[np.floating] | None = None,
    reference_valid: NDArray[np.bool_] | None = None,
) -> tuple[Float32Array, NDArray[np.bool_]]:
    """The reference warped into `camera`.

    Args:
        depth: (H, W) z-depth of the view, 0 or NaN if unknown.
        camera: of the view.
        reference_srgb: (H', W', 3) float32 in [0, 1].
        reference_camera: of the reference.
        reference_depth: (H', W'); points farther than this are occluded in the reference. None disables occlusion.
        reference_valid: (H', W') bool, pixels that show something. None: all.

    Returns:
        (H, W, 3) float32, 0 where the reference shows nothing, and (H, W) bool validity.
    """
    pixels, seen_depth = project(unproject(np.where(depth > 0, depth, np.nan), camera), reference_camera)
    valid = inside_picture(pixels, seen_depth, reference_camera)
    with np.errstate(invalid="ignore"):
        if reference_depth is not None:
            surface = sample_nearest(np.asarray(reference_depth), pixels)
            valid &= ~(seen_depth > surface * (1 + _HIDDEN_BEHIND))
        if reference_valid is not None:
            valid &= sample_nearest(reference_valid.astype(np.float32), pixels) > 0
    # OpenCV puts pixel centres at whole numbers.
    places = np.where(valid[..., None], pixels - 0.5, -10).astype(np.float32)
    warped = cv2.remap(
        np.ascontiguousarray(reference_srgb, np.float32), places[..., 0], places[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.where(valid[..., None], warped, 0).astype(np.float32), valid
