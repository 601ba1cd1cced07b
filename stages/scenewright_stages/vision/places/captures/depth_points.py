"""Start points from the depth maps of a capture's photographs, where no file brings points.

Depth is along the viewing axis, as nerfstudio stores it. Points that the maps of other photographs contradict are left
out; if hardly any remain, the maps are not in the unit of the poses, and none is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.depth.maps import ProvidedDepthError, read_map
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError, Shot

_POINTS = 20_000
_AGREES = 0.05
"""Largest relative difference of two depths of the same place."""
_LEAST_SHARE = 0.65
"""Least share of the points that agree with another photograph, of those that one could contradict.

In a room of two metres right maps reach 0.98; maps in a unit three times too long or short 0.58 and 0.46.
"""
_NO_COLOUR = 128


def with_depth_points(capture: Capture, local: Callable[[str], Path]) -> Capture:
    """The capture with points from its depth maps; unchanged if it has points or no such maps.

    Args:
        capture: as read.
        local: path of a file of the capture on this machine.

    Raises:
        CaptureError: a map cannot be read, or the maps contradict the poses.
    """
    shots = [shot for shot in capture.shots if shot.depth]
    if len(capture.points) or not shots:
        return capture
    maps = [_map(shot, local(shot.depth)) * np.float32(capture.depth_unit) for shot in shots]
    each = max(1, _POINTS // len(shots))
    points = np.concatenate([_unprojected(shot, depth, each) for shot, depth in zip(shots, maps, strict=True)])
    confirmed, contradicted = _judged(points, shots, maps)
    judged = int((confirmed | contradicted).sum())
    share = confirmed.sum() / max(1, judged)
    if share < _LEAST_SHARE:
        raise CaptureError(
            "Depth",
            f"depth_file_path: only {share:.0%} of the depths agree from photograph to photograph: they are not in the "
            f"unit of the poses (depth_unit_scale_factor is {capture.depth_unit:g}), or lens (w, h, fl_x, "
            f"fl_y, cx, cy) or poses are wrong; correct {shots[0].lens.source or 'them'} and its like, or remove "
            "depth_file_path",
        )
    kept = points[confirmed | ~contradicted]
    return replace(capture, points=kept, colours=np.full(kept.shape, _NO_COLOUR, np.uint8))


def _map(shot: Shot, path: Path) -> NDArray[np.float32]:
    """(H, W) depth in the file's steps; 0 where it is unknown."""
    try:
        values = read_map(path)
    except ProvidedDepthError as problem:
        raise CaptureError("Depth", f"{shot.depth}: {problem.message}. {problem.remedy}") from problem
    if abs(values.shape[1] * shot.lens.height / (values.shape[0] * shot.lens.width) - 1) > 0.02:
        size = f"{values.shape[1]}x{values.shape[0]}"
        raise CaptureError(
            "Depth",
            f"{shot.depth} has {size} pixels, its photograph {shot.lens.width}x{shot.lens.height} (w and h of "
            f"{shot.lens.source or 'its lens'})",
        )
    return np.where(np.isfinite(values) & (values > 0), values, 0).astype(np.float32)


def _unprojected(shot: Shot, depth: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """(N, 3) world points of about `count` pixels of a regular grid, those without depth left out."""
    step = max(1, int(np.sqrt(depth.size / count)))
    rows, columns = np.mgrid[step // 2 : depth.shape[0] : step, step // 2 : depth.shape[1] : step]
    known = depth[rows, columns] > 0
    rows, columns = rows[known], columns[known]
    scale = np.array([shot.lens.width / depth.shape[1], shot.lens.height / depth.shape[0]])
    pixels = (np.stack([columns, rows], axis=1) + 0.5) * scale
    z = depth[rows, columns].astype(np.float64)
    rays = np.concatenate([_undistorted(shot, pixels), np.ones((len(pixels), 1))], axis=1)
    pose = shot.pinhole().world_from_camera
    return np.asarray((rays * z[:, None]) @ pose[:3, :3].T + pose[:3, 3])


def _undistorted(shot: Shot, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) normalised image coordinates of pixels (N, 2)."""
    lens = shot.lens
    if not len(pixels):
        return np.zeros((0, 2))
    if not lens.distortion.size:
        focal, centre = np.array(lens.focal), lens.intrinsics[:2, 2]
        return np.asarray((pixels - centre) / focal)
    undistort = cv2.fisheye.undistortPoints if lens.fisheye else cv2.undistortPoints
    return np.asarray(undistort(pixels[:, None], lens.intrinsics, lens.distortion), np.float64)[:, 0]


def _judged(
    points: NDArray[np.float64], shots: list[Shot], maps: list[NDArray[np.float32]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which points a second map confirms, and which one contradicts by showing something behind them."""
    agreeing = np.zeros(len(points), np.intp)
    behind = np.zeros(len(points), np.intp)
    for shot, depth in zip(shots, maps, strict=True):
        camera = shot.pinhole()
        inside = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
        z = inside[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            places = inside[:, :2] / z[:, None] * camera.focal + camera.principal_point
        scale = np.array([depth.shape[1] / camera.width, depth.shape[0] / camera.height])
        places = np.where(z[:, None] > 0, places * scale, -1)
        seen = (places >= 0).all(axis=1) & (places < (depth.shape[1], depth.shape[0])).all(axis=1)
        columns, rows = places[seen].astype(np.intp).T
        own = depth[rows, columns]
        known = own > 0
        agreeing[seen] += known & (np.abs(own - z[seen]) <= _AGREES * z[seen])
        behind[seen] += known & (own > (1 + _AGREES) * z[seen])
    # Every point agrees with its own map.
    return agreeing >= 2, (behind > 0) & (agreeing < 2)
