"""Fuses the depth of many views into a truncated signed distance field with colours (Curless and Levoy 1996).

The field is positive in free space. A voxel that no view has seen in front of, or just behind, a surface has no weight,
and surfaces end there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

MOST_VOXELS = 2_000_000
_TRUNCATION = 4.0
"""Voxels on each side of a surface in which distances count."""
_LEAST_ALPHA = 0.6
_SHRUNK = 0.25
"""Size at which splats are drawn for their depth. A renderer gives a splat one depth, that of its middle, so a slanted
surface of large splats leans towards the viewer by about their radius."""
_SIZES = (0.5, 0.25, 0.12)
"""Sizes that give depth in turn, wherever splats of that size still cover a pixel."""
_SOLID = 0.5
"""Coverage by whole splats below which a pixel has no depth."""
_EDGE = 0.1
"""Relative range of depth among neighbouring pixels above which they straddle an outline."""
_GRAZING = 0.2
"""Least cosine of the angle under which a surface is seen. Splats seen edge-on have no depth."""
_FARTHEST = 4.0
"""Median depths beyond which nothing is fused: sky, and what stands for it."""
_OUTLYING = 0.3
"""Percent of the points that may lie outside of the voxels at each side."""
_PIXELS_A_VIEW = 4000


@dataclass(frozen=True, eq=False)
class DepthView:
    """Depth of one view.

    Attributes:
        camera: in the frame of the field.
        depth: (H, W) float32 metres; 0 where nothing reliable is seen.
        srgb: (H, W, 3) float32 in [0, 1].
        facing: (H, W) float32 cosine of the angle between the line of sight and the surface's normal.
    """

    camera: Camera
    depth: NDArray[np.float32]
    srgb: NDArray[np.float32]
    facing: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class DistanceField:
    """A fused field on a grid whose axes are those of its frame.

    Attributes:
        distance: (X, Y, Z) float32 in [-1, 1], in units of the truncation; positive in free space.
        weight: (X, Y, Z) float32: how many views saw a voxel.
        srgb: (X, Y, Z, 3) float32 in [0, 1].
        origin: (3,) centre of the first voxel, metres.
        voxel: edge in metres.
    """

    distance: NDArray[np.float32]
    weight: NDArray[np.float32]
    srgb: NDArray[np.float32]
    origin: NDArray[np.float64]
    voxel: float

    def cells(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """(N, 3) indices of the voxels that hold the points, clipped to the grid."""
        found = np.rint((points - self.origin) / self.voxel).astype(np.int64)
        return np.clip(found, 0, np.array(self.distance.shape) - 1)

    def is_free(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(N,) whether points lie in space that was seen to be empty."""
        x, y, z = self.cells(points).T
        return np.asarray((self.weight[x, y, z] > 0) & (self.distance[x, y, z] > 0))


def depth_views(
    scene: GaussianScene, cameras: Iterable[Camera], turn: NDArray[np.float64], renderer: Renderer
) -> Iterator[DepthView]:
    """Renders the depth of a scene.

    Args:
        cameras: in the frame of the scene.
        turn: (3, 3) rotation from that frame to the field's.
    """
    back = np.eye(4)
    back[:3, :3] = turn.T
    small = shrunk(scene)
    for camera in cameras:
        with torch.no_grad():
            rendering = renderer.render(small, [camera])
        alpha = rendering.alpha[0].cpu().numpy()
        depth = rendering.depth[0].cpu().numpy().copy()
        depth[alpha < _LEAST_ALPHA] = 0
        facing = facing_of(depth, camera)
        depth[_straddles(depth) | (facing < _GRAZING)] = 0
        srgb = np.clip(rendering.rgb[0].cpu().numpy() / np.maximum(alpha, _LEAST_ALPHA)[..., None], 0, 1)
        yield DepthView(camera.with_pose(camera.camera_from_world @ back), depth, srgb, facing)


def shrunk(scene: GaussianScene, size: float = _SHRUNK) -> GaussianScene:
    """The scene with smaller splats."""
    return replace(scene, log_scales=scene.log_scales + math.log(size))


def surface_depth(sizes: list[GaussianScene], camera: Camera, renderer: Renderer) -> NDArray[np.float32]:
    """(H, W) z-depth in metres from the smallest splats that cover a pixel; 0 where there is nothing.

    Args:
        sizes: the scene, and with smaller splats, as `depth_sizes` makes them.
    """
    depth = np.zeros((camera.height, camera.width), np.float32)
    for number, each in enumerate(sizes):
        with torch.no_grad():
            rendering = renderer.render(each, [camera])
        covered = rendering.alpha[0].cpu().numpy() >= (_LEAST_ALPHA if number else _SOLID)
        depth = np.where(covered, rendering.depth[0].cpu().numpy(), depth).astype(np.float32)
    return depth


def depth_sizes(scene: GaussianScene) -> list[GaussianScene]:
    """The scene, and the same with smaller and smaller splats."""
    return [scene, *(shrunk(scene, size) for size in _SIZES)]


