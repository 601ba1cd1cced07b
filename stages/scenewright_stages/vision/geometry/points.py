"""Geometry of depth maps: unprojection, projection, edges and occlusion.

Depth is z-depth in metres, (H, W); NaN, infinite and non-positive values mean "no depth". Pixel centres
lie at +0.5, see `cameras`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array, Float64Array, FloatArray, Mask

OCCLUSION_DIVISOR = 30.0  # VistaDream's rule, see `occludes`
_STEP_BACK = np.float32(1.02)
_SNAP_REACH = 2
_SNAP_ROUNDS = 4


def valid_depth(depth: FloatArray) -> Mask:
    """True where there is a depth: finite and positive."""
    return np.isfinite(depth) & np.greater(depth, 0, where=np.isfinite(depth), out=np.zeros(depth.shape, bool))


def pixel_centres(width: int, height: int) -> Float64Array:
    """(H, W, 2) float64 coordinates (x, y) of all pixel centres."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([columns, rows], axis=-1)


def unproject(depth: FloatArray, camera: Camera) -> Float64Array:
    """(H, W, 3) float64 world points of a depth map's pixel centres; NaN where there is no depth.

    Raises:
        ValueError: the depth map's size differs from the camera's.
    """
    _check_size(depth, camera)
    distance = np.where(valid_depth(depth), depth, np.nan).astype(np.float64)
    rays = (pixel_centres(camera.width, camera.height) - camera.principal_point) / camera.focal
    seen = np.concatenate([rays, np.ones((*depth.shape, 1))], axis=-1) * distance[..., None]
    world: Float64Array = seen @ camera.world_from_camera[:3, :3].T + camera.position
    return world


def project(points: FloatArray, camera: Camera) -> tuple[Float64Array, Float64Array]:
    """Pixel coordinates (..., 2) and z-depth (...) of (..., 3) world points; NaN pixels behind the camera."""
    seen = np.asarray(points, np.float64) @ camera.camera_from_world[:3, :3].T
    seen = seen + camera.camera_from_world[:3, 3]
    depth = seen[..., 2]
    safe = np.where(depth > 0, depth, np.nan)
    pixels = seen[..., :2] / safe[..., None] * camera.focal + camera.principal_point
    return pixels, depth


def inside_picture(pixels: FloatArray, depth: FloatArray, camera: Camera) -> Mask:
    """(...) bool: projected points, as from `project`, that lie before a camera and inside its picture."""
    with np.errstate(invalid="ignore"):
        return np.asarray((depth > 0) & np.all((pixels >= 0) & (pixels < (camera.width, camera.height)), axis=-1))


def depth_edges(depth: FloatArray, threshold: float = 0.01) -> Mask:
    """(H, W) bool: valid pixels at a jump from one surface to another.

    On any plane, inverse depth is affine in pixel coordinates, so its second difference is zero at any slant; at a jump
    it equals the jump. A pixel is an edge if the second difference along its row or column exceeds threshold times the
    pixel's inverse depth. (A threshold on the plain gradient would mark every floor near the horizon. A right-angled
    crease reaches 2 / f, with f in pixels, so a threshold well above that excludes creases.) Invalid pixels are never
    edges and do not make their neighbours edges.
    """
    valid = valid_depth(depth)
    inverse = np.divide(1.0, depth, where=valid, out=np.full(depth.shape, np.nan))
    bend = np.fmax(_second_difference(inverse), _second_difference(inverse.T).T)
    jump: Mask = np.nan_to_num(bend) > threshold * np.nan_to_num(inverse, nan=1.0)
    return valid & jump


def snap_edge_depth(depth: FloatArray, threshold: float = 0.01) -> Float32Array:
    """Depth (H, W) float32 whose edge pixels are snapped to one of the two adjacent surfaces.

    Edge pixels of smoothed depth float between two surfaces. Each takes the depth of the nearby surface sample (valid,
    not an edge, within two pixels; the band shrinks from outside in) that is closest in log depth, unless it agrees
    already. The set of valid pixels does not change.
    """
    snapped = depth.astype(np.float32)
    pending = depth_edges(depth, threshold)
    surface = valid_depth(depth) & ~pending
    for _ in range(_SNAP_ROUNDS):
        if not pending.any():
            break
        places = np.flatnonzero(pending)
        nearest, distance = _closest_neighbour(snapped, surface, places)
        reached = np.isfinite(distance)
        moved = reached & (distance > threshold)
        snapped.ravel()[places[moved]] = nearest[moved]
        surface.ravel()[places[reached]] = True
        pending.ravel()[places[reached]] = False
    return snapped


def extend_foreground(depth: FloatArray, reach: int = 2, jump: float = 1.1) -> Float32Array:
    """Depth (H, W) float32 with foreground surfaces dilated by `reach` pixels over the background.

    Estimated outlines are off by a pixel or two. A dark edge pixel assigned to the background floats beside its object
    as soon as the camera moves, but a strip of background on the object is hardly visible. Applies only where depths
    within reach differ by more than the factor `jump`; invalid pixels stay invalid.
    """
    valid = valid_depth(depth)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    nearest = cv2.erode(np.where(valid, depth, np.inf).astype(np.float32), window)
    extended = np.where(valid & (depth > jump * nearest), nearest, depth)
    return np.asarray(extended, np.float32)


