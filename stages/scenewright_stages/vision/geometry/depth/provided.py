"""The `provided` depth: a measured depth or disparity map that lies beside an image.

Files: ``<stem>.depth.*`` (metres after `scale`) or ``<stem>.disparity.*`` (pixels after `scale`), as
``.npy``, ``.npz``, ``.pfm`` or 16-bit ``.png``, and the camera file `<stem>.camera.json`, which disparity
needs (see `sidecar`). NaN, infinite and non-positive values mean "not measured".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.depth.maps import ProvidedDepthError, read_map
from scenewright_stages.vision.geometry.depth.sidecar import (
    CameraSidecar,
    check_same_shape,
    read_sidecar,
    sidecar_camera,
    sidecar_path,
    stereo_geometry,
)
from scenewright_stages.vision.geometry.framing import PixelWindow
from scenewright_stages.vision.geometry.points import valid_depth
from scenewright_stages.vision.types import Float32Array

MapKind = Literal["depth", "disparity"]


@dataclass(frozen=True, eq=False)
class ProvidedDepth:
    """A measured depth map at its own resolution.

    Attributes:
        depth: (h, w) float32 metres, NaN where not measured.
        sidecar: the camera file, None if there is none.
        notes: what was read and how.
    """

    depth: Float32Array
    sidecar: CameraSidecar | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WindowDepth:
    """The depth of a prepared image: (H, W) float32 metres, NaN where not measured; its camera if known."""

    depth: Float32Array
    camera: Camera | None


def read_provided(
    path: Path, kind: MapKind | None = None, scale: float = 1.0, camera_file: Path | None = None
) -> ProvidedDepth:
    """A map and its camera file.

    Args:
        path: of the map.
        kind: what it holds; None: by its name, ``.disparity.`` or else depth.
        scale: metres (depth) or pixels (disparity) per unit.
        camera_file: None: `<stem>.camera.json` beside the map, if there is one.

    Raises:
        ProvidedDepthError: naming the file or field, what is wrong with it and the remedy.
    """
    if not scale > 0:
        raise ProvidedDepthError("scale", f"{scale} must be positive", "Give metres or pixels per unit")
    held: MapKind = kind or ("disparity" if ".disparity" in path.suffixes else "depth")
    values = read_map(path) * np.float32(scale)
    calibration = camera_file or sidecar_path(path)
    sidecar = read_sidecar(calibration) if camera_file or calibration.is_file() else None
    depth = _depth_from_disparity(values, sidecar, calibration) if held == "disparity" else values
    depth = np.where(valid_depth(depth), depth, np.nan).astype(np.float32)
    valid = float(np.isfinite(depth).mean())
    if valid == 0:
        raise ProvidedDepthError(
            path.name, "has no valid value (all are NaN, infinite or not positive)", "Check the map and scale"
        )
    note = f"{held} map {path.name}: {100 * valid:.1f} % of its pixels are measured"
    return ProvidedDepth(depth, sidecar, (note,))


def window_depth(provided: ProvidedDepth, source_size: tuple[int, int], window: PixelWindow) -> WindowDepth:
    """The map as `prepare` cuts and scales its image.

    Every pixel takes the value of the map's pixel at its centre, or, where that is not measured, the
    nearest measured one inside its own footprint: no value is mixed across an edge.

    Args:
        source_size: (width, height) of the upright source image.

    Raises:
        ProvidedDepthError: if map or camera file have another shape than the image.
    """
    width, height = source_size
    check_same_shape("depth map", (provided.depth.shape[1], provided.depth.shape[0]), source_size)
    camera = None
    if provided.sidecar is not None:
        camera = window.camera(sidecar_camera(provided.sidecar, width, height))
    factors = (provided.depth.shape[1] / width, provided.depth.shape[0] / height)
    return WindowDepth(_sampled(provided.depth, window, factors), camera)


def _depth_from_disparity(disparity: Float32Array, sidecar: CameraSidecar | None, camera_file: Path) -> Float32Array:
    """z = focal * baseline / (disparity + offset)."""
    if sidecar is None:
        raise ProvidedDepthError(
            camera_file.name,
            "is missing, and disparity has no depth without focal length and baseline",
            f"Write focalPixels and baselineMetres to {camera_file.name}",
        )
    height, width = disparity.shape
    check_same_shape("disparity map", (width, height), (sidecar.width, sidecar.height))
    stereo = stereo_geometry(sidecar, width)
    shifted = disparity.astype(np.float64) + stereo.offset
    usable = np.isfinite(shifted) & (shifted > 0)
    depth = np.full(disparity.shape, np.nan)
    depth[usable] = stereo.focal * stereo.baseline / shifted[usable]
    return depth.astype(np.float32)


def _sampled(depth: Float32Array, window: PixelWindow, factors: tuple[float, float]) -> Float32Array:
    columns, rows = window.source_coordinates()
    x, y = columns * factors[0], rows * factors[1]
    sampled = np.full((window.height, window.width), np.nan, np.float32)
    for right, down in _footprint_offsets(factors[0] / window.scale, factors[1] / window.scale):
        column = np.clip((x + right).astype(np.intp), 0, depth.shape[1] - 1)
        row = np.clip((y + down).astype(np.intp), 0, depth.shape[0] - 1)
        sampled = np.where(np.isnan(sampled), depth[row[:, None], column[None]], sampled)
    return sampled


def _footprint_offsets(width: float, height: float) -> list[tuple[float, float]]:
    """Whole-pixel offsets from the centre inside a footprint of that many map pixels, nearest first."""
    right, down = int(width / 2), int(height / 2)
    offsets = [(float(i), float(j)) for i in range(-right, right + 1) for j in range(-down, down + 1)]
    return sorted(offsets, key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, offset))
