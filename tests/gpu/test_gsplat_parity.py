"""The CPU kernels against gsplat on a CUDA device, and a fit at full speed.

PYTHONPATH=stages:operator python -m pytest tests/gpu/test_gsplat_parity.py -s
"""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from synthetic import box_room, cameras_inside, render

from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import optimise
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Renderer, Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.torch_fitting import Momentum
from scenewright_stages.vision.gaussians.training import TrainingSettings, train
from scenewright_stages.vision.geometry.cameras import Camera, rigid

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("gsplat") is None, reason="needs gsplat"),
]

CLOSE, CLOSE_SHARE, FAR = 1e-3, 0.999, 8e-3
GRADIENT_TOLERANCE = 1e-2
# Where less than this is covered, one Gaussian at the visibility threshold decides the expected depth.
SOLID_ALPHA = 0.5


@dataclass(frozen=True)
class Case:
    """A random scene and the camera that sees it."""

    scene: GaussianScene
    camera: Camera


def random_case(count: int, size: int, sigma_pixels: float) -> Case:
    """SH degree 3, depths 2 to 6 m; the camera is turned and its principal point off centre."""
    random = torch.Generator().manual_seed(count)
    angle = np.radians(11.0)
    rotation = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    wide = Camera.from_field_of_view(size + 24, size + 10, 60.0, rigid(rotation, [0.3, -0.2, 0.5]))
    camera = wide.cropped(7, 3, size, size)
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    depth = 2 + 4 * torch.rand(count, generator=random).double()
    pixel = torch.rand(count, 2, generator=random).double() * (size * 1.2) - 0.1 * size
    seen = torch.stack([(pixel[:, 0] - cx) / fx * depth, (pixel[:, 1] - cy) / fy * depth, depth], dim=1)
    pose = torch.tensor(camera.world_from_camera)
    harmonics = 0.1 * torch.randn(count, 16, 3, generator=random)
    harmonics[:, 0] = 3.0 * (torch.rand(count, 3, generator=random) - 0.5)
    scene = GaussianScene(
        (seen @ pose[:3, :3].T + pose[:3, 3]).float(),
        ((sigma_pixels * depth / fx).log()[:, None] + 0.4 * torch.randn(count, 3, generator=random)).float(),
        torch.randn(count, 4, generator=random),
        torch.logit(0.1 + 0.8 * torch.rand(count, generator=random)),
        harmonics,
    )
    return Case(scene, camera)


CASES = [(1_000, 256, 4.0), (100_000, 512, 1.5)]


@pytest.fixture(scope="module")
def gsplat() -> Renderer:
    return renderer_for("gsplat", "cuda")


@pytest.fixture(scope="module")
def cpu() -> Renderer:
    return renderer_for("cpu")


def on_cpu(rendering: Rendering) -> Rendering:
    return Rendering(*(t.detach().cpu() for t in (rendering.rgb, rendering.depth, rendering.alpha)))


def differences(first: Rendering, second: Rendering) -> dict[str, torch.Tensor]:
    """Absolute per pixel for colour and alpha, relative for the depth of solid pixels."""
    solid = (first.alpha > SOLID_ALPHA) & (second.alpha > SOLID_ALPHA)
    return {
        "rgb": (first.rgb - second.rgb).abs().amax(dim=-1).flatten(),
        "alpha": (first.alpha - second.alpha).abs().flatten(),
        "depth": ((first.depth - second.depth).abs() / first.depth.clamp(min=1e-6))[solid],
    }


def share_close(values: torch.Tensor) -> float:
    return float((values <= CLOSE).double().mean())


