"""The height of a face above the image plane, and the shadows that its nose, brows and chin cast.

Shadows are computed on a small grid: a cell is in shadow if something towards the light is higher than the ray. The
light is a disc, seen by points spread over it, so a shadow is sharp where it begins and fades with the distance of what
casts it. Nothing is known around the face, so hair and ears receive no shadow. Below the chin the surface is assumed to
fall back to the neck.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import distance_transform_edt

from scenewright_stages.vision.subjects.people.face_mesh import INNER_LIPS
from scenewright_stages.vision.types import Float32Array, Float64Array

Vector = tuple[float, float, float]

_SMOOTHING = 3e-3  # of the spline, for faces of width 1
_FOREHEAD, _CHIN = 10, 152
_CELLS = 48  # across the face
_MARGINS = (0.85, 0.1, 0.85)  # beside, above and below the face, in widths of it
_NECK = 0.5  # how far behind the chin, in widths of the face
_STEEP = 1.5  # of the fall from the chin to the neck
_NEAREST = 3  # cells; nearer occlusion is the surface's own slope, which the normals cover
_PENUMBRA = (0.35, 0.6)  # slopes over which the shadow of one point of a hard and a soft light fades
_DISC = (0.28, 0.45)  # radius of a hard and of a soft light, radians
_RING = 8  # points on the disc's edge; one more lies in its middle
_DEEPEST = 0.65  # of the direct light is what a shadow takes away: the lit skin around it shines in
_LEAST_SLANT = 0.17  # a light nearer to the camera's axis casts no visible shadow
_NECK_REACH = 0.8  # how far below the face shadows fall, in widths of it
_JAW = 0.4  # how far above the chin the neck begins, in widths of the face
_AROUND = 0.2  # width of the blur beyond the face's outline, in widths of it


def face_heights(mesh: Float64Array, columns: Float64Array, rows: Float64Array) -> Float32Array:
    """Height towards the camera at image positions, pixels; interpolated between the lips.

    Args:
        mesh: (468, 3), pixels of the image, from ``face_meshes``.
        columns, rows: the positions, arrays of equal shape.
    """
    size, middle, surface = _fitted(mesh.tobytes())
    places = np.stack([(columns.ravel() - middle[0]) / size, (rows.ravel() - middle[1]) / size], axis=-1)
    return np.asarray(surface(places).reshape(columns.shape) * size, np.float32)


@lru_cache(maxsize=16)
def _fitted(points: bytes) -> tuple[float, Float64Array, RBFInterpolator]:
    """Width and centre of a mesh, and its spline in these units; cached for normals and shadows of all lights."""
    mesh = np.frombuffer(points).reshape(-1, 3)
    size = float(np.ptp(mesh[:, 0]))
    known = np.delete(mesh, INNER_LIPS, axis=0)
    middle = known.mean(axis=0)
    scaled = (known - middle) / size
    surface = RBFInterpolator(scaled[:, :2], -scaled[:, 2], kernel="thin_plate_spline", smoothing=_SMOOTHING)
    return size, middle, surface


def cast_shadows(
    shape: tuple[int, int], meshes: Sequence[Float64Array], direction: Vector, hardness: float
) -> Float32Array | None:
    """Visibility of a light after shadows cast by faces; None if no face casts a shadow.

    Args:
        shape: (H, W) of the image.
        meshes: (468, 3) each, from ``face_meshes``.
        direction: unit vector towards the light, camera frame.
        hardness: of the light, 0 to 1; softer lights have a wider penumbra.

    Returns:
        (H, W) float32 in [0, 1].
    """
    if not meshes or np.hypot(direction[0], direction[1]) < _LEAST_SLANT:
        return None
    arrives = np.ones(shape, np.float32)
    for mesh in meshes:
        _darken(arrives, mesh, direction, hardness)
    return arrives


def _darken(arrives: Float32Array, mesh: Float64Array, direction: Vector, hardness: float) -> None:
    """Adds the shadows of one face in place."""
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    size = float(high[0] - low[0])
    beside, above, below = (share * size for share in _MARGINS)
    left, top = round(low[0] - beside), round(low[1] - above)
    right, bottom = round(high[0] + beside), round(high[1] + below)
    cell = size / _CELLS
    grid = np.meshgrid(np.arange(left, right, cell), np.arange(top, bottom, cell))
    face, heights, receives = _ground(mesh, size, *grid)
    standing = heights / np.float32(cell)
    points = _points(direction, hardness)
    blocked = np.mean([1 - _unobstructed(standing, face, point, hardness) for point in points], axis=0)
    light = np.asarray(1 - _DEEPEST * receives * blocked, np.float32)
    large = np.minimum(cv2.resize(light, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR), 1)
    inner = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    part = arrives[inner]
    part *= large[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]


def _points(direction: Vector, hardness: float) -> list[Vector]:
    """Unit vectors towards the middle and the edge of a disc of light."""
    small, large = _DISC
    radius = large + (small - large) * hardness
    middle = np.array(direction)
    beside = np.array([-direction[1], direction[0], 0.0])
    beside /= np.linalg.norm(beside)
    above = np.cross(middle, beside)
    found = [direction]
    for angle in np.arange(_RING) * (2 * np.pi / _RING):
        point = middle + np.tan(radius) * (np.cos(angle) * beside + np.sin(angle) * above)
        x, y, z = (point / np.linalg.norm(point)).tolist()
        found.append((x, y, z))
    return found


def _ground(
    mesh: Float64Array, size: float, columns: Float64Array, rows: Float64Array
) -> tuple[NDArray[np.bool_], Float32Array, Float32Array]:
    """(h, w) face mask, height of face and neck in pixels, and how strongly each pixel receives shadows."""
    cell = columns[0, 1] - columns[0, 0]
    corner = np.array([columns[0, 0], rows[0, 0]])
    outline = cv2.convexHull(np.asarray((mesh[:, :2] - corner) / cell, np.float32))
    inside = np.zeros(columns.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.rint(outline).astype(np.int32), 1)
    face = inside > 0
    heights = np.zeros(columns.shape, np.float32)
    heights[face] = face_heights(mesh, columns[face], rows[face])
    steps, (row, column) = distance_transform_edt(~face, return_indices=True)
    distance = steps * cell
    down = mesh[_CHIN, :2] - mesh[_FOREHEAD, :2]
    down /= np.linalg.norm(down)
    from_chin = np.stack([columns - mesh[_CHIN, 0], rows - mesh[_CHIN, 1]], axis=-1) @ down
    below = np.clip(1 + from_chin / (_JAW * size), 0, 1) ** 2
    # Extending the outline's heights outwards would leave visible rays.
    around = cv2.GaussianBlur(heights[row, column], (0, 0), _AROUND * size / cell)
    neck = around - np.minimum(_STEEP * distance, _NECK * size) * below
    receives = np.where(face, 1, below * np.clip(1 - distance / (_NECK_REACH * size), 0, 1))
    ground = np.where(face, heights, neck).astype(np.float32)
    return (
        face,
        np.asarray(cv2.GaussianBlur(ground, (0, 0), 1.0), np.float32),
        np.asarray(cv2.GaussianBlur(receives, (0, 0), 1.5), np.float32),
    )


def _unobstructed(heights: Float32Array, casts: NDArray[np.bool_], direction: Vector, hardness: float) -> Float32Array:
    """(h, w) share of the light that reaches a height field in cell units; only cells in `casts` occlude."""
    standing = np.where(casts, heights, np.float32(-1e6))
    slant = max(float(np.hypot(direction[0], direction[1])), 1e-3)
    across, down = direction[0] / slant, direction[1] / slant
    hard, soft = _PENUMBRA
    width = soft + (hard - soft) * hardness
    steepness = -direction[2] / slant
    # Farther away nothing stands high enough.
    farthest = float(np.ptp(heights)) / max(steepness - width / 2, 0.05)
    horizon = np.full(heights.shape, -1e6, np.float32)
    for step in range(_NEAREST, min(max(heights.shape), int(farthest) + _NEAREST + 1)):
        toward = np.array([[1, 0, -step * across], [0, 1, -step * down]])
        seen = cv2.warpAffine(standing, toward, heights.shape[::-1], borderValue=-1e6)
        np.maximum(horizon, (seen - heights) / np.float32(step), out=horizon)
    share = np.clip((steepness - horizon) / width + 0.5, 0, 1)
    smooth = np.asarray(share * share * (3 - 2 * share), np.float32)
    return cv2.GaussianBlur(smooth, (0, 0), 1.2)  # type: ignore[return-value]
