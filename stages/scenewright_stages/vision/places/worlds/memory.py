"""The memory of a world: the panorama, and the fills of disocclusions that moved cameras revealed.

A path's cameras are rendered from this memory. Holes are filled from the background, in colour and depth, and the fills
become part of the memory, so that every later camera sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import inside_picture, project, unproject
from scenewright_stages.vision.places.worlds.mesh import Seen, Surface, look
from scenewright_stages.vision.types import Float32Array, Mask

_SMOOTHING = 12
_INPAINT_RADIUS = 5
_FRONT, _FRONT_REACH = 1.15, 48
"""What is nearer than a hole's filling by this factor, within so many pixels, stands in front of it."""
_OPPOSITE_DEGREES = 120.0
_TESTED_PIXELS = 400


@dataclass(frozen=True, eq=False)
class WorldFrame:
    """An image along a path.

    Attributes:
        camera: pose and intrinsics.
        srgb: (H, W, 3) uint8.
        depth: (H, W) float32 z-depth in metres.
        filled: (H, W) bool, pixels that no earlier image shows.
    """

    camera: Camera
    srgb: NDArray[np.uint8]
    depth: Float32Array
    filled: Mask

    def surface(self) -> Surface:
        """The frame's contribution to the memory: its filled pixels, with a margin that connects to the rest."""
        grown = cv2.dilate(self.filled.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        srgb = self.srgb.astype(np.float32) / np.float32(255)
        return Surface.of_view(srgb, np.where(grown, self.depth, 0).astype(np.float32), self.camera)


def expand(
    panorama: Surface, remembered: Sequence[WorldFrame], cameras: Sequence[Camera], anchors: int, limit: int
) -> list[WorldFrame]:
    """The images along a path.

    Some evenly spaced cameras, always including the farthest, are anchors: they are rendered first, farthest first, and
    their holes are filled and remembered. The others are rendered from that memory.

    Args:
        panorama: the world from its centre.
        remembered: frames of earlier paths.
        cameras: along the path.
        anchors: maximum number of anchors.
        limit: maximum number of memory frames per camera.
    """
    memory = [frame for frame in remembered if frame.filled.any()]
    made: dict[int, WorldFrame] = {}
    first = np.unique(np.linspace(len(cameras) - 1, 0, min(anchors, len(cameras))).round().astype(int))[::-1]
    for number in [*first.tolist(), *(each for each in range(len(cameras)) if each not in first)]:
        chosen = covisible(memory, cameras[number], limit)
        frame = completed(look([panorama, *(each.surface() for each in chosen)], cameras[number]), cameras[number])
        made[number] = frame
        if frame.filled.any():
            memory.append(frame)
    return [made[number] for number in range(len(cameras))]


def covisible(memory: Sequence[WorldFrame], camera: Camera, limit: int) -> list[WorldFrame]:
    """The frames whose filled pixels a camera could see, by decreasing share of its view.

    Leaves out frames that look the other way, because their fills would be seen from behind.
    """
    scores = [covisibility(frame, camera) for frame in memory]
    order = sorted((number for number, score in enumerate(scores) if score > 0), key=lambda number: -scores[number])
    return [memory[number] for number in sorted(order[:limit])]


def covisibility(frame: WorldFrame, camera: Camera) -> float:
    """Estimated number of a frame's filled pixels inside a camera's view; 0 if the frame looks away."""
    forward, other = (each.camera_from_world[2, :3] for each in (frame.camera, camera))
    if float(forward @ other) < np.cos(np.radians(_OPPOSITE_DEGREES)):
        return 0.0
    places = np.flatnonzero(frame.filled)
    if not len(places):
        return 0.0
    step = max(1, len(places) // _TESTED_PIXELS)
    points = unproject(frame.depth, frame.camera).reshape(-1, 3)[places[::step]]
    pixels, depth = project(points, camera)
    return float(inside_picture(pixels, depth, camera).sum() * step)


def completed(seen: Seen, camera: Camera) -> WorldFrame:
    """A frame without holes: colour and depth are extended from the background.

    Raises:
        ValueError: the camera sees nothing.
    """
    hole = seen.hole
    if hole.all():
        raise ValueError("the camera sees nothing of the world")
    srgb = (np.clip(seen.srgb, 0, 1) * 255).round().astype(np.uint8)
    if not hole.any():
        return WorldFrame(camera, srgb, seen.depth, hole)
    depth = _depth_behind(seen.depth, hole)
    # Inpaint the foreground next to holes too, so that its colours do not bleed in.
    covered = hole | _in_front(seen.depth, depth, hole)
    filled = cv2.inpaint(srgb, covered.view(np.uint8), _INPAINT_RADIUS, cv2.INPAINT_TELEA)
    return WorldFrame(camera, np.where(hole[..., None], filled, srgb), depth, hole)


def _depth_behind(depth: Float32Array, hole: Mask) -> Float32Array:
    """Depth with holes filled by the smoothed depth of each hole's farther end."""
    inverse = np.where(hole, 0, 1 / np.maximum(depth, 1e-6)).astype(np.float32)
    across, along = _farther_ends(inverse, hole), _farther_ends(inverse.T, hole.T).T
    # Sideways motion opens holes along rows, so use rows first, and columns where a row leaves the image.
    behind = np.where(np.isfinite(across), across, along)
    known = np.isfinite(behind)
    if not known.all():
        nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
        behind = behind[tuple(nearest)]
    inverse = np.where(hole, behind, inverse).astype(np.float32)
    front = inverse > _FRONT * cv2.erode(inverse, np.ones((5, 5), np.uint8))
    own = np.where(front & ~hole, np.float32(0), np.float32(1))
    for _ in range(_SMOOTHING):
        mean = cv2.blur(inverse * own, (5, 5)) / np.maximum(cv2.blur(own, (5, 5)), 1e-6)
        inverse = np.where(hole & (mean > 0), mean, inverse).astype(np.float32)
    return np.where(hole, 1 / np.maximum(inverse, 1e-6), depth).astype(np.float32)


def _farther_ends(inverse: Float32Array, hole: Mask) -> Float32Array:
    """(H, W) the smaller inverse depth at the two ends of a pixel's hole run in its row; NaN if an end is missing."""
    columns = np.arange(hole.shape[1])
    before = np.maximum.accumulate(np.where(hole, -1, columns), axis=1)
    after = np.minimum.accumulate(np.where(hole, hole.shape[1], columns)[:, ::-1], axis=1)[:, ::-1]
    inside = (before >= 0) & (after < hole.shape[1])
    ends = [np.take_along_axis(inverse, np.clip(each, 0, hole.shape[1] - 1), axis=1) for each in (before, after)]
    return np.where(inside, np.minimum(ends[0], ends[1]), np.nan).astype(np.float32)


def _in_front(depth: Float32Array, behind: Float32Array, hole: Mask) -> Mask:
    """(H, W) bool: known pixels near a hole that are much nearer than its fill."""
    distance, nearest = ndimage.distance_transform_edt(~hole, return_indices=True)
    return np.asarray(~hole & (distance <= _FRONT_REACH) & (depth * _FRONT < behind[tuple(nearest)]))
