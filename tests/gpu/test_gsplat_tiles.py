"""Drawing only the tiles that trainable Gaussians can change, against drawing whole pictures, both with gsplat.

PYTHONPATH=stages:operator python -m pytest tests/gpu/test_gsplat_tiles.py -s
"""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest
import torch
import torch_reference
from torch_reference import backpropagate

from scenewright_stages.vision.cuda_graphs import GraphRunner, PlainRunner, Runner
from scenewright_stages.vision.gaussians import gsplat_fitting
from scenewright_stages.vision.gaussians.gsplat_fitting import ViewState
from scenewright_stages.vision.gaussians.gsplat_kernels import reached
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.torch_fitting import Descent, Target, rows_of, with_rows
from scenewright_stages.vision.geometry.cameras import Camera, rigid

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="needs gsplat"),
]

SIZE = 512
# Sums over pixels are in another order from one drawing to the next, also of the same picture.
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-6, 1e-4


@pytest.fixture(scope="module")
def gsplat() -> Renderer:
    return renderer_for("gsplat", "cuda")


def camera(step: float) -> Camera:
    return Camera.from_field_of_view(SIZE, SIZE, 60.0).with_pose(rigid(np.eye(3), [step, 0.05, 0.0]))


def wavy(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    srgb = 0.5 + 0.3 * torch.sin(20 * rows + 30 * columns + seed)[..., None] * torch.ones(3)
    return srgb + 0.1 * torch.rand(SIZE, SIZE, 3, generator=random), 2 + rows + 0.3 * torch.sin(9 * columns)


def grown_scene() -> tuple[GaussianScene, np.ndarray]:
    """A scene of one view, and the rows of a strip that a second view added."""
    (first, depth), (second, _) = wavy(0), wavy(1)
    strip = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    strip[:, SIZE // 2 : SIZE // 2 + 90] = True
    old = GaussianScene.from_rgbd(first, depth, camera(0.0))
    new = GaussianScene.from_rgbd(second, depth - 0.4, camera(0.2), strip)
    scene = GaussianScene.concatenate([old, new]).with_harmonics(4)
    # A sphere has no gradient by its rotation.
    scene.log_scales += 0.3 * torch.randn(len(scene), 3, generator=torch.Generator().manual_seed(3))
    scene.spherical_harmonics[:, 1:] = 0.05 * torch.randn(len(scene), 3, 3, generator=torch.Generator().manual_seed(2))
    return scene.to("cuda"), np.arange(len(old), len(scene))


def strip_views() -> list[View]:
    """The whole of the first view, the strip of the second, the border of a third."""
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.bool)
    masks[0], masks[1, :, SIZE // 2 : SIZE // 2 + 90], masks[2] = True, True, True
    masks[2, 60:-60, 60:-60] = False
    depth = wavy(0)[1]
    return [View(camera(s), wavy(7 + n)[0], masks[n], depth) for n, s in enumerate((0.0, 0.2, -0.1))]


class Still(Descent):
    """Gaussians that stay where they are, and their gradients."""

    def __init__(self, start: GaussianScene) -> None:
        super().__init__(start, OptimisationSettings())
        self.gradients: dict[str, torch.Tensor] = {}

    def step(self) -> None:
        for name, leaf in self._leaves.items():
            # A recorded step fills the same tensors each time.
            taken = self.gradients.setdefault(name, torch.zeros_like(leaf))
            taken.copy_(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
            leaf.grad = None


def whole_step(target: Target, scene: GaussianScene, rows: np.ndarray, renderer: Renderer) -> tuple[float, Still]:
    still = Still(rows_of(scene, rows))
    rendering = renderer.render(with_rows(scene, rows, still.gaussians), [target.camera])
    found = target.loss(rendering)
    backpropagate(rendering, found)
    still.step()
    return float(found.loss), still


def tiled_step(target: Target, scene: GaussianScene, rows: np.ndarray, run: Runner, calls: int) -> tuple[float, Still]:
    still = Still(rows_of(scene, rows))
    state = ViewState(target, scene.select(slice(0, int(rows[0]))), run)
    moving = run.round_trip(state.projector.of(still), still.step)
    for _ in range(calls):
        loss = float(state.step(moving))
    return loss, still


def distances(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float((first[name] - wanted).norm() / wanted.norm()) for name, wanted in second.items()}


@pytest.mark.parametrize("depth_weight", [0.0, 0.3])
def test_tiles_give_the_loss_and_the_gradients_of_whole_pictures(
    depth_weight: float, gsplat: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, rows = grown_scene()
    settings = OptimisationSettings(depth_weight=depth_weight)
    targets = [Target.of(view, settings, gsplat.device) for view in strip_views()]
    wanted = []
    for number, target in enumerate(targets):
        loss, whole = whole_step(target, scene, rows, gsplat)
        wanted.append(whole.gradients)
        # The first call is plain, the second recorded, the third replayed only.
        for calls in (1, 2, 3):
            tiled_loss, tiled = tiled_step(target, scene, rows, GraphRunner(), calls)
            errors, off = distances(tiled.gradients, whole.gradients), abs(loss - tiled_loss)
            print(f"view {number}, {calls} calls: loss {loss:.6f}, off by {off:.1e}; gradients {errors}")
            assert off <= LOSS_TOLERANCE
            assert all(error <= GRADIENT_TOLERANCE for error in errors.values())
    # Half of the tiles must not do.
    every_other = torch.arange(32 * 32, device="cuda").view(32, 32) % 2 == 0
    monkeypatch.setattr(f"{gsplat_fitting.__name__}.reached", lambda *rest: reached(*rest) & every_other)
    _, half = tiled_step(targets[1], scene, rows, PlainRunner(), 1)
    assert all(error > 100 * GRADIENT_TOLERANCE for error in distances(half.gradients, wanted[1]).values())


def test_a_fit_of_tiles_is_the_fit_of_whole_pictures_but_faster(gsplat: Renderer) -> None:
    scene, rows = grown_scene()
    settings, views = OptimisationSettings(iterations=60, largest_growth=2.0), strip_views()
    sequence = np.arange(settings.iterations) % len(views)
    results, seconds = [], []
    for fit in (torch_reference.fit, gsplat_fitting.fit):
        fit(scene, views, settings, sequence[:3], gsplat, rows, None)
        torch.cuda.synchronize()
        started = time.perf_counter()
        results.append(fit(scene, views, settings, sequence, gsplat, rows, None))
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    (whole, losses), (tiled, tiled_losses) = results
    print(f"{len(scene)} Gaussians, {len(rows)} trainable: {seconds[0]:.2f} s whole, {seconds[1]:.2f} s in tiles")
    assert np.abs(losses - tiled_losses).max() < 1e-4
    assert losses[:3].mean() - losses[-3:].mean() > 0.01
    for name, tensor in tiled.tensors.items():
        assert torch.equal(tensor[: rows[0]], scene.tensors[name][: rows[0]]), name
    moved = (whole.means - scene.means).norm()
    assert (whole.means - tiled.means).norm() < 0.05 * moved
    assert seconds[1] < seconds[0]
