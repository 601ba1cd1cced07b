"""Exact panoramas of the synthetic rooms, with their distances."""

from __future__ import annotations

from functools import cache

import numpy as np
from synthetic import World, box_room, cylinder_room, render

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.places.worlds.motions import turned
from scenewright_stages.vision.places.worlds.panorama import Stitched, stitch

ROOMS = {"box": box_room, "cylinder": cylinder_room}
_FACES = ((0, 0), (90, 0), (180, 0), (270, 0), (0, 90), (0, -90))


@cache
def room(name: str, seed: int) -> World:
    """One of the rooms."""
    return ROOMS[name](seed)


@cache
def room_panorama(name: str, seed: int, height: int = 256) -> Stitched:
    """What a camera in the middle of a room sees all round."""
    size = height * 3 // 4
    cameras = [
        Camera.from_field_of_view(size, size, 92.0, rigid(turned(yaw, pitch).T, np.zeros(3))) for yaw, pitch in _FACES
    ]
    views = [render(room(name, seed), camera, 2) for camera in cameras]
    return stitch([view.srgb for view in views], cameras, height, [view.depth for view in views])
