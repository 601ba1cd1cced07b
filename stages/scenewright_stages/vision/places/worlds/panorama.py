"""Equirectangular images: pixel directions, cutting out perspective views, and stitching views.

The middle column looks along +z of a world with OpenCV axes, columns grow to the right and rows downwards. Distances
in panoramas are along the ray, unlike the z-depth of views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import pixel_centres, project
from scenewright_stages.vision.types import Float32Array, Mask

_CUT_SUPERSAMPLING = 3


@dataclass(frozen=True, eq=False)
class Stitched:
    """Views stitched on a sphere.

    Attributes:
        srgb: (H, W, 3) float32.
        known: (H, W) bool, where a view has content.
        distance: (H, W) float32 metres along the ray, 0 where unknown; None without depths.
    """

    srgb: Float32Array
    known: Mask
    distance: Float32Array | None


def directions(height: int) -> Float32Array:
    """(H, 2 H, 3) float32 unit vectors of the pixels of a panorama."""
    width = 2 * height
    elevation = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    flat = np.cos(elevation)[:, None]
    down = np.broadcast_to(-np.sin(elevation)[:, None], (height, width))
    return np.stack([flat * np.sin(azimuth), down, flat * np.cos(azimuth)], axis=-1).astype(np.float32)


def pixels_of(rays: NDArray[np.floating], height: int) -> NDArray[np.float64]:
    """(..., 2) coordinates (column, row) in a panorama of directions (..., 3) of any length; pixel centres at +0.5."""
    x, y, z = np.moveaxis(np.asarray(rays, np.float64), -1, 0)
    columns = (np.arctan2(x, z) / (2 * np.pi) + 0.5) * 2 * height
    rows = (0.5 + np.arctan2(y, np.hypot(x, z)) / np.pi) * height
    return np.stack([columns, rows], axis=-1)


def sample(panorama: Float32Array, rays: NDArray[np.floating], *, nearest: bool = False) -> Float32Array:
    """(..., C) values of a panorama in the directions (..., 3), bilinear across its seam."""
    height, width = panorama.shape[:2]
    # Pad one column on each side to close the circle; OpenCV puts pixel centres at whole numbers.
    closed = np.concatenate([panorama[:, -1:], panorama, panorama[:, :1]], axis=1)
    places = pixels_of(rays, height).reshape(-1, 1, 2)
    columns = places[..., 0] % width + 0.5
    rows = np.clip(places[..., 1] - 0.5, 0, height - 1)
    method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    tall = remap_list(closed, columns.astype(np.float32), rows.astype(np.float32), method)
    return np.asarray(tall.reshape(*rays.shape[:-1], *panorama.shape[2:]), np.float32)


def rays_of(camera: Camera) -> NDArray[np.float64]:
    """(H, W, 3) world directions of a camera's pixel centres, with z-depth 1."""
    flat = (pixel_centres(camera.width, camera.height) - camera.principal_point) / camera.focal
    local = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=-1)
    return np.asarray(local @ camera.world_from_camera[:3, :3].T)


def cut_view(panorama: Float32Array, camera: Camera) -> Float32Array:
    """(H, W, 3) view of a camera at the centre of a panorama.

    Averages several rays per pixel only where the view has less detail than the panorama.
    """
    pixel_angle = 1.0 / camera.focal[0]
    factor = int(np.clip(np.ceil(pixel_angle / (np.pi / panorama.shape[0])), 1, _CUT_SUPERSAMPLING))
    fine = camera.scaled(camera.width * factor, camera.height * factor)
    seen = sample(panorama, rays_of(fine))
    if factor == 1:
        return seen
    return np.asarray(cv2.resize(seen, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.float32)


def stitch(
    pictures: Sequence[Float32Array], cameras: Sequence[Camera], height: int, depths: Sequence[Float32Array] = ()
) -> Stitched:
    """Stitches a panorama of `height` rows from views at its centre, blending overlaps.

    Distances come from the view whose axis is nearest, because blending would mix surfaces.
    """
    rays = directions(height).astype(np.float64)
    total, weight = np.zeros((*rays.shape[:2], 3)), np.zeros(rays.shape[:2])
    best, along = np.zeros(rays.shape[:2]), np.zeros(rays.shape[:2], np.float32)
    for number, (picture, camera) in enumerate(zip(pictures, cameras, strict=True)):
        places, z = project(rays, camera.with_pose(_turned_only(camera)))
        with np.errstate(invalid="ignore"):
            margin = np.minimum(places, (camera.width, camera.height) - places).min(axis=-1) / camera.width
        share = np.where(z > 0, np.nan_to_num(np.maximum(margin, 0.0)), 0.0)
        spots = np.where(share[..., None] > 0, places - 0.5, -10).astype(np.float32)
        seen = cv2.remap(picture, spots[..., 0], spots[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        total += seen * share[..., None]
        weight += share
        if depths:
            deep = cv2.remap(
                depths[number], spots[..., 0], spots[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
            )
            along = np.where(share > best, deep / np.maximum(z, 1e-9), along).astype(np.float32)
        best = np.maximum(best, share)
    known = weight > 0
    srgb = np.where(known[..., None], total / np.maximum(weight, 1e-9)[..., None], 0).astype(np.float32)
    return Stitched(srgb, known, np.where(known, along, 0).astype(np.float32) if depths else None)


def _turned_only(camera: Camera) -> NDArray[np.float64]:
    pose = camera.camera_from_world.copy()
    pose[:3, 3] = 0
    return pose


def remap_list(
    picture: Float32Array, columns: Float32Array, rows: Float32Array, method: int = cv2.INTER_LINEAR
) -> Float32Array:
    """(N, C) `cv2.remap` at a long list of positions, folded because OpenCV limits sides to 32,767.

    Whole numbers are pixel centres; positions outside take the border's value.
    """
    count, side = len(columns), 4096
    padded = [np.pad(each.ravel(), (0, -count % side)).reshape(-1, side) for each in (columns, rows)]
    found = cv2.remap(picture, padded[0], padded[1], method, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(-1, *found.shape[2:])[:count], np.float32)


def sky_coloured(srgb: Float32Array) -> Mask:
    """(...) bool: which colours (..., 3) may be sky."""
    bright = srgb.min(axis=-1) > 0.85
    blue = (srgb[..., 2] > srgb[..., 0] + 0.06) & (srgb[..., 2] > 0.35)
    return np.asarray(bright | blue)