@pytest.mark.parametrize(("count", "size", "sigma"), CASES)
def test_both_renderers_draw_the_same_picture(
    count: int, size: int, sigma: float, cpu: Renderer, gsplat: Renderer
) -> None:
    case = random_case(count, size, sigma)
    ours = cpu.render(case.scene, [case.camera])
    theirs = on_cpu(gsplat.render(case.scene.to("cuda"), [case.camera]))
    assert ours.alpha.mean() > 0.3
    for name, values in differences(ours, theirs).items():
        print(f"{count} {name}: {share_close(values):.5%} within {CLOSE}, largest {float(values.max()):.2e}")
        assert values.numel() > 1000, name
        assert share_close(values) >= CLOSE_SHARE, name
        assert float(values.max()) <= FAR, name
    # Half a pixel of disagreement about pixel centres must not pass.
    (fx, fy), (cx, cy) = case.camera.focal, case.camera.principal_point
    shifted = Camera(np.array([[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1]]), size, size,
                     case.camera.camera_from_world)  # fmt: skip
    assert share_close(differences(cpu.render(case.scene, [shifted]), theirs)["rgb"]) < CLOSE_SHARE


def weighted(rendering: Rendering) -> torch.Tensor:
    """A functional that weighs every pixel of every output differently; depth counts where covered."""
    random = torch.Generator().manual_seed(1)
    total = torch.zeros((), device=rendering.rgb.device)
    for output in (rendering.rgb, rendering.depth * rendering.alpha, rendering.alpha):
        weight = torch.randn(output.shape, generator=random).to(output.device)
        total = total + (output * weight).sum()
    return total


def gradients(case: Case, renderer: Renderer) -> dict[str, torch.Tensor]:
    tensors = {k: t.to(renderer.device).requires_grad_() for k, t in case.scene.detach().clone().tensors.items()}
    loss = weighted(renderer.render(GaussianScene(**tensors), [case.camera]))
    found = torch.autograd.grad(loss, list(tensors.values()))
    return {name: gradient.cpu() for name, gradient in zip(tensors, found, strict=True)}


@pytest.mark.parametrize(("count", "size", "sigma"), CASES)
def test_both_renderers_have_the_same_gradients(
    count: int, size: int, sigma: float, cpu: Renderer, gsplat: Renderer
) -> None:
    case = random_case(count, size, sigma)
    ours, theirs = gradients(case, cpu), gradients(case, gsplat)
    for name, wanted in theirs.items():
        error = float((ours[name] - wanted).norm() / wanted.norm())
        print(f"{count} d{name}: relative L2 {error:.2e}")
        assert error <= GRADIENT_TOLERANCE, name


def test_a_batch_of_cameras_is_the_cameras_one_by_one(gsplat: Renderer) -> None:
    case = random_case(5_000, 128, 3.0)
    scene = case.scene.to("cuda").with_harmonics(1)
    poses = [rigid(np.eye(3), [0.02 * k, 0, 0]) @ case.camera.camera_from_world for k in range(7)]
    cameras = [case.camera.with_pose(pose) for pose in poses]
    background = torch.tensor([0.2, 0.4, 0.6])
    batch = gsplat.render(scene, cameras, background)
    for k, camera in enumerate(cameras):
        alone = gsplat.render(scene, [camera], background)
        assert (batch.rgb[k] - alone.rgb[0]).abs().max() < 1e-4
        assert (batch.alpha[k] - alone.alpha[0]).abs().max() < 1e-4
    assert (batch.rgb[0] - batch.rgb[6]).abs().max() > 0.05


