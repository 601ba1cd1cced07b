"""Continues one photograph to a whole panorama with an inpainter, in overlapping views from one point.

Every view sees what the photograph and earlier views show, and only the rest is painted. The ring is painted to both
sides in turns, so its last view, behind the camera, sees both ends: the seam is closed. Then come the views up and
down.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.places.worlds.gaps import resampled
from scenewright_stages.vision.places.worlds.motions import turned
from scenewright_stages.vision.places.worlds.panorama import directions, rays_of, sample
from scenewright_stages.vision.types import Float32Array, Mask

Fill = Callable[[Float32Array, Mask, int], Float32Array]
"""Paints the hole (S, S) of a view (S, S, 3); is told the view's number."""
DEGREES = 90.0
"""Field of view of a view."""
_TILTED = 60.0
_PLACES = (
    # Those before the last one of a ring stay apart, so that it sees both ends and joins them.
    *((azimuth, 0.0) for azimuth in (0, 45, -45, 90, -90, 115, -115, 180)),
    *((azimuth, elevation) for elevation in (_TILTED, -_TILTED) for azimuth in (0, 90, -90, 180)),
)
"""Azimuth (to the right) and elevation of the views, in the order in which they are painted."""
_UNSEEN = 0.5
_SURE = 0.999


def painting_cameras(size: int) -> list[Camera]:
    """The cameras of the views, with the side in pixels, in the order in which they are painted."""
    return [
        Camera.from_field_of_view(size, size, DEGREES, rigid(turned(float(azimuth), float(elevation)).T, np.zeros(3)))
        for azimuth, elevation in _PLACES
    ]


def outpainted(panorama: Float32Array, known: Mask, size: int, fill: Fill) -> Float32Array:
    """The panorama with everything painted that is not known; known pixels stay.

    Args:
        panorama: (H, 2 H, 3) float32.
        known: (H, 2 H) bool.
        size: side of the views in pixels.
        fill: paints a view's hole.
    """
    rays = directions(len(panorama)).astype(np.float64)
    srgb = np.where(known[..., None], panorama, np.float32(_UNSEEN)).astype(np.float32)
    done = known.copy()
    for number, camera in enumerate(painting_cameras(size)):
        view, hole = _seen(srgb, done, camera)
        if not hole.any():
            continue
        painted, inside = resampled(fill(view, hole, number), camera, rays)
        new = inside & ~done
        srgb = np.where(new[..., None], painted, srgb)
        done |= new
    return srgb.astype(np.float32)


def _seen(srgb: Float32Array, done: Mask, camera: Camera) -> tuple[Float32Array, Mask]:
    """(S, S, 3) what a view shows so far, and (S, S) its hole: whatever depends on an unknown pixel."""
    rays: NDArray[np.float64] = rays_of(camera)
    share = sample(done.astype(np.float32)[..., None], rays)
    shown = sample(srgb, rays)
    return shown, np.asarray(share.reshape(share.shape[:2]) < _SURE)
