"""Training of whole scenes: it improves held-out views, grows, continues where it stopped, and knows weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import box_room, cameras_inside, render

from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import optimise, view_sequence
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start, start_points
from scenewright_stages.vision.gaussians.torch_fitting import Descent, Momentum, Target
from scenewright_stages.vision.gaussians.training import TrainingSettings, relocated, shrunk, train, weighted
from scenewright_stages.vision.geometry.points import project, unproject

SIZE = (48, 36)
SETTINGS = TrainingSettings(steps=90, segment=30, maximum=2500, harmonics_degree=1)
CPU = renderer_for("cpu")


@pytest.fixture(scope="module")
def views() -> list[View]:
    world = box_room(0)
    drawn = [render(world, camera, 2) for camera in cameras_inside(world, 9, *SIZE)]
    return [View(each.camera, torch.from_numpy(each.srgb)) for each in drawn]


@pytest.fixture(scope="module")
def start(views: list[View]) -> Start:
    """From a few exact points a view, as structure from motion finds them."""
    world, random = box_room(0), np.random.default_rng(0)
    points, colours = [], []
    for view in views[::2]:
        each = render(world, view.camera, 1)
        chosen = random.choice(each.depth.size, 60, replace=False)
        points.append(unproject(each.depth, view.camera).reshape(-1, 3)[chosen])
        colours.append(np.round(each.srgb.reshape(-1, 3)[chosen] * 255).astype(np.uint8))
    cameras, pictures = zip(
        *((v.camera, np.round(v.srgb.numpy() * 255).astype(np.uint8)) for v in views[::2]), strict=True
    )
    return start_points(np.concatenate(points), np.concatenate(colours), cameras, pictures, 0, 1500)


@pytest.mark.slow
def test_training_improves_views_that_it_has_never_seen(views: list[View], start: Start) -> None:
    states: list[int] = []
    scene = train(start, views[::2], SETTINGS, 1, CPU, on_segment=lambda steps, *_: states.append(steps))
    assert states == [30, 60, 90]
    assert len(start.points) < len(scene) <= SETTINGS.maximum
    before, after = (evaluate(each, views[1::2], CPU).psnr for each in (start.scene(), scene))
    assert after > before + 1.5
    assert scene.harmonics_degree == 1


def test_early_steps_see_small_pictures_and_few_gaussians() -> None:
    settings = TrainingSettings(steps=80, segment=10, maximum=400, growth=9.0, coarse=4, coarse_until=0.5)
    assert [settings.shrinkage(number) for number in range(8)] == [4, 4, 2, 2, 1, 1, 1, 1]
    assert [settings.room(50, number) for number in (0, 1, 2, 3)] == [50, 150, 150, 350]
    soon = replace(settings, coarse_until=0.3)
    assert [soon.shrinkage(number) for number in range(8)] == [4, 4, 2, 1, 1, 1, 1, 1]
    assert {TrainingSettings(steps=80, segment=10).shrinkage(number) for number in range(8)} == {1}


def test_a_smaller_view_shows_the_same_place(views: list[View], start: Start) -> None:
    mask = torch.ones(SIZE[::-1], dtype=torch.bool)
    mask[:10, :10] = False
    whole = replace(views[0], mask=mask, depth=torch.full(SIZE[::-1], 2.0), weight=0.5)
    small = shrunk(whole, 4, torch.device("cpu"))
    assert (small.camera.width, small.camera.height, small.weight) == (12, 9, 0.5)
    torch.testing.assert_close(small.srgb[1, 2], whole.srgb[4:8, 8:12].mean(dim=(0, 1)))
    assert small.mask is not None
    # Blocks 0 to 2 reach into the ten pixels that do not count.
    assert int((~small.mask).sum()) == 9
    assert not bool(small.mask[:3, :3].any())
    places = [project(start.points, each.camera)[0] for each in (whole, small)]
    np.testing.assert_allclose(places[1], places[0] / 4, rtol=1e-9, atol=1e-9)
    assert shrunk(whole, 1, torch.device("cpu")).camera is whole.camera


def test_training_from_coarse_to_fine_ends_as_well(views: list[View], start: Start) -> None:
    scenes = [train(start, views[::2], replace(SETTINGS, coarse=coarse), 1, CPU) for coarse in (1, 2)]
    before, plain, coarse = (evaluate(each, views[1::2], CPU).psnr for each in (start.scene(), *scenes))
    assert coarse > before + 1.5
    assert coarse > plain - 0.7
    assert not torch.equal(scenes[0].means, scenes[1].means)


def test_with_a_weight_on_coverage_nothing_shines_through(views: list[View], start: Start) -> None:
    """Dark pictures tell least of what is before the black background."""
    dark = [View(each.camera, each.srgb * 0.2) for each in views]
    dim = Start(start.points, start.srgb * 0.2, 0)
    open_share, psnr = [], []
    for weight in (0.0, 0.05):
        scene = train(dim, dark[::2], replace(SETTINGS, coverage_weight=weight), 1, CPU)
        alphas = [CPU.render(scene, [each.camera]).alpha for each in dark[1::2]]
        open_share.append(float(1 - torch.stack(alphas).mean()))
        psnr.append(evaluate(scene, dark[1::2], CPU).psnr)
    print(f"\nuncovered {open_share}, held out {psnr} dB")
    assert open_share[1] < 0.75 * open_share[0]
    assert psnr[1] > psnr[0] - 0.5


def test_a_training_that_was_stopped_continues_with_the_same_bytes(
    views: list[View], start: Start, tmp_path: Path
) -> None:
    kept: dict[int, Path] = {}

    def keep(steps: int, scene: GaussianScene, loss: float) -> None:
        kept[steps] = tmp_path / f"{steps}.npz"
        scene.save_npz(kept[steps])

    whole = train(start, views[::2], SETTINGS, 1, CPU, on_segment=keep)
    for steps in (30, 60):
        again = train(GaussianScene.load_npz(kept[steps]), views[::2], SETTINGS, 1, CPU, done=steps)
        for name, tensor in whole.tensors.items():
            assert torch.equal(tensor, again.tensors[name]), name


def test_exploring_growth_ends_exactly_at_its_limit_with_the_same_bytes_twice(views: list[View], start: Start) -> None:
    few = Start(start.points[::20], start.srgb[::20], 0)
    settings = TrainingSettings(steps=60, segment=10, maximum=101, growth=1.0, exploration=True)
    first, second = (train(few, views[::2], settings, 1, CPU) for _ in range(2))
    assert len(few.points) < 101 == len(first)
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name]), name
    assert not torch.equal(train(few, views[::2], settings, 2, CPU).means, first.means)


def test_dead_gaussians_move_beside_living_ones_without_changing_the_picture_much(
    start: Start, views: list[View]
) -> None:
    scene = train(start, views[::2], TrainingSettings(steps=30, segment=30), 1, CPU)
    dead = torch.arange(0, len(scene), 10)
    scene.opacity_logits[dead] = -12.0
    moved = relocated(scene, np.random.default_rng(0))
    assert len(moved) == len(scene)
    assert float(torch.sigmoid(moved.opacity_logits).min()) > 0.001
    before, after = (evaluate(each, views[::2], CPU).psnr for each in (scene, moved))
    assert after > before - 1.0
    alive = scene.clone()
    alive.opacity_logits[:] = 0.0
    assert relocated(alive, np.random.default_rng(0)) is alive


def test_gaussians_that_share_the_place_of_a_solid_one_have_finite_logits() -> None:
    """A logit of 17 is an opacity of exactly 1 in single precision."""
    scene = GaussianScene.from_points(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2), 0.5)
    scene.opacity_logits[:] = torch.tensor([17.0, -12.0])
    logits = relocated(scene, np.random.default_rng(0)).opacity_logits
    assert torch.isfinite(logits).all()
    assert (logits > 15).all()


def test_without_points_the_start_is_random_and_said_to_be(views: list[View]) -> None:
    nothing = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    cameras = [view.camera for view in views]
    pictures = [np.round(view.srgb.numpy() * 255).astype(np.uint8) for view in views]
    first, second = (start_points(*nothing, cameras, pictures, 5, 400) for _ in range(2))
    assert first.seeded == len(first.points) == 400
    np.testing.assert_array_equal(first.points, second.points)
    other = start_points(*nothing, cameras, pictures, 6, 400)
    assert not np.array_equal(first.points, other.points)


def test_views_are_drawn_by_their_shares(views: list[View]) -> None:
    extra = weighted(views[:2], 0.3, 3.0)
    drawn = view_sequence([*views[2:5], *extra], 4000, 0)
    assert [view.weight for view in extra] == [0.3, 0.3]
    # Two views share as many draws as the three others have together.
    assert np.isin(drawn, (3, 4)).mean() == pytest.approx(0.5, abs=0.03)
    equal = view_sequence(views, 50, 7)
    np.testing.assert_array_equal(equal, np.random.default_rng(7).integers(len(views), size=50))


@pytest.mark.parametrize("weight", [0.3, 2.0])
def test_a_weight_scales_a_views_loss_in_both_loops(views: list[View], start: Start, weight: float) -> None:
    scene, settings = start.scene(), OptimisationSettings(iterations=1, loss="l1")
    heavy = View(views[0].camera, views[0].srgb, weight=weight)
    losses = [optimise(scene, [view], settings, 0, CPU).losses[0] for view in (views[0], heavy)]
    assert losses[1] == pytest.approx(weight * losses[0], rel=1e-5)
    rendering = CPU.render(scene, [views[0].camera])
    judged = [Target.of(view, settings, torch.device("cpu")).loss(rendering) for view in (views[0], heavy)]
    assert float(judged[1].loss) == pytest.approx(weight * float(judged[0].loss), rel=1e-5)
    assert torch.allclose(judged[1].by_rgb, weight * judged[0].by_rgb)
    with pytest.raises(ValueError, match="must be positive"):
        View(views[0].camera, views[0].srgb, weight=0.0)


def test_the_means_rate_falls_over_all_segments() -> None:
    rates = [SETTINGS.optimisation(number, 2.0) for number in range(3)]
    assert [each.iterations for each in rates] == [30, 30, 30]
    ends = [each.means_rate_at(each.iterations) for each in rates]
    for end, following in pairwise(zip(ends, rates, strict=True)):
        assert end[0] == pytest.approx(following[1].means_rate)
    assert ends[-1] == pytest.approx(2.0 * SETTINGS.means_rate / 100)


def test_a_fit_with_the_momentum_of_the_one_before_is_one_long_fit(start: Start) -> None:
    scene, settings = start.scene().with_harmonics(4), OptimisationSettings()
    goals = {name: tensor + 0.3 for name, tensor in scene.tensors.items()}

    def descend(begin: GaussianScene, steps: int, momentum: Momentum | None) -> tuple[GaussianScene, Momentum]:
        descent = Descent(begin, settings, momentum=momentum)
        for number in range(steps):
            descent.begin(number + 1)
            loss = sum((tensor - goals[name]).square().sum() for name, tensor in descent.gaussians.tensors.items())
            assert isinstance(loss, torch.Tensor)
            torch.autograd.backward(loss)
            descent.step()
        return descent.gaussians.detach(), descent.momentum()

    whole, _ = descend(scene, 8, None)
    half, momentum = descend(scene, 4, None)
    blind, _ = descend(half, 4, None)
    split, _ = descend(half, 4, momentum)
    assert momentum.steps == 4
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, split.tensors[name]), name
    assert not torch.equal(whole.means, blind.means)


def test_gaussians_that_are_new_or_moved_have_no_momentum(start: Start) -> None:
    scene = start.scene().with_harmonics(4)
    momentum = Momentum(3.0, {"means": (torch.ones(len(scene), 3), torch.ones(len(scene), 3)),
                              "higher": (torch.ones(len(scene), 3, 3), torch.ones(len(scene), 3, 3))})  # fmt: skip
    after = scene.clone()
    after.means[4] += 1.0
    after.opacity_logits[7] -= 1.0
    momentum.follow(scene, GaussianScene.concatenate([after, after.select(slice(0, 5))]))
    for first, second in momentum.moments.values():
        assert len(first) == len(second) == len(scene) + 5
        gone = torch.nonzero(first.flatten(1).sum(dim=1) == 0)[:, 0]
        assert gone.tolist() == [4, 7, *range(len(scene), len(scene) + 5)]
    # A higher degree begins without a past of its own.
    descent = Descent(scene.with_harmonics(9), OptimisationSettings(), momentum=momentum_of(scene))
    held = descent.momentum().moments["higher"][0]
    assert held.shape[1:] == (8, 3)
    assert bool((held[:, :3] == 1).all())
    assert not bool(held[:, 3:].any())


def momentum_of(scene: GaussianScene) -> Momentum:
    pair = torch.ones(len(scene), 3, 3), torch.ones(len(scene), 3, 3)
    return Momentum(2.0, {"higher": pair})