def test_an_empty_scene_is_all_background(gsplat: Renderer) -> None:
    camera = Camera.from_field_of_view(20, 20, 60.0)
    shapes = ((0, 3), (0, 3), (0, 4), (0,), (0, 1, 3))
    scene = GaussianScene(*(torch.zeros(shape, device="cuda") for shape in shapes))
    rendering = gsplat.render(scene, [camera], torch.tensor([0.1, 0.2, 0.3]))
    assert rendering.rgb[0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert not rendering.alpha.any()


def test_fitting_on_the_gpu_follows_the_cpu_and_keeps_frozen_rows(cpu: Renderer, gsplat: Renderer) -> None:
    case = random_case(3_000, 96, 3.0)
    picture = torch.rand(96, 96, 3, generator=torch.Generator().manual_seed(3))
    mask = torch.rand(96, 96, generator=torch.Generator().manual_seed(4)) > 0.2
    view, settings = View(case.camera, picture, mask), OptimisationSettings(iterations=30)
    slow = optimise(case.scene, [view], settings, 0, cpu, slice(1_000, None))
    fast = optimise(case.scene.to("cuda"), [view], settings, 0, gsplat, slice(1_000, None))
    assert np.abs(slow.losses - fast.losses).max() < 2e-3
    assert slow.losses[0] - slow.losses[-1] > 0.005
    for name, tensor in fast.scene.to("cpu").tensors.items():
        assert torch.equal(tensor[:1_000], case.scene.tensors[name][:1_000]), name


def test_a_fit_continues_with_the_momentum_of_the_one_before(gsplat: Renderer) -> None:
    case = random_case(3_000, 96, 3.0)
    view = View(case.camera, torch.rand(96, 96, 3, generator=torch.Generator().manual_seed(3)))
    scene, settings = case.scene.to("cuda"), OptimisationSettings(iterations=20)
    whole = optimise(scene, [view], replace(settings, iterations=40), 0, gsplat)
    momentum = Momentum()
    half = optimise(scene, [view], settings, 0, gsplat, momentum=momentum)
    assert momentum.steps == 20
    blind = optimise(half.scene, [view], settings, 0, gsplat)
    split = optimise(half.scene, [view], settings, 0, gsplat, momentum=momentum)
    assert momentum.steps == 40
    # Sums on a GPU are rounded in any order, and Adam makes whole steps of it.
    near, far = (float((each.scene.means - whole.scene.means).abs().mean()) for each in (split, blind))
    assert near < far / 5


def test_a_training_from_coarse_to_fine_explores_and_grows(gsplat: Renderer) -> None:
    world = box_room(0)
    pictures = [render(world, camera, 2) for camera in cameras_inside(world, 12, 128, 128, seed=0)]
    views = [View(each.camera, torch.from_numpy(each.srgb)) for each in pictures]
    chosen = np.random.default_rng(0).random((128, 128)) < 0.05
    start = GaussianScene.concatenate(
        [GaussianScene.from_rgbd(each.srgb, each.depth, each.camera, chosen) for each in pictures[::2]]
    )
    settings = TrainingSettings(
        steps=400, segment=50, maximum=12_000, growth=0.5, harmonics_degree=1, exploration=True, coarse=4
    )
    scene = train(start, views[::2], settings, 1, gsplat)
    before, after = (evaluate(each.to("cuda"), views[1::2], gsplat).psnr for each in (start, scene))
    assert len(start) < len(scene) <= 12_000
    assert after > before + 3


def test_a_room_is_fitted_in_half_a_minute(gsplat: Renderer) -> None:
    world, size = box_room(0), 256
    pictures = [render(world, camera, 2) for camera in cameras_inside(world, 30, size, size, seed=0)]
    views = [View(p.camera, torch.from_numpy(p.srgb)) for p in pictures]
    train = [k for k in range(30) if k % 5 != 2]
    random = np.random.default_rng(0)
    parts = []
    for k in train:
        chosen = random.random((size, size)) < 0.06
        parts.append(GaussianScene.from_rgbd(pictures[k].srgb, pictures[k].depth, views[k].camera, chosen))
    points = GaussianScene.concatenate(parts)
    noise = torch.from_numpy(random.normal(0, 0.005, (len(points), 3)).astype(np.float32))
    sigma = points.log_scales[:, 0].exp() * 2.5
    start = replace(
        points,
        means=points.means + noise,
        log_scales=sigma.log()[:, None].repeat(1, 3),
        opacity_logits=torch.zeros(len(points)),
    ).to("cuda")
    held_out = [view for k, view in enumerate(views) if k not in train]
    before = evaluate(start, held_out, gsplat)
    settings = OptimisationSettings(iterations=2_000, means_rate=5e-4, means_decay=0.05, harmonics_rate=1e-2, loss="l1")
    torch.cuda.synchronize()
    started = time.perf_counter()
    result = optimise(start, [views[k] for k in train], settings, 0, gsplat)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    after = evaluate(result.scene, held_out, gsplat)
    print(f"room: {len(start)} Gaussians, held-out {before.psnr:.2f} -> {after.psnr:.2f} dB in {seconds:.1f} s")
    assert before.psnr < 30, "the start alone must not reach the bar"
    assert after.psnr >= 30
    assert seconds <= 30
