"""Drawing only the tiles that trainable Gaussians can change: which tiles those are, and that nothing else matters.

gsplat needs a CUDA device; here a plain stand-in takes its place, whose undefined values are NaN. The same comparison
with gsplat itself is in tests/gpu.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import plain_gsplat
import pytest
import torch
import torch_reference
from gaussian_scenes import random_scene, turned_camera

from scenewright_stages.vision.gaussians import gsplat_fitting, gsplat_kernels
from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import trainable_rows
from scenewright_stages.vision.gaussians.scene import GaussianScene

RENDERER = CpuRenderer()
WIDTH, HEIGHT = 70, 50


def random_bools(shape: tuple[int, ...], share: float, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.parametrize(("height", "width"), [(50, 70), (48, 64), (1, 17)])
def test_tiles_hold_what_their_pixels_hold(height: int, width: int) -> None:
    pixels = random_bools((height, width), 0.01)
    found = gsplat_kernels.tiles_holding(pixels)
    assert tuple(found.shape) == gsplat_kernels.tile_grid(width, height)
    wanted = torch.zeros_like(found)
    for y, x in torch.nonzero(pixels).tolist():
        wanted[y // 16, x // 16] = True
    assert torch.equal(found, wanted)
    spread = gsplat_kernels.pixels_of(found, width, height)
    assert torch.equal(gsplat_kernels.tiles_holding(spread), found)
    assert bool((spread | ~pixels).all())


def test_a_splat_reaches_the_tiles_that_gsplat_lists_for_it() -> None:
    random = torch.Generator().manual_seed(1)
    means2d = torch.rand(200, 2, generator=random) * torch.tensor([130.0, 110.0]) - 30
    radii = torch.randint(0, 30, (200, 2), generator=random, dtype=torch.int32)
    means2d[(radii == 0).any(dim=1)] = float("nan")
    wanted = random_bools((4, 5), 0.2)
    _, keys, rows = plain_gsplat.intersect_tile(
        means2d[None], radii[None], torch.ones(1, 200), None, None, 1, 16, 5, 4, True, False
    )
    listed = torch.zeros(200, dtype=torch.bool)
    listed[rows[wanted.flatten()[keys >> 32]].long()] = True
    assert 0 < int(listed.sum()) < 150
    assert torch.equal(gsplat_kernels.reaching(means2d, radii, wanted), listed)
    few = gsplat_kernels.reached(means2d[190:], radii[190:], (4, 5))
    assert set(torch.nonzero(few.flatten()).flatten().tolist()) == set((keys[rows >= 190] >> 32).tolist())
    assert 0 < int(few.sum()) < 20
    assert not gsplat_kernels.reached(means2d[:0], radii[:0], (4, 5)).any()


def corner_views() -> list[View]:
    """Two noisy pictures of 70 x 50, of which only parts are supervised."""
    random = torch.Generator().manual_seed(5)
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 5:30, 20:45], masks[1, :20] = True, True
    return [
        View(
            turned_camera(WIDTH, HEIGHT, degrees),
            torch.rand(HEIGHT, WIDTH, 3, generator=random),
            mask,
            1 + 3 * torch.rand(HEIGHT, WIDTH, generator=random),
        )
        for degrees, mask in zip((17.0, -9.0), masks, strict=True)
    ]


def small_scene() -> GaussianScene:
    """Splats of a few pixels: most tiles hold no trainable one."""
    scene = random_scene(300, 4)
    return GaussianScene(**scene.tensors | {"log_scales": scene.log_scales - 2.0})


def both_fits(
    rows: slice | None, settings: OptimisationSettings, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[GaussianScene, np.ndarray]]:
    monkeypatch.setitem(sys.modules, "gsplat", plain_gsplat)
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", SimpleNamespace(_C=plain_gsplat))
    scene, views = small_scene(), corner_views()
    sequence = np.arange(settings.iterations) % 2
    chosen = trainable_rows(len(scene), rows)
    fits = (torch_reference.fit, gsplat_fitting.fit)
    return [fit(scene, views, settings, sequence, RENDERER, chosen, None) for fit in fits]


@pytest.mark.parametrize("rows", [slice(280, None), slice(0, 30), None, slice(0, 0)])
@pytest.mark.parametrize("depth_weight", [0.0, 0.3])
def test_tiles_alone_give_the_fit_of_whole_pictures(
    rows: slice | None, depth_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OptimisationSettings(iterations=6, depth_weight=depth_weight)
    (whole, losses), (tiled, tiled_losses) = both_fits(rows, settings, monkeypatch)
    assert np.abs(losses - tiled_losses).max() < 1e-5
    start = small_scene()
    for name, tensor in whole.tensors.items():
        moved = (tensor - start.tensors[name]).norm()
        assert (tensor - tiled.tensors[name]).norm() <= 2e-3 * moved, name
        assert rows == slice(0, 0) or moved > 0


def test_a_tile_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    every_other = torch.arange(20).view(4, 5) % 2 == 0
    monkeypatch.setattr(f"{gsplat_fitting.__name__}.reached", lambda *rest: gsplat_kernels.reached(*rest) & every_other)
    (whole, _), (tiled, _) = both_fits(slice(200, None), OptimisationSettings(iterations=6), monkeypatch)
    moved = (whole.means - small_scene().means).norm()
    assert (whole.means - tiled.means).norm() > 2e-2 * moved


def test_most_tiles_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    draw = plain_gsplat.rasterize_to_pixels_3dgs_fwd

    def counted(*arguments: Any) -> tuple[torch.Tensor, ...]:
        shares.append(float(arguments[5].float().mean()))
        return draw(*arguments)

    monkeypatch.setattr(plain_gsplat, "rasterize_to_pixels_3dgs_fwd", counted)
    both_fits(slice(290, None), OptimisationSettings(iterations=6), monkeypatch)
    # The first two draw the frozen ones, once for each view.
    assert len(shares) == 8
    assert 0 < max(shares[2:]) < 0.4
