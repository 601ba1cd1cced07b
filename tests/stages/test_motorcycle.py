"""A real stereo pair: the geometry chain from a disparity file to the other camera's picture.

Middlebury 2014 "Motorcycle" at quarter size, as shipped by scikit-image. The forward warp measured here is
what a scene made from the left view has to come close to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from warping import forward_warp

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.geometry.depth.provided import read_provided, window_depth
from scenewright_stages.vision.geometry.framing import PixelWindow, prepared_window, resample
from scenewright_stages.vision.geometry.points import depth_edges, snap_edge_depth, valid_depth

data = pytest.importorskip("skimage.data")
SIDECAR = {
    "width": 741,
    "height": 500,
    "focalPixels": 994.978,
    "principalPoint": [311.193, 254.877],
    "pixelCentres": 0.0,
    "baselineMetres": 0.193001,
    "disparityOffsetPixels": 31.086,
}


@pytest.fixture(scope="module")
def pair() -> Any:
    left, right, disparity = data.stereo_motorcycle()
    return left.astype(np.float32) / 255, right.astype(np.float32) / 255, disparity


def measured(disparity: Any, folder: Path) -> tuple[Any, Camera]:
    """Depth and left camera, read from files as a user would provide them."""
    np.savez_compressed(folder / "left.disparity.npz", disparity)
    (folder / "left.camera.json").write_text(json.dumps(SIDECAR))
    whole = PixelWindow(0, 0, 1.0, 741, 500)
    result = window_depth(read_provided(folder / "left.disparity.npz"), (741, 500), whole)
    assert result.camera is not None
    return result.depth, result.camera


def right_camera(left: Camera) -> Camera:
    moved = left.with_pose(rigid(np.eye(3), (-SIDECAR["baselineMetres"], 0, 0)))  # type: ignore[operator]
    intrinsics = moved.intrinsics.copy()
    intrinsics[0, 2] += SIDECAR["disparityOffsetPixels"]
    return Camera(intrinsics, left.width, left.height, moved.camera_from_world)


def psnr(first: Any, second: Any, where: Any) -> float:
    return float(-10 * np.log10(np.mean((first - second)[where] ** 2)))


def test_a_warp_by_the_measured_disparity_shows_the_right_view(pair: Any, tmp_path: Path) -> None:
    left, right, disparity = pair
    depth, camera = measured(disparity, tmp_path)
    target = right_camera(camera)
    warped = forward_warp(left, depth, camera, target)
    seen = warped.covered
    assert 0.8 < seen.mean() < 0.9
    quality = psnr(warped.srgb, right, seen)
    assert quality > 28.3
    assert psnr(left, right, seen) < quality - 14, "the left view itself"
    constant = max(_constant(left, right, seen, shift) for shift in range(10, 70, 4))
    assert constant < quality - 12, "the best single disparity"
    off = forward_warp(left, measured(disparity + 1, tmp_path)[0], camera, target)
    assert psnr(off.srgb, right, off.covered & seen) < quality - 3, "one pixel off"


def _constant(left: Any, right: Any, seen: Any, shift: int) -> float:
    return psnr(np.roll(left, -shift, axis=1), right, seen)


def test_snapped_edges_keep_pixels_that_dropped_edges_lose(pair: Any, tmp_path: Path) -> None:
    left, right, disparity = pair
    depth, camera = measured(disparity, tmp_path)
    target = right_camera(camera)
    edges = depth_edges(depth, 0.01)
    snapped = snap_edge_depth(depth, 0.01)
    assert 0.01 < edges.mean() < 0.05
    np.testing.assert_array_equal(valid_depth(snapped), valid_depth(depth))
    whole = forward_warp(left, depth, camera, target)
    kept = forward_warp(left, snapped, camera, target)
    dropped = forward_warp(left, np.where(edges, np.nan, depth), camera, target)
    assert kept.covered.mean() >= whole.covered.mean() > dropped.covered.mean() + 0.015
    assert psnr(kept.srgb, right, kept.covered) >= psnr(whole.srgb, right, whole.covered)


def test_half_size_follows_the_prepared_window_exactly(pair: Any, tmp_path: Path) -> None:
    """At 384 px the crop, the scale and the camera must agree: half a pixel of error would cost decibels."""
    left, right, disparity = pair
    measured(disparity, tmp_path)
    window = prepared_window(741, 500, 384)
    result = window_depth(read_provided(tmp_path / "left.disparity.npz"), (741, 500), window)
    assert result.camera is not None and (result.camera.width, result.camera.height) == (384, 256)
    full = right_camera(measured(disparity, tmp_path)[1])
    target = window.camera(full)
    source, truth = resample(left, window), resample(right, window)
    warped = forward_warp(source, result.depth, result.camera, target)
    quality = psnr(warped.srgb, truth, warped.covered)
    shifted = forward_warp(source, result.depth, result.camera, target.cropped(1, 0, 384, 256))
    assert quality > 27
    assert psnr(shifted.srgb, truth, shifted.covered & warped.covered) < quality - 3
