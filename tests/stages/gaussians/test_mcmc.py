"""Moves of 3DGS-MCMC: relocation is the paper's formula, the cap is exact, and noise spares opaque Gaussians."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch
from gaussian_scenes import random_scene

from scenewright_stages.vision.gaussians import mcmc
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings


@pytest.mark.parametrize("count", [2, 3, 10, 51])
def test_sharing_is_equation_nine_of_the_paper(count: int) -> None:
    opacity = np.array([0.01, 0.3, 0.9, 0.999])
    each, factor = (found.numpy() for found in mcmc.shared(torch.from_numpy(opacity), torch.full((4,), count)))
    np.testing.assert_allclose(1 - (1 - each) ** count, opacity, rtol=1e-9)
    total = sum(
        comb(i - 1, k) * (-1) ** k * each ** (k + 1) / np.sqrt(k + 1) for i in range(1, count + 1) for k in range(i)
    )
    np.testing.assert_allclose(factor, opacity / total, rtol=1e-9)


def test_dead_gaussians_move_onto_living_ones_and_more_are_added_to_the_number() -> None:
    scene = random_scene(200, seed=1)
    scene.opacity_logits[::10] = -12.0
    moved = mcmc.relocated(scene, np.random.default_rng(0))
    living = {tuple(row) for row in scene.means[torch.sigmoid(scene.opacity_logits) > mcmc.DEAD_OPACITY].tolist()}
    assert {tuple(row) for row in moved.means.tolist()} <= living
    assert float(torch.sigmoid(moved.opacity_logits).min()) > 0.99 * mcmc.DEAD_OPACITY
    assert len(mcmc.multiplied(moved, 37, np.random.default_rng(0))) == 237
    settings = TrainingSettings(maximum=210)
    assert [settings.room(count, 0) for count in (100, 200, 210, 300)] == [31, 10, 0, 0]


def test_noise_moves_transparent_gaussians_by_their_shape_and_spares_opaque_ones() -> None:
    scene = random_scene(400, seed=2)
    scene.opacity_logits[:200], scene.opacity_logits[200:] = 3.0, -12.0
    scene.log_scales[:] = torch.tensor([0.0, -6.0, -6.0])
    moved = GaussianScene(**{name: tensor.clone() for name, tensor in scene.tensors.items()})
    draws = mcmc.noise_draws(400, torch.device("cpu"), 3)()
    names = ("means", "log_scales", "quaternions", "opacity_logits")
    mcmc.explore(draws, 0.1, *(moved.tensors[name] for name in names))
    step = moved.means - scene.means
    assert float(step[:200].abs().max()) < 1e-6
    w, x, y, z = torch.nn.functional.normalize(scene.quaternions[200:], dim=1).T
    axis = torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], dim=1)
    along = (step[200:] * axis).sum(dim=1, keepdim=True) * axis
    assert float(step[200:].norm(dim=1).mean()) > 0.01
    assert float((step[200:] - along).norm(dim=1).max()) < 1e-4
