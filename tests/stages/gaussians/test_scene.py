"""Scenes: making them from RGB-D, putting them together, keeping them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from gaussian_scenes import base_srgb, empty_scene, equal_scenes, random_scene, turned_camera

from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.imaging.metrics import psnr


def rgbd(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture with a sloping depth."""
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    srgb = 0.5 + 0.3 * np.sin(8 * rows[..., None] + 5 * columns[..., None] + phase)
    return srgb.astype(np.float32), (2 + rows + 0.5 * columns).astype(np.float32)


def test_an_rgbd_scene_shows_its_own_picture_and_depth() -> None:
    camera = turned_camera(48, 40)
    srgb, depth = rgbd(40, 48)
    rendering = renderer_for("cpu").render(GaussianScene.from_rgbd(srgb, depth, camera), [camera])
    target = torch.from_numpy(srgb)
    inner = slice(4, -4)
    assert psnr(rendering.rgb[0, inner, inner], target[inner, inner]) > 26
    assert psnr(rendering.rgb[0, inner, inner].flip(1), target[inner, inner]) < 20
    error = (rendering.depth[0] - torch.from_numpy(depth)).abs()[inner, inner]
    assert error.max() < 0.03
    assert rendering.alpha[0, inner, inner].min() > 0.7


def test_each_usable_pixel_makes_one_gaussian_of_the_stated_size() -> None:
    camera = turned_camera(12, 10)
    srgb, depth = rgbd(10, 12)
    mask = np.zeros((10, 12), bool)
    mask[3:5, 2:9] = True
    scene = GaussianScene.from_rgbd(srgb, depth, camera, mask, opacity=0.8)
    assert len(scene) == 14
    expected = depth[3, 2] / camera.focal[0] / math.sqrt(2)
    assert scene.log_scales[0].exp().tolist() == pytest.approx([expected] * 3, rel=1e-6)
    assert torch.sigmoid(scene.opacity_logits).tolist() == pytest.approx([0.8] * 14)
    assert torch.allclose(base_srgb(scene)[0], torch.from_numpy(srgb[3, 2]), atol=1e-6)
    pixel = camera.intrinsics @ (camera.camera_from_world[:3] @ np.append(scene.means[0].numpy(), 1))
    assert pixel[:2] / pixel[2] == pytest.approx([2.5, 3.5], abs=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_a_pixel_without_depth_makes_no_gaussian(bad: float) -> None:
    camera = turned_camera(12, 10)
    srgb, depth = rgbd(10, 12)
    depth[4, 4] = bad
    scene = GaussianScene.from_rgbd(srgb, depth, camera)
    assert len(scene) == 119
    assert all(tensor.isfinite().all() for tensor in scene.tensors.values())


def test_pure_black_and_white_have_finite_parameters() -> None:
    camera = turned_camera(4, 4)
    for level in (0.0, 1.0):
        srgb = np.full((4, 4, 3), level, np.float32)
        scene = GaussianScene.from_rgbd(srgb, np.full((4, 4), 2.0, np.float32), camera)
        assert all(tensor.isfinite().all() for tensor in scene.tensors.values())
        assert torch.allclose(base_srgb(scene), torch.tensor(level), atol=1e-6)
    srgb[1, 1, 0] = math.nan
    assert len(GaussianScene.from_rgbd(srgb, np.full((4, 4), 2.0, np.float32), camera)) == 15


@pytest.mark.parametrize("opacity", [0.0, 1.0, math.nan, 1.5])
def test_an_opacity_without_a_logit_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match="opacity"):
        GaussianScene.from_rgbd(*rgbd(4, 4), turned_camera(4, 4), opacity=opacity)


def test_pictures_of_the_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match="the camera sees"):
        GaussianScene.from_rgbd(*rgbd(4, 5), turned_camera(4, 4))


def test_shapes_that_do_not_fit_are_refused() -> None:
    scene = random_scene(5)
    with pytest.raises(ValueError, match="quaternions"):
        GaussianScene(**(scene.tensors | {"quaternions": torch.zeros(5, 3)}))
    with pytest.raises(ValueError, match="spherical_harmonics"):
        GaussianScene(**(scene.tensors | {"spherical_harmonics": torch.zeros(5, 2, 3)}))


def test_concatenation_keeps_order_and_pads_bands() -> None:
    plain, banded = random_scene(4, 1, seed=1), random_scene(3, 9, seed=2)
    both = GaussianScene.concatenate([plain, banded])
    assert both.harmonics_degree == 2
    assert equal_scenes(both.select(slice(0, 4)).with_harmonics(1), plain)
    assert equal_scenes(both.select(torch.tensor([4, 5, 6])), banded)
    assert not both.spherical_harmonics[:4, 1:].any()
    assert len(GaussianScene.concatenate([empty_scene(), plain])) == 4


def test_a_saved_scene_comes_back_bit_by_bit(tmp_path: Path) -> None:
    scene = random_scene(7, 4)
    for name in ("first.npz", "second.npz"):
        scene.save_npz(tmp_path / name)
    assert equal_scenes(GaussianScene.load_npz(tmp_path / "first.npz"), scene)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


def test_an_archive_that_is_no_scene_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", means=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="log_scales"):
        GaussianScene.load_npz(tmp_path / "other.npz")
