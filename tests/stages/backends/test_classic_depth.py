"""The depth backends without weights, as estimators: the prior and the provided map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimator, ProvidedDepthSource
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.geometry.framing import PixelWindow

IMAGE = np.random.default_rng(0).random((64, 96, 3), dtype=np.float32)


def _load(name: str, **options: float) -> DepthEstimator:
    return ModelPool().load(DEPTH, name, ModelContext(options=options))


def test_the_prior_keeps_its_range_and_says_that_it_is_assumed() -> None:
    estimate = _load("classic", far_near_ratio=2.0, near_metres=4.0).estimate(IMAGE)
    assert estimate.depth.min() >= 4.0 - 1e-3
    assert estimate.depth.max() <= 8.0 + 1e-3
    assert not estimate.is_metric
    assert estimate.notes
    assert estimate.confidence.max() < 1


def test_the_prior_keeps_a_given_field_of_view() -> None:
    estimate = _load("classic").estimate(IMAGE, 90.0)
    assert estimate.intrinsics is not None
    assert estimate.intrinsics[0, 0] == pytest.approx(48.0)


def test_an_impossible_range_of_the_prior_is_refused() -> None:
    with pytest.raises(UnsupportedOption):
        _load("classic", far_near_ratio=0.5)


def _map(folder: Path) -> tuple[Path, np.ndarray]:
    values = np.linspace(1, 3, 64 * 96, dtype=np.float32).reshape(64, 96)
    values[10:14, 20:30] = np.nan
    values[0, 0] = np.inf
    path = folder / "photo.depth.npy"
    np.save(path, values)
    return path, values


def test_a_provided_map_is_returned_as_it_is_with_its_gaps(tmp_path: Path) -> None:
    path, values = _map(tmp_path)
    estimate = _load("provided").estimate(IMAGE, 90.0, ProvidedDepthSource(path))
    valid = np.isfinite(values)
    np.testing.assert_array_equal(estimate.depth[valid], values[valid])
    np.testing.assert_array_equal(estimate.valid, valid)
    np.testing.assert_array_equal(estimate.confidence, valid.astype(np.float32))
    assert estimate.is_metric
    assert estimate.intrinsics is not None
    assert estimate.intrinsics[0, 0] == pytest.approx(48.0)


def test_a_provided_map_follows_the_window_the_scale_and_its_camera_file(tmp_path: Path) -> None:
    path, values = _map(tmp_path)
    camera = {"width": 96, "height": 64, "focalPixels": 80.0}
    (tmp_path / "photo.camera.json").write_text(json.dumps(camera))
    window = PixelWindow(left=32.0, top=16.0, scale=1.0, width=32, height=32)
    source = ProvidedDepthSource(path, source_size=(96, 64), window=window, kind="depth", scale=0.5)
    estimate = _load("provided").estimate(np.ascontiguousarray(IMAGE[:32, :32]), 90.0, source)
    np.testing.assert_allclose(estimate.depth, 0.5 * values[16:48, 32:64])
    assert estimate.intrinsics is not None
    assert (estimate.intrinsics[0, 0], estimate.intrinsics[0, 2], estimate.intrinsics[1, 2]) == (80.0, 16.0, 16.0)


def test_without_a_usable_map_the_sample_fails(tmp_path: Path) -> None:
    estimator = _load("provided")
    with pytest.raises(SampleError, match="ProvidedDepthMissing"):
        estimator.estimate(IMAGE)
    path = tmp_path / "photo.depth.npy"
    np.save(path, np.full((64, 96), np.nan, np.float32))
    with pytest.raises(SampleError, match="ProvidedDepthInvalid"):
        estimator.estimate(IMAGE, None, ProvidedDepthSource(path))
