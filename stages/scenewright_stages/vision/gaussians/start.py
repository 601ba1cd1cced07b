"""Initialises a scene's Gaussians: on surfaces interpolated between the capture's points, or on random points.

A capture's points are sparse and miss whole regions. Every training view therefore gets a dense depth, interpolated
from the points that it sees, and Gaussians start on some of its pixels at that depth, in the photograph's colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import QhullError, cKDTree

from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import inside_picture, project
from scenewright_stages.vision.types import Mask

MINIMUM_POINTS = 100
"""Fewer points of a capture are no start; seeded ones are added."""
_OPACITY = 0.3
_NEIGHBOURS = 3
_LEAST_IN_VIEW = 8


@dataclass(frozen=True, eq=False)
class Start:
    """Initial points.

    Attributes:
        points: (N, 3) float64, world coordinates.
        srgb: (N, 3) float32 in [0, 1].
        seeded: how many of them are random.
    """

    points: NDArray[np.float64]
    srgb: NDArray[np.float32]
    seeded: int

    def scene(self, opacity: float = _OPACITY) -> GaussianScene:
        """One isotropic Gaussian per point, as large as the mean distance to its three nearest neighbours."""
        distances, _ = cKDTree(self.points).query(self.points, k=min(len(self.points), _NEIGHBOURS + 1))
        spacing = np.asarray(distances)[:, 1:].mean(axis=1)
        sigma = np.clip(spacing, np.percentile(spacing, 5), np.percentile(spacing, 95))
        return GaussianScene.from_points(
            torch.from_numpy(self.points), torch.from_numpy(self.srgb), torch.from_numpy(sigma), opacity
        )


def start_points(
    points: NDArray[np.float64],
    colours: NDArray[np.uint8],
    cameras: Sequence[Camera],
    pictures: Sequence[NDArray[np.uint8]],
    seed: int,
    count: int,
    valid: Sequence[Mask | None] = (),
) -> Start:
    """About `count` points on surfaces through the capture's points, or random points if it has hardly any.

    Points of the capture that most of the views mask are left out: no view would ever correct their colour.

    Args:
        points, colours: of the capture, (N, 3).
        cameras, pictures: of the training views; pictures (H, W, 3) uint8.
        seed: of the random draws.
        count: number of points.
        valid: (H, W) bool for each view, None where all pixels are; none for views without masks.
    """
    random = np.random.default_rng(seed)
    masks = list(valid) or [None] * len(cameras)
    if any(mask is not None for mask in masks):
        shown = _mostly_shown(points, cameras, masks)
        points, colours = points[shown], colours[shown]
    if len(points) >= MINIMUM_POINTS:
        kept = np.sort(random.permutation(len(points))[:count])
        parts = [(points[kept], (colours[kept] / 255).astype(np.float32))]
        each = max(0, count - len(kept)) // len(cameras)
        for camera, picture, mask in zip(cameras, pictures, masks, strict=True):
            parts.append(_surface_points(points, camera, picture, random, each, mask))
        positions, srgb = (np.concatenate(values) for values in zip(*parts, strict=True))
        return Start(positions, srgb, 0)
    drawn = _seen_points(cameras, random, count, masks)
    return Start(drawn, _colours(drawn, cameras, pictures, masks), len(drawn))


def scene_extent(cameras: Sequence[Camera]) -> float:
    """1.1 times the largest distance of a camera from the cameras' centroid (gsplat's scene scale)."""
    centres = np.stack([camera.position for camera in cameras])
    return max(1e-3, 1.1 * float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max()))


def _mostly_shown(
    points: NDArray[np.float64], cameras: Sequence[Camera], masks: Sequence[Mask | None]
) -> NDArray[np.bool_]:
    """(N,) bool: points that at most half of the views before which they lie mask."""
    seen, masked = np.zeros(len(points), int), np.zeros(len(points), int)
    for camera, mask in zip(cameras, masks, strict=True):
        inside = _inside(points, camera)
        seen += inside
        masked += inside & ~_inside(points, camera, mask)
    return 2 * masked <= seen


def _surface_points(
    points: NDArray[np.float64],
    camera: Camera,
    picture: NDArray[np.uint8],
    random: np.random.Generator,
    count: int,
    mask: Mask | None,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Positions and colours of some valid pixels, at a depth interpolated from the visible points."""
    inside = points[_inside(points, camera, mask)]
    if count == 0 or len(inside) < _LEAST_IN_VIEW:
        return np.zeros((0, 3)), np.zeros((0, 3), np.float32)
    places, depth = project(inside, camera)
    drawn = random.permutation(camera.width * camera.height)
    pixels = np.sort((drawn if mask is None else drawn[mask.ravel()[drawn]])[:count])
    rows, columns = np.divmod(pixels, camera.width)
    wanted = np.stack([columns + 0.5, rows + 0.5], axis=1)
    # Inverse depth is linear on every plane.
    inverse = NearestNDInterpolator(places, 1 / depth)(wanted)
    try:
        between = LinearNDInterpolator(places, 1 / depth)(wanted)
        inverse = np.where(np.isfinite(between), between, inverse)
    except QhullError:
        pass
    positions = points_of_pixels(camera, pixels, 1 / inverse)
    return positions, (picture.reshape(-1, 3)[pixels] / 255).astype(np.float32)