def fused(views: list[DepthView], voxel: float | None) -> DistanceField:
    """The field of the views.

    Args:
        voxel: edge in metres; None for one that gives at most `MOST_VOXELS`.

    Raises:
        ValueError: no view has depth, or there would be too many voxels.
    """
    seen = [view.depth[view.depth > 0] for view in views if (view.depth > 0).any()]
    if not seen:
        raise ValueError("no view shows a surface")
    limit = _FARTHEST * float(np.median(np.concatenate(seen)))
    points = np.concatenate([_sparse_points(view, limit) for view in views])
    low, high = np.percentile(points, (_OUTLYING, 100 - _OUTLYING), axis=0)
    room = np.maximum(high - low, 1e-3)
    edge = voxel or max(float(np.cbrt(room.prod() / (0.6 * MOST_VOXELS))), float(room.max()) / 400)
    margin = 2 * _TRUNCATION * edge
    shape = np.ceil((room + 2 * margin) / edge).astype(int) + 1
    if shape.astype(float).prod() > 16 * MOST_VOXELS:
        raise ValueError(f"voxels of {edge:g} m would be {shape.astype(float).prod():.1e}: make them larger")
    field = DistanceField(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros((*shape, 3), np.float32),
        low - margin,
        edge,
    )
    for view in views:
        depth = np.where(view.depth <= limit, view.depth, 0).astype(np.float32)
        _integrate(
            field.distance,
            field.weight,
            field.srgb,
            field.origin,
            edge,
            _TRUNCATION * edge,
            depth,
            np.ascontiguousarray(view.srgb),
            view.facing,
            view.camera.camera_from_world,
            np.array([*view.camera.focal, *view.camera.principal_point]),
        )
    return field


def facing_of(depth: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """(H, W) cosine of the angle under which each pixel's surface is seen, from differences of depth."""
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    rows, columns = np.indices(depth.shape, np.float32)
    rays = np.stack([(columns + 0.5 - cx) / fx, (rows + 0.5 - cy) / fy, np.ones_like(depth)], axis=-1)
    points = rays * depth[..., None]
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(rays, axis=-1)
    cosine = np.abs((normal * rays).sum(axis=-1)) / np.maximum(length, 1e-12)
    return np.ascontiguousarray(cosine, np.float32)


def _straddles(depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) pixels beside a jump of depth, where rendered depth mixes what is before and behind."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
    return np.asarray(far - near > _EDGE * np.maximum(depth, 1e-6))


def _sparse_points(view: DepthView, limit: float) -> NDArray[np.float64]:
    rows, columns = np.nonzero((view.depth > 0) & (view.depth <= limit))
    step = max(1, len(rows) // _PIXELS_A_VIEW)
    rows, columns = rows[::step], columns[::step]
    depth = view.depth[rows, columns].astype(np.float64)
    (fx, fy), (cx, cy) = view.camera.focal, view.camera.principal_point
    local = np.stack([(columns + 0.5 - cx) / fx * depth, (rows + 0.5 - cy) / fy * depth, depth], axis=1)
    pose = view.camera.world_from_camera
    return np.asarray(local @ pose[:3, :3].T + pose[:3, 3])


@njit(cache=True, parallel=True, error_model="numpy")
def _integrate(
    distance: Any,
    weight: Any,
    colour: Any,
    origin: Any,
    voxel: float,
    truncation: float,
    depth: Any,
    srgb: Any,
    facing: Any,
    pose: Any,
    lens: Any,
) -> None:
    """Adds one view. Every voxel is changed by one thread alone, so the result does not depend on their number."""
    size_x, size_y, size_z = distance.shape
    height, width = depth.shape
    for i in prange(size_x):
        x = origin[0] + i * voxel
        for j in range(size_y):
            y = origin[1] + j * voxel
            for k in range(size_z):
                z = origin[2] + k * voxel
                far = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
                if far <= 1e-6:
                    continue
                across = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]
                down = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]
                column = int(np.floor(lens[0] * across / far + lens[2]))
                row = int(np.floor(lens[1] * down / far + lens[3]))
                if column < 0 or row < 0 or column >= width or row >= height:
                    continue
                there = depth[row, column]
                if there <= 0:
                    continue
                ahead = there - far
                if ahead < -truncation:
                    continue
                value = np.float32(min(1.0, ahead / truncation))
                sure = facing[row, column]
                weight[i, j, k] += sure
                share = sure / weight[i, j, k]
                distance[i, j, k] += (value - distance[i, j, k]) * share
                for channel in range(3):
                    colour[i, j, k, channel] += (srgb[row, column, channel] - colour[i, j, k, channel]) * share


def warm_up() -> None:
    """Compiles the kernel."""
    lens = Camera.from_field_of_view(4, 4, 60.0)
    ones = np.ones((4, 4), np.float32)
    fused([DepthView(lens, ones, np.ones((4, 4, 3), np.float32), ones)], 0.5)
