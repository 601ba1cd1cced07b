"""Converts RGB-D images to flat Gaussians (surfels): one per pixel, with the size and slant of its surface patch.

Round Gaussians leave gaps on a floor seen at a grazing angle. Surfels lie in their surface and cover the whole pixel,
so the world has no holes before training.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.types import Mask

SPREAD = 0.55
"""Standard deviation of a Gaussian over the distance of two pixels on the surface."""
_THICKNESS = 0.05
"""Of a Gaussian, over its smaller side."""
_LONGEST = 8.0
"""A pixel's piece of surface is this much longer than wide at most."""


def panorama_surfels(surface: Surface, opacity: float) -> GaussianScene:
    """About one Gaussian per solid angle of a pixel at the horizon."""
    strides = strides_of(len(surface.points))
    columns = np.arange(surface.points.shape[1])
    return surfels(surface, columns[None] % strides[:, None] == 0, opacity, strides[:, None])


def strides_of(height: int) -> NDArray[np.int64]:
    """(H,) stride per panorama row, a power of two that grows towards the poles, where pixels are crowded."""
    circle = np.cos((0.5 - (np.arange(height) + 0.5) / height) * np.pi)
    return np.asarray(2 ** np.floor(np.log2(1 / circle) + 0.5), np.int64)


def surfels(surface: Surface, mask: Mask, opacity: float, widths: NDArray[np.int64] | None = None) -> GaussianScene:
    """One Gaussian per pixel of an (H, W) mask that has a point.

    Args:
        surface: the RGB-D image.
        mask: pixels to convert.
        opacity: of each Gaussian.
        widths: broadcast to (H, W), how many pixels of its row each Gaussian covers; None: 1.
    """
    points = surface.points.astype(np.float64)
    across, along = _steps(points, surface.torn, 1, surface.closed), _steps(points, surface.torn, 0, False)
    if widths is not None:
        across = across * widths[..., None]
    chosen = mask & np.isfinite(points).all(axis=-1)
    across, along, metres = across[chosen], along[chosen], surface.distance[chosen].astype(np.float64)
    pixel = metres * np.pi / len(points) if surface.closed else _pixel_of_views(across, along)
    first, second = _replaced(across, along, pixel)
    axes, lengths = _principal(first, second)
    xyzw = Rotation.from_matrix(axes).as_quat()
    scales = SPREAD * np.column_stack([lengths, np.full(len(lengths), _THICKNESS) * lengths.min(axis=1)])
    colours = surface.srgb[chosen]
    logit = math.log(opacity / (1 - opacity))
    return GaussianScene(
        torch.from_numpy(points[chosen].astype(np.float32)),
        torch.from_numpy(np.log(np.maximum(scales, 1e-6)).astype(np.float32)),
        torch.from_numpy(np.roll(xyzw, 1, axis=1).astype(np.float32)),
        torch.full((len(colours),), logit),
        torch.from_numpy(((colours - 0.5) / C0)[:, None, :].astype(np.float32)),
    )


def _steps(points: NDArray[np.float64], torn: Mask, axis: int, closed: bool) -> NDArray[np.float64]:
    """(H, W, 3) step from each pixel's point to the next along an axis, on the same surface; NaN if there is none."""
    after = np.roll(points, -1, axis=axis) - points
    before = points - np.roll(points, 1, axis=axis)
    if not closed:
        edge = [slice(None)] * 2
        edge[axis] = slice(-1, None)
        after[tuple(edge)] = np.nan
        edge[axis] = slice(0, 1)
        before[tuple(edge)] = np.nan
    lengths = [np.linalg.norm(each, axis=-1) for each in (after, before)]
    with np.errstate(invalid="ignore"):
        # At a depth jump the shorter step stays on the pixel's own surface.
        shorter = np.where((np.nan_to_num(lengths[0], nan=np.inf) <= np.nan_to_num(lengths[1], nan=np.inf)), 0, 1)
    single = np.where(shorter[..., None] == 0, after, before)
    one_sided = torn | ~np.isfinite(after + before).all(axis=-1)
    return np.asarray(np.where(one_sided[..., None], single, (after + before) / 2))


def _pixel_of_views(across: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.stack([np.linalg.norm(across, axis=1), np.linalg.norm(along, axis=1)])
    return np.asarray(np.nan_to_num(np.fmin(lengths[0], lengths[1]), nan=1e-3))


def _replaced(
    across: NDArray[np.float64], along: NDArray[np.float64], pixel: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two steps, with gaps and steps across a depth jump replaced."""
    found = []
    for number, step in enumerate((across, along)):
        length = np.linalg.norm(step, axis=1)
        unit = np.eye(3)[number] * pixel[:, None]
        usable = np.isfinite(length) & (length > 1e-9)
        limited = step * np.minimum(1.0, _LONGEST * pixel / np.where(usable, length, 1))[:, None]
        found.append(np.where(usable[:, None], limited, unit))
    return found[0], found[1]


def _principal(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 3, 3) axes as columns, two in the plane of the steps plus the normal, and (N, 2) lengths of the two."""
    a, b, c = (np.einsum("ni,ni->n", x, y) for x, y in ((first, first), (first, second), (second, second)))
    angle = 0.5 * np.arctan2(2 * b, a - c)
    long = np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second
    short = np.cos(angle)[:, None] * second - np.sin(angle)[:, None] * first
    lengths = np.stack([np.linalg.norm(long, axis=1), np.linalg.norm(short, axis=1)], axis=1)
    lengths = np.maximum(lengths, 0.2 * lengths.max(axis=1, keepdims=True))
    x = long / np.maximum(np.linalg.norm(long, axis=1, keepdims=True), 1e-12)
    y = short - np.einsum("ni,ni->n", short, x)[:, None] * x
    size = np.linalg.norm(y, axis=1, keepdims=True)
    other = np.cross(x, np.where(np.abs(x[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    y = np.where(size > 1e-9, y / np.maximum(size, 1e-12), other / np.linalg.norm(other, axis=1, keepdims=True))
    return np.stack([x, y, np.cross(x, y)], axis=2), np.asarray(lengths)