def points_of_pixels(camera: Camera, pixels: NDArray[np.int64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) world points of flat pixel numbers (N,) at z-depths (N,)."""
    rows, columns = np.divmod(pixels, camera.width)
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    local = np.stack([(columns + 0.5 - cx) / fx * depth, (rows + 0.5 - cy) / fy * depth, depth], axis=1)
    return local @ camera.world_from_camera[:3, :3].T + camera.position


def _seen_points(
    cameras: Sequence[Camera], random: np.random.Generator, count: int, masks: Sequence[Mask | None]
) -> NDArray[np.float64]:
    """Random points in the views' frustums, those seen by several cameras first."""
    extent = scene_extent(cameras)
    candidates = np.concatenate(
        [_frustum_points(camera, extent, random, 4 * count // len(cameras) + 1) for camera in cameras]
    )
    views = zip(cameras, masks, strict=True)
    seen = np.sum([_inside(candidates, camera, mask) for camera, mask in views], axis=0)
    order = np.argsort(-np.minimum(seen, 3), kind="stable")
    return candidates[np.sort(order[: min(count, int((seen > 0).sum()))])]


def _frustum_points(camera: Camera, extent: float, random: np.random.Generator, count: int) -> NDArray[np.float64]:
    # Uniform in inverse depth, from a fifth to eight times the cameras' spread.
    depth = 1 / random.uniform(1 / (8 * extent), 1 / (0.2 * extent), count)
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    x, y = random.uniform(0, camera.width, count), random.uniform(0, camera.height, count)
    local = np.stack([(x - cx) / fx * depth, (y - cy) / fy * depth, depth], axis=1)
    return local @ camera.world_from_camera[:3, :3].T + camera.position


def _inside(points: NDArray[np.float64], camera: Camera, mask: Mask | None = None) -> NDArray[np.bool_]:
    """(N,) bool: points before a camera, inside its picture and, given its mask, on a valid pixel."""
    pixels, depth = project(points, camera)
    inside = inside_picture(pixels, depth, camera)
    if mask is not None:
        columns, rows = pixels[inside].astype(np.intp).T
        inside[inside] = mask[rows, columns]
    return inside


def _colours(
    points: NDArray[np.float64],
    cameras: Sequence[Camera],
    pictures: Sequence[NDArray[np.uint8]],
    masks: Sequence[Mask | None],
) -> NDArray[np.float32]:
    """Mean colour over the views that see a point."""
    total, times = np.zeros((len(points), 3)), np.zeros(len(points))
    for camera, picture, mask in zip(cameras, pictures, masks, strict=True):
        inside = _inside(points, camera, mask)
        pixels, _ = project(points[inside], camera)
        columns, rows = np.minimum(pixels.astype(np.intp), (camera.width - 1, camera.height - 1)).T
        total[inside] += picture[rows, columns] / 255
        times[inside] += 1
    return (total / np.maximum(times, 1)[:, None]).astype(np.float32)
