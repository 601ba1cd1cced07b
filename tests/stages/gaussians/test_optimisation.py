"""Fitting: quality on held-out views, frozen rows, exactness of the shortcuts, determinism."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
import pytest
import torch
import torch_reference
from gaussian_scenes import base_srgb, empty_scene, equal_scenes, random_scene, turned_camera
from synthetic import box_room, cameras_inside, render

from scenewright_stages.vision.gaussians import cpu_fitting
from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import optimise, trainable_rows
from scenewright_stages.vision.gaussians.scene import GaussianScene

RENDERER = CpuRenderer()
MOST_THREADS = numba.get_num_threads()
L1_ONLY = OptimisationSettings(iterations=12, loss="l1", ssim_weight=0.0)


@pytest.fixture
def threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def random_views(masked: bool = True) -> list[View]:
    """Two unrelated pictures of noise: every tile has a gradient."""
    random = torch.Generator().manual_seed(5)
    views = []
    for degrees in (17.0, -9.0):
        camera = turned_camera(70, 50, degrees)
        mask = torch.rand(50, 70, generator=random) > 0.3 if masked else None
        depth = 1 + 3 * torch.rand(50, 70, generator=random)
        views.append(View(camera, torch.rand(50, 70, 3, generator=random), mask, depth))
    return views


@dataclass(frozen=True)
class RoomFit:
    """A room seen from 24 cameras, six more held out, and a start from noisy points."""

    start: GaussianScene
    train: list[View]
    held_out: list[View]


def room_fit(size: int, share: float) -> RoomFit:
    world, seed = box_room(0), 0
    pictures = [render(world, camera) for camera in cameras_inside(world, 30, size, size, seed=seed)]
    views = [View(picture.camera, torch.from_numpy(picture.srgb)) for picture in pictures]
    random = np.random.default_rng(seed)
    train = [k for k in range(30) if k % 5 != 2]
    parts = []
    for k in train:
        chosen = random.random((size, size)) < share
        parts.append(GaussianScene.from_rgbd(pictures[k].srgb, pictures[k].depth, views[k].camera, chosen))
    points = GaussianScene.concatenate(parts)
    noise = torch.from_numpy(random.normal(0, 0.01, (len(points), 3)).astype(np.float32))
    sigma = points.log_scales[:, 0].exp() * (0.2 / share) ** 0.5 * 1.6
    start = GaussianScene.from_points(points.means + noise, base_srgb(points), sigma, opacity=0.5)
    held_out = [views[k] for k in range(30) if k not in train]
    return RoomFit(start, [views[k] for k in train], held_out)


@pytest.mark.slow
def test_a_fitted_room_is_right_from_views_it_never_saw() -> None:
    fit = room_fit(96, 0.05)
    settings = OptimisationSettings(iterations=400, means_rate=1e-3, means_decay=0.05, harmonics_rate=1e-2, loss="l1")
    result = optimise(fit.start, fit.train, settings, 0, RENDERER)
    before = evaluate(fit.start, fit.held_out, RENDERER)
    after = evaluate(result.scene, fit.held_out, RENDERER)
    assert before.psnr < 25, "the start alone must not reach the bar"
    assert after.psnr >= 25
    assert after.psnr > before.psnr + 5
    assert after.ssim > before.ssim + 0.1
    assert evaluate(result.scene, fit.train, RENDERER).psnr >= 30
    assert result.seconds <= 180


@pytest.mark.parametrize("rows", [None, slice(300, None), slice(395, None)])
@pytest.mark.parametrize(
    "settings",
    [
        OptimisationSettings(iterations=12),
        L1_ONLY,
        OptimisationSettings(iterations=12, depth_weight=0.3, means_decay=0.1, smooth_l1_beta=0.05),
        OptimisationSettings(iterations=12, largest_growth=1.02, largest_colour_change=0.005),
        OptimisationSettings(iterations=12, opacity_weight=0.5, scale_weight=0.5, noise=1e3),
    ],
)
def test_the_compiled_loop_does_what_autograd_and_torch_adam_do(
    rows: slice | None, settings: OptimisationSettings
) -> None:
    scene, sequence = random_scene(400, 4), np.random.default_rng(0).integers(2, size=12)
    arguments = (scene, random_views(), settings, sequence, RENDERER, trainable_rows(400, rows), None)
    compiled, losses = cpu_fitting.fit(*arguments)
    plain, plain_losses = torch_reference.fit(*arguments)
    assert np.abs(losses - plain_losses).max() < 1e-6
    for name, tensor in compiled.tensors.items():
        moved = (plain.tensors[name] - scene.tensors[name]).norm()
        assert (tensor - plain.tensors[name]).norm() < 1e-3 * moved, name
        assert moved > 0


@pytest.mark.parametrize("rows", [slice(380, None), torch.arange(400) % 40 == 3])
def test_active_tiles_alone_give_the_result_of_all_tiles(rows: slice | torch.Tensor) -> None:
    scene, views = random_scene(400, seed=4), random_views()
    settings = OptimisationSettings(iterations=15)
    fast = optimise(scene, views, settings, 3, RENDERER, rows)
    sequence = np.random.default_rng(3).integers(2, size=15)
    full, losses = torch_reference.fit(scene, views, settings, sequence, RENDERER, trainable_rows(400, rows), None)
    assert np.abs(fast.losses - losses).max() < 1e-6
    for name, tensor in fast.scene.tensors.items():
        assert torch.allclose(tensor, full.tensors[name], atol=1e-5), name


@pytest.mark.parametrize("rows", [slice(30, None), slice(0, 7), torch.arange(50) % 3 == 1, torch.tensor([4])])
def test_frozen_rows_stay_bit_identical(rows: slice | torch.Tensor) -> None:
    scene = random_scene(50, 4)
    original = scene.clone()
    result = optimise(scene, random_views(), OptimisationSettings(iterations=10), 0, RENDERER, rows).scene
    changed = torch.zeros(50, dtype=torch.bool)
    changed[rows] = True
    assert equal_scenes(scene, original), "the argument must be left alone"
    assert equal_scenes(result.select(~changed), original.select(~changed))
    assert (result.means != original.means).any(dim=1)[changed].all()


def test_unsupervised_pixels_do_not_pull() -> None:
    scene, view = random_scene(60), random_views()[0]
    other = torch.where(view.supervised()[..., None], view.srgb, 1 - view.srgb)
    changed = View(view.camera, other, view.mask)
    settings = OptimisationSettings(iterations=8, ssim_weight=0.0)
    results = [optimise(scene, [v], settings, 0, RENDERER).scene for v in (view, changed)]
    assert equal_scenes(*results)
    everything = View(view.camera, other)
    assert not equal_scenes(results[0], optimise(scene, [everything], settings, 0, RENDERER).scene)


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(threads: None) -> None:
    scene, views = random_scene(500, 4), random_views()
    settings = OptimisationSettings(iterations=20)
    results = []
    for count in (1, MOST_THREADS):
        numba.set_num_threads(count)
        results.append(optimise(scene, views, settings, 11, RENDERER))
    assert equal_scenes(results[0].scene, results[1].scene)
    assert results[0].losses.tobytes() == results[1].losses.tobytes()
    other = optimise(scene, views, settings, 12, RENDERER)
    assert not equal_scenes(results[0].scene, other.scene)


def test_gaussians_grow_no_further_than_allowed() -> None:
    scene, views = random_scene(100), random_views()
    grown = []
    for limit in (1.05, math.inf):
        settings = OptimisationSettings(iterations=40, largest_growth=limit)
        fitted = optimise(scene, views, settings, 0, RENDERER).scene
        grown.append(float((fitted.log_scales - scene.log_scales).max().exp()))
    assert grown[0] <= 1.05 * (1 + 1e-6)
    assert grown[1] > 1.1


def test_colours_stay_as_near_their_first_value_as_the_setting_demands() -> None:
    scene, views = random_scene(100), random_views()
    moved = []
    for limit in (0.02, math.inf):
        settings = OptimisationSettings(iterations=40, largest_colour_change=limit)
        fitted = optimise(scene, views, settings, 0, RENDERER).scene
        change = fitted.spherical_harmonics[:, 0] - scene.spherical_harmonics[:, 0]
        moved.append(float(C0 * change.abs().max()))
    assert moved[0] == pytest.approx(0.02, abs=1e-5)
    assert moved[1] > 0.022


def test_the_loss_falls_and_progress_is_reported() -> None:
    told: list[tuple[int, int]] = []
    settings = OptimisationSettings(iterations=25)
    views = random_views()[:1]
    result = optimise(random_scene(300), views, settings, 0, RENDERER, on_progress=lambda *n: told.append(n))
    assert result.losses[-1] < result.losses[0]
    assert np.all(np.isfinite(result.losses))
    assert told == [(10, 25), (20, 25), (25, 25)]


def test_the_reported_loss_is_the_whole_pictures() -> None:
    scene, view = random_scene(200), random_views()[0]
    settings = OptimisationSettings(iterations=1, ssim_weight=0.0, coverage_weight=0.25, loss="l1")
    few = optimise(scene, [view], settings, 0, RENDERER, slice(195, None)).losses[0]
    rendering = RENDERER.render(scene, [view.camera])
    colour = (rendering.rgb[0] - view.srgb).abs()[view.mask].mean()
    uncovered = (1 - rendering.alpha[0])[view.mask].mean()
    assert few == pytest.approx(float(colour + 0.25 * uncovered), rel=1e-5)


def test_the_coverage_term_keeps_dark_surfaces_opaque() -> None:
    camera = turned_camera(40, 30)
    dark = torch.full((30, 40, 3), 0.02)
    start = GaussianScene.from_rgbd(2 * dark, torch.full((30, 40), 2.0), camera, opacity=0.8)
    alphas = []
    for weight in (0.05, 0.0):
        settings = OptimisationSettings(iterations=60, ssim_weight=0.0, coverage_weight=weight, harmonics_rate=0.0)
        fitted = optimise(start, [View(camera, dark)], settings, 0, RENDERER).scene
        alphas.append(float(RENDERER.render(fitted, [camera]).alpha.mean()))
    assert alphas[0] > 0.97
    assert alphas[1] < 0.7


@pytest.mark.parametrize("scene", [empty_scene(), random_scene(3)])
def test_nothing_to_fit_changes_nothing(scene: GaussianScene) -> None:
    away = turned_camera(20, 20, 180.0)
    view = View(away, torch.rand(20, 20, 3))
    unseen = optimise(scene, [view], OptimisationSettings(iterations=3), 0, RENDERER)
    assert equal_scenes(unseen.scene, scene)
    nobody = optimise(scene, random_views(), OptimisationSettings(iterations=3), 0, RENDERER, slice(0, 0))
    assert equal_scenes(nobody.scene, scene)
    assert np.all(np.isfinite(nobody.losses))


def test_an_empty_mask_costs_nothing() -> None:
    view = View(turned_camera(20, 20), torch.rand(20, 20, 3), torch.zeros(20, 20, dtype=torch.bool))
    scene = random_scene(5)
    result = optimise(scene, [view], OptimisationSettings(iterations=2), 0, RENDERER)
    assert not result.losses.any()
    assert equal_scenes(result.scene, scene)


def test_bad_arguments_are_refused() -> None:
    camera = turned_camera(20, 20)
    with pytest.raises(ValueError, match="at least one view"):
        optimise(random_scene(3), [], OptimisationSettings(), 0, RENDERER)
    with pytest.raises(ValueError, match="srgb"):
        View(camera, torch.zeros(20, 21, 3))
    with pytest.raises(ValueError, match="not finite"):
        View(camera, torch.full((20, 20, 3), torch.nan))
    with pytest.raises(ValueError, match="mask"):
        View(camera, torch.zeros(20, 20, 3), torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="not negative"):
        OptimisationSettings(means_rate=-1.0)
    with pytest.raises(ValueError, match="means_decay"):
        OptimisationSettings(means_decay=0.0)
    with pytest.raises(ValueError, match="trainable"):
        trainable_rows(5, torch.ones(4, dtype=torch.bool))
    with pytest.raises(IndexError):
        trainable_rows(5, torch.tensor([7]))