def on_surface(depth: FloatArray, tolerance: float = 0.05) -> Mask:
    """(H, W) bool: valid pixels with nearly the same depth as at least two of their eight neighbours.

    Other pixels float between two surfaces. The tolerance is relative.
    """
    log_depth = np.log(np.where(valid_depth(depth), depth, np.nan))
    padded = np.pad(log_depth, 1, constant_values=np.nan)
    height, width = depth.shape
    agreeing = np.zeros(depth.shape, np.uint8)
    for top, left in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        gap = np.abs(padded[top : top + height, left : left + width] - log_depth)
        agreeing += np.less(gap, tolerance)
    return agreeing >= 2


def occludes(depth: FloatArray, camera: Camera, references: Sequence[tuple[FloatArray, Camera]]) -> Mask:
    """(H, W) bool: pixels whose points would occlude what a reference view already sees.

    A point at z-depth d in a reference view whose depth there is r hides it if
    ``r - d > (d + r) / 30`` (VistaDream's rule: nearer by about 7 %).
    """
    valid = valid_depth(depth)
    hides = np.zeros(depth.shape, np.bool_)
    hides[valid] = _is_hidden(unproject(depth, camera)[valid], references)
    return hides


def _is_hidden(points: Float64Array, references: Sequence[tuple[FloatArray, Camera]]) -> Mask:
    """(N,) bool: which of the (N, 3) world points hide what a reference view sees."""
    found = np.zeros(len(points), np.bool_)
    for reference_depth, reference_camera in references:
        pixels, distance = project(points, reference_camera)
        reference = sample_nearest(reference_depth, pixels)
        margin = (distance + reference) / OCCLUSION_DIVISOR
        found |= np.greater(np.nan_to_num(reference - distance - margin, nan=-1.0), 0)
    return found


def moved_behind(
    depth: FloatArray, camera: Camera, references: Sequence[tuple[FloatArray, Camera]], farthest: float
) -> Float32Array:
    """Depth (H, W) float32 whose points hide nothing that a reference view sees (see `occludes`).

    A point that hides something moves back along its own ray: its own view still sees it in the same pixel. One that
    would have to move beyond `farthest` loses its depth (0).
    """
    moved = np.where(valid_depth(depth), depth, 0.0).astype(np.float32)
    hiding = occludes(moved, camera, references)
    rays = (unproject(np.ones_like(moved), camera) - camera.position)[hiding]
    depths, still = moved[hiding], np.ones(len(rays), np.bool_)
    while still.any():
        depths[still] *= _STEP_BACK
        depths[depths > farthest] = 0.0
        still &= depths > 0
        still[still] = _is_hidden(camera.position + depths[still, None] * rays[still], references)
    moved[hiding] = depths
    return moved


def sample_nearest(depth: FloatArray, pixels: FloatArray) -> Float64Array:
    """(...) float64 depth of the pixels that contain the (..., 2) coordinates; NaN if outside or invalid."""
    height, width = depth.shape
    with np.errstate(invalid="ignore"):
        inside = np.all((pixels >= 0) & (pixels < (width, height)), axis=-1)
    columns, rows = np.moveaxis(np.where(inside[..., None], pixels, 0).astype(np.intp), -1, 0)
    sampled = np.where(inside, depth[rows, columns], np.nan).astype(np.float64)
    return np.where(valid_depth(sampled), sampled, np.nan)


def _second_difference(inverse: Float64Array) -> Float64Array:
    """|w(i-1) - 2 w(i) + w(i+1)| along rows; NaN at the border and beside invalid pixels."""
    bend = np.full(inverse.shape, np.nan)
    bend[:, 1:-1] = np.abs(inverse[:, :-2] - 2 * inverse[:, 1:-1] + inverse[:, 2:])
    return bend


def _closest_neighbour(
    depth: Float32Array, surface: Mask, places: NDArray[np.intp]
) -> tuple[Float32Array, Float64Array]:
    """The nearby surface depth closest in log depth for each pixel, and its log distance (inf if none).

    `places` (M,) are flat indices of valid pixels.
    """
    width, reach = depth.shape[1], _SNAP_REACH
    padded_depth = np.pad(depth, reach).ravel()
    padded_surface = np.pad(surface, reach).ravel()
    rows, columns = np.divmod(places, width)
    corner = rows * (width + 2 * reach) + columns
    own = np.log(depth.ravel()[places].astype(np.float64))
    nearest, distance = np.zeros(len(places), np.float32), np.full(len(places), np.inf)
    for top in range(2 * reach + 1):
        for left in range(2 * reach + 1):
            there = corner + top * (width + 2 * reach) + left
            usable = padded_surface[there]
            metres = np.where(usable, padded_depth[there], np.float32(1))
            gap = np.where(usable, np.abs(np.log(metres.astype(np.float64)) - own), np.inf)
            closer = gap < distance
            nearest[closer], distance[closer] = metres[closer], gap[closer]
    return nearest, distance


def _check_size(depth: FloatArray, camera: Camera) -> None:
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f"depth has shape {depth.shape}, the camera {camera.width}x{camera.height}")
