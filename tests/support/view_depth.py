"""The true depth of a view of a panorama."""

from __future__ import annotations

import numpy as np

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.worlds.panorama import rays_of, sample
from scenewright_stages.vision.types import Float32Array


def cut_depth(distance: Float32Array, camera: Camera) -> Float32Array:
    """(H, W) z-depth of a camera at the centre of a panorama of distances (H', W'); nearest-neighbour sampling."""
    rays = rays_of(camera)
    along = sample(distance[..., None], rays, nearest=True)[..., 0]
    return np.asarray(along / np.linalg.norm(rays, axis=-1), np.float32)
