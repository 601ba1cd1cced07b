"""PSNR and SSIM against independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gaussian_scenes import random_scene, turned_camera

from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.imaging import metrics
from scenewright_stages.vision.imaging.metrics import ssim


def noisy_pair(sigma: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :50] / 50
    picture = 0.5 + 0.4 * np.sin(9 * rows[..., None] + 7 * columns[..., None] + np.arange(3))
    noisy = np.clip(picture + random.normal(0, sigma, picture.shape), 0, 1)
    return picture.astype(np.float32), noisy.astype(np.float32)


def test_psnr_of_a_known_error() -> None:
    flat = torch.zeros(8, 8, 3)
    assert float(metrics.psnr(flat, flat + 0.1)) == pytest.approx(20.0, abs=1e-4)
    assert math.isinf(metrics.psnr(flat, flat))
    half = torch.zeros(8, 8, dtype=torch.bool)
    half[:4] = True
    other = flat.clone()
    other[:4], other[4:] = 0.1, 0.7
    assert float(metrics.psnr(flat, other, half)) == pytest.approx(20.0, abs=1e-4)
    assert float(metrics.psnr(flat, other)) < 10


def test_ssim_agrees_with_scikit_image() -> None:
    measure = pytest.importorskip("skimage.metrics")
    picture, noisy = noisy_pair()
    expected = measure.structural_similarity(
        picture,
        noisy,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2,
        data_range=1.0,
    )
    exact, disturbed = torch.from_numpy(picture), torch.from_numpy(noisy)
    assert float(ssim(exact, disturbed)) == pytest.approx(expected, abs=2e-4)
    assert 0.2 < expected < 0.9
    assert float(ssim(exact, exact)) == pytest.approx(1.0, abs=1e-6)


def test_bad_images_are_refused() -> None:
    picture = torch.zeros(20, 20, 3)
    with pytest.raises(ValueError, match="compared"):
        metrics.psnr(picture, picture[:10])
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(picture[:10], picture[:10])
    with pytest.raises(ValueError, match="empty mask"):
        metrics.psnr(picture, picture, torch.zeros(20, 20, dtype=torch.bool))


def test_evaluation_reports_each_view_and_the_mean() -> None:
    scene, cameras = random_scene(100), [turned_camera(30, 30, degrees) for degrees in (17.0, 12.0)]
    renderer = renderer_for("cpu")
    exact = renderer.render(scene, cameras).rgb.clamp(0, 1)
    views = [View(cameras[0], exact[0]), View(cameras[1], (exact[1] * 0.5))]
    result = evaluate(scene, views, renderer)
    assert math.isinf(result.views[0].psnr)
    assert result.views[0].ssim == pytest.approx(1.0, abs=1e-5)
    assert result.views[1].psnr < 25
    assert result.ssim == pytest.approx((result.views[0].ssim + result.views[1].ssim) / 2)
    assert 0 < result.covered < 1
    with pytest.raises(ValueError, match="at least one view"):
        evaluate(scene, [], renderer)
