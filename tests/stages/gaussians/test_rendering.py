"""The CPU renderer against closed forms, a plain torch reference and itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numba
import numpy as np
import pytest
import torch
from dense_reference import render as dense_render
from gaussian_scenes import empty_scene, random_scene, single_gaussian, turned_camera

from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.rendering import Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

RENDERER = renderer_for("cpu")
MOST_THREADS = numba.get_num_threads()


@pytest.fixture
def threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def same_bits(first: Rendering, second: Rendering) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("rgb", "depth", "alpha"))


def leaves(scene: GaussianScene) -> GaussianScene:
    return GaussianScene(**{name: t.clone().requires_grad_() for name, t in scene.tensors.items()})


def gradients(scene: GaussianScene, camera: Camera) -> dict[str, torch.Tensor]:
    """Gradient of a functional that weighs every pixel and output differently."""
    random = torch.Generator().manual_seed(7)
    moving = leaves(scene)
    rendering = RENDERER.render(moving, [camera])
    total = torch.zeros(())
    for output in (rendering.rgb, rendering.depth, rendering.alpha):
        total = total + (output * torch.randn(output.shape, generator=random)).sum()
    return gradients_of(total, moving)


def gradients_of(loss: torch.Tensor, scene: GaussianScene) -> dict[str, torch.Tensor]:
    return dict(zip(scene.tensors, torch.autograd.grad(loss, list(scene.tensors.values())), strict=True))


def test_a_single_gaussian_has_the_closed_form() -> None:
    camera = Camera.from_field_of_view(65, 65, 60.0)
    depth, sigma, opacity = 2.0, 0.1, 0.7
    rendering = RENDERER.render(single_gaussian(depth, sigma, opacity), [camera])
    offset = torch.arange(65) + 0.5 - 32.5
    squared = offset[None, :] ** 2 + offset[:, None] ** 2

    def closed_form(blur: float) -> torch.Tensor:
        variance = (camera.focal[0] * sigma / depth) ** 2 + blur
        alpha = opacity * torch.exp(-squared / (2 * variance))
        return torch.where(alpha >= 1 / 255, alpha, torch.zeros(()))

    assert (rendering.alpha[0] - closed_form(0.3)).abs().max() < 1e-4
    assert (rendering.alpha[0] - closed_form(0.0)).abs().max() > 1e-3  # the blur matters at this size
    assert (rendering.rgb[0, ..., 1] - rendering.alpha[0]).abs().max() < 1e-6
    seen = rendering.alpha[0] > 0
    assert (rendering.depth[0][seen] - depth).abs().max() < 1e-4
    assert (rendering.depth[0][~seen] == 0).all()


def test_two_discs_composite_exactly() -> None:
    near, far = (0.9, 0.2, 0.1), (0.1, 0.3, 0.8)
    front, behind = single_gaussian(2.0, 0.5, 0.6, near), single_gaussian(3.0, 0.5, 0.5, far)
    scene = GaussianScene.concatenate([behind, front])
    camera = Camera.from_field_of_view(33, 33, 60.0)
    rendering = RENDERER.render(scene, [camera])
    alone = [RENDERER.render(part, [camera]).alpha[0][..., None] for part in (front, behind)]
    expected = torch.tensor(near) * alone[0] + torch.tensor(far) * alone[1] * (1 - alone[0])
    swapped = torch.tensor(far) * alone[1] + torch.tensor(near) * alone[0] * (1 - alone[1])
    assert (rendering.rgb[0] - expected).abs().max() < 1e-5
    assert (rendering.rgb[0] - swapped).abs().max() > 0.05


def test_the_background_shows_through_what_is_left() -> None:
    camera = turned_camera()
    scene, colour = random_scene(40), torch.tensor([0.2, 0.5, 0.9])
    black, filled = RENDERER.render(scene, [camera]), RENDERER.render(scene, [camera], colour)
    expected = black.rgb + (1 - black.alpha)[..., None] * colour
    assert (filled.rgb - expected).abs().max() < 1e-6
    assert black.alpha.min() < 0.5


def test_the_order_of_the_scene_does_not_change_a_bit() -> None:
    scene, camera = random_scene(3000, 4), turned_camera(130, 70)
    permutation = torch.randperm(len(scene), generator=torch.Generator().manual_seed(1))
    assert same_bits(RENDERER.render(scene, [camera]), RENDERER.render(scene.select(permutation), [camera]))


def test_pictures_and_gradients_agree_with_a_dense_reference() -> None:
    scene, camera = random_scene(150), turned_camera()
    rendering = RENDERER.render(scene, [camera])
    plain = dense_render(scene, camera)
    for got, expected in zip((rendering.rgb, rendering.depth, rendering.alpha), plain, strict=True):
        error = (got[0] - expected).abs()
        # Pixels on the verge of a visibility threshold may fall on either side in float32.
        assert torch.quantile(error.flatten(), 0.999) < 1e-4

    def loss(colour: torch.Tensor, depth: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
        return (colour.square().sum() + (depth * alpha).sum() + alpha.square().sum()) / alpha.numel()

    ours, theirs = leaves(scene), leaves(scene)
    drawn = RENDERER.render(ours, [camera])
    compiled = gradients_of(loss(drawn.rgb[0], drawn.depth[0], drawn.alpha[0]), ours)
    for name, wanted in gradients_of(loss(*dense_render(theirs, camera)), theirs).items():
        assert (compiled[name] - wanted).norm() < 1e-3 * wanted.norm(), name


@pytest.mark.slow
@pytest.mark.parametrize("harmonics", [1, 4, 9, 16])
def test_gradients_of_every_group_pass_gradcheck(harmonics: int) -> None:
    scene, camera = random_scene(5, harmonics, seed=3, dtype=torch.float64), turned_camera(8, 7)

    def outputs(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rendering = RENDERER.render(GaussianScene(*tensors), [camera], torch.tensor([0.3, 0.1, 0.6]))
        return rendering.rgb, rendering.depth, rendering.alpha

    inputs = [tensor.requires_grad_() for tensor in scene.tensors.values()]
    assert torch.autograd.gradcheck(outputs, inputs, atol=1e-5, rtol=1e-3)


def test_pictures_and_gradients_do_not_depend_on_the_number_of_threads(threads: None) -> None:
    scene, camera = random_scene(2000, 4), turned_camera(160, 96)
    numba.set_num_threads(1)
    alone, alone_gradients = RENDERER.render(scene, [camera]), gradients(scene, camera)
    numba.set_num_threads(MOST_THREADS)
    assert same_bits(alone, RENDERER.render(scene, [camera]))
    for name, gradient in gradients(scene, camera).items():
        assert torch.equal(gradient, alone_gradients[name]), name


def test_hidden_gaussians_get_no_gradient() -> None:
    walls = [single_gaussian(1.0, 5.0, 0.9985)] * 3
    scene = GaussianScene.concatenate([*walls, random_scene(50)])
    camera = Camera.from_field_of_view(40, 40, 60.0)
    gradient = gradients(scene, camera)["means"]
    assert gradient[:2].abs().sum() > 0
    assert (gradient[3:] == 0).all()
    assert gradients(scene.select(slice(3, None)), camera)["means"].abs().sum() > 0


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 33), (100, 5)])
def test_any_image_size_works(size: tuple[int, int]) -> None:
    camera = Camera.from_field_of_view(*size, 60.0)
    rendering = RENDERER.render(single_gaussian(1.0, 1.0), [camera, camera])
    assert rendering.rgb.shape == (2, size[1], size[0], 3)
    assert rendering.alpha.min() > 0.2


def test_cropping_the_camera_crops_the_picture() -> None:
    scene, camera = random_scene(300), Camera.from_field_of_view(64, 64, 60.0)
    whole = RENDERER.render(scene, [camera])
    part = RENDERER.render(scene, [camera.cropped(9, 21, 40, 30)])
    # The Jacobian's field-of-view limit depends on the image, so Gaussians far outside may differ.
    error = (whole.rgb[0, 21:51, 9:49] - part.rgb[0]).abs().median()
    off_by_one = (whole.rgb[0, 21:51, 8:48] - part.rgb[0]).abs().median()
    assert error < 3e-4
    assert off_by_one > 10 * error


def test_an_empty_scene_is_all_background() -> None:
    colour = torch.tensor([0.1, 0.2, 0.3])
    rendering = RENDERER.render(empty_scene(), [turned_camera()], colour)
    assert torch.equal(rendering.rgb[0, 0, 0], colour)
    assert not rendering.alpha.any()
    assert not rendering.depth.any()


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_broken_gaussians_are_not_drawn_and_break_nothing(poison: float) -> None:
    clean, camera = random_scene(60, 4), turned_camera()
    names = list(clean.tensors)
    broken = random_scene(len(names), 4, seed=9)
    for row, name in enumerate(names):
        broken.tensors[name].view(len(broken), -1)[row, 0] = poison
    for scene in (clean, GaussianScene.concatenate([clean, broken])):
        rendering = RENDERER.render(scene, [camera])
        assert all(torch.isfinite(t).all() for t in (rendering.rgb, rendering.depth, rendering.alpha))
    gradient = gradients(GaussianScene.concatenate([clean, broken]), camera)
    assert all(torch.isfinite(g[: len(clean)]).all() for g in gradient.values())


def test_zero_quaternions_are_not_drawn() -> None:
    scene = single_gaussian()
    scene.quaternions.zero_()
    assert not RENDERER.render(scene, [Camera.from_field_of_view(32, 32, 60.0)]).alpha.any()


def test_gaussians_behind_the_camera_are_not_drawn() -> None:
    camera = Camera.from_field_of_view(32, 32, 60.0)
    assert not RENDERER.render(single_gaussian(-2.0), [camera]).alpha.any()
    assert RENDERER.render(single_gaussian(2.0), [camera]).alpha.any()


def test_bad_requests_are_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="one image size"):
        RENDERER.render(random_scene(3), [turned_camera(20, 20), turned_camera(21, 20)])
    with pytest.raises(ValueError, match="one image size"):
        RENDERER.render(random_scene(3), [])
    with pytest.raises(ValueError, match="unknown"):
        renderer_for("opengl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot draw on device"):
        renderer_for("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA device"):
            renderer_for("gsplat")


def test_the_view_dependent_colour_changes_with_the_view() -> None:
    scene = single_gaussian(2.0, 0.4, 0.95, (0.5, 0.5, 0.5)).with_harmonics(4)
    scene.spherical_harmonics[:, 2] = 0.5  # the band that goes with z
    ahead = Camera.from_field_of_view(33, 33, 60.0)
    behind_pose = np.diag([-1.0, 1.0, -1.0, 1.0])
    behind_pose[2, 3] = 4.0
    seen = [RENDERER.render(scene, [c]).rgb[0, 16, 16, 0] for c in (ahead, ahead.with_pose(behind_pose))]
    assert seen[0] - seen[1] > 0.3
