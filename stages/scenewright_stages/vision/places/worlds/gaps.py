"""Resamples a view between two neighbours at the same point, and finds the hole in its middle.

All cameras share one centre, so a rotated view is an exact resampling of its neighbours and needs no depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import inside_picture, project
from scenewright_stages.vision.places.worlds.panorama import rays_of
from scenewright_stages.vision.types import Float32Array, Mask

_SEAM = 2
"""Pixels at the neighbours' borders that are drawn again, so that no line stays."""


def seen_between(
    pictures: Sequence[Float32Array], cameras: Sequence[Camera], camera: Camera
) -> tuple[Float32Array, Mask]:
    """The part of a view that images from the same point cover.

    Args:
        pictures: (H, W, 3) each; where two overlap, the later one wins.
        cameras: of the images.
        camera: of the view.

    Returns:
        (H, W, 3) the view, mid-grey where unknown, and (H, W) its hole.
    """
    rays = rays_of(camera)
    view = np.full((camera.height, camera.width, 3), 0.5, np.float32)
    hole = np.ones((camera.height, camera.width), np.bool_)
    for picture, own in zip(pictures, cameras, strict=True):
        seen, shown = resampled(picture, own, rays)
        view, hole = np.where(shown[..., None], seen, view), hole & ~shown
    # The view's own border is not a seam.
    wide = cv2.dilate(hole.astype(np.uint8), np.ones((2 * _SEAM + 1,) * 2, np.uint8))
    return view.astype(np.float32), wide.astype(np.bool_)


def resampled(picture: Float32Array, own: Camera, rays: NDArray[np.float64]) -> tuple[Float32Array, Mask]:
    """(H, W, 3) an image resampled in directions (H, W, 3) from its own centre, and (H, W) the mask it covers."""
    places, z = project(rays, own)
    inside = inside_picture(places, z, own)
    spots = np.where(inside[..., None], places - 0.5, -10).astype(np.float32)
    seen = cv2.remap(picture, spots[..., 0], spots[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.float32), inside
