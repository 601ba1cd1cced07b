"""Gaussians as samples of a Markov chain: noise on their places, and moves that leave the picture as it is.

This is 3DGS-MCMC (Kheradmand et al. 2024). Nearly transparent Gaussians wander until they explain something. Dead ones
move onto living ones and share opacity and size with them, so that together they draw what one drew before. The fitting
loops call `explore` after every step; `training` calls the moves between two segments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb

import numpy as np
import torch

from scenewright_stages.vision.gaussians.scene import GaussianScene

DEAD_OPACITY = 0.005
LARGEST_SHARING = 51
"""At most so many Gaussians share a place."""
_STEEPNESS = 100.0
"""How sharply the noise ends above the opacity of the dead."""
_LARGEST_OPACITY = 1 - 1e-6


@torch.no_grad()
def explore(
    draws: torch.Tensor,
    reach: float | torch.Tensor,
    means: torch.Tensor,
    log_scales: torch.Tensor,
    quaternions: torch.Tensor,
    opacity_logits: torch.Tensor,
) -> None:
    """Moves the means in place by noise of each Gaussian's own shape; the opaque ones stay where they are.

    Args:
        draws: (N, 3) standard normal.
        reach: factor of the covariance, 1 / length.
        means, log_scales, quaternions, opacity_logits: as in `GaussianScene`.
    """
    share = torch.sigmoid(_STEEPNESS * (DEAD_OPACITY - torch.sigmoid(opacity_logits)))
    rotation = torch.nn.functional.normalize(quaternions, dim=1)
    # No tensor is made of numbers here: a CUDA graph cannot record that.
    backwards = torch.cat([rotation[:, :1], -rotation[:, 1:]], dim=1)
    local = _rotated(backwards, draws * (share * reach)[:, None])
    means += _rotated(rotation, local * (2 * log_scales).exp())


def noise_draws(count: int, device: torch.device, seed: int) -> Callable[[], torch.Tensor]:
    """Draws (count, 3) standard normal numbers at each call, always into the same tensor."""
    generator, draws = torch.Generator(device), torch.empty(count, 3, device=device)
    generator.manual_seed(seed % 2**63)
    return lambda: draws.normal_(generator=generator)


def shared(opacity: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Opacity and factor of the standard deviations of each of `count` Gaussians that take the place of one.

    Equation 9 of the paper: along a ray through their middle they are as opaque as the one, and the integral of their
    opacity over the rays is the same.

    Args:
        opacity: (N,) float64 of the one, in (0, 1).
        count: (N,) how many take its place, itself included; more than 51 count as 51.
    """
    count = count.clamp(max=LARGEST_SHARING)
    each = 1 - (1 - opacity.clamp(max=_LARGEST_OPACITY)) ** (1 / count.double())
    series = _sharing_series().to(opacity.device)[count]
    total = torch.zeros_like(opacity)
    for column in range(LARGEST_SHARING, -1, -1):
        total = total * each + series[:, column]
    return each, opacity / total


def relocated(scene: GaussianScene, random: np.random.Generator) -> GaussianScene:
    """The scene with its dead Gaussians on living ones, drawn by their opacity; the picture stays."""
    opacity = opacities(scene)
    living = opacity > DEAD_OPACITY
    dead = torch.nonzero(~living)[:, 0]
    if not len(dead) or len(dead) == len(scene):
        return scene
    chosen = _drawn(opacity * living, len(dead), random)
    scene = _sharing(scene, opacity, chosen)
    for tensor in scene.tensors.values():
        tensor[dead] = tensor[chosen]
    return scene


def multiplied(scene: GaussianScene, count: int, random: np.random.Generator) -> GaussianScene:
    """The scene with `count` more Gaussians on living ones, drawn by their opacity; the picture stays."""
    opacity = opacities(scene)
    if count <= 0 or not bool(opacity.sum() > 0):
        return scene
    chosen = _drawn(opacity, count, random)
    scene = _sharing(scene, opacity, chosen)
    return GaussianScene.concatenate([scene, scene.select(chosen)])


def opacities(scene: GaussianScene) -> torch.Tensor:
    """(N,) float64 opacity; 0 where it is not a number."""
    return torch.sigmoid(scene.opacity_logits.detach()).double().nan_to_num()


def _drawn(weights: torch.Tensor, count: int, random: np.random.Generator) -> torch.Tensor:
    """(count,) rows, drawn by their weights. A million of them are too many for the host."""
    sums = weights.cumsum(dim=0)
    draws = torch.from_numpy(random.random(count)).to(weights.device)
    return torch.searchsorted(sums / sums[-1], draws, right=True)


def _sharing(scene: GaussianScene, opacity: torch.Tensor, chosen: torch.Tensor) -> GaussianScene:
    """A copy in which each chosen Gaussian has the opacity and size of as many as will lie on its place."""
    rows, times = torch.unique(chosen, return_counts=True)
    each, factor = shared(opacity[rows], times + 1)
    each = each.clamp(DEAD_OPACITY, _LARGEST_OPACITY)
    scene = scene.detach().clone()
    scene.opacity_logits[rows] = torch.log(each / (1 - each)).to(scene.opacity_logits)
    scene.log_scales[rows] += torch.log(factor)[:, None].to(scene.log_scales)
    return scene


@lru_cache(maxsize=1)
def _sharing_series() -> torch.Tensor:
    """(52, 52): row n has the coefficients c of sum_k c_k o^k = sum_{i=1..n} sum_{k=0..i-1} binom(i-1, k) (-1)^k
    o^(k+1) / sqrt(k+1)."""
    series = torch.zeros(LARGEST_SHARING + 1, LARGEST_SHARING + 1, dtype=torch.float64)
    for count in range(1, LARGEST_SHARING + 1):
        for k in range(count):
            inner = sum(comb(i - 1, k) for i in range(k + 1, count + 1))
            series[count, k + 1] = (-1) ** k * inner / (k + 1) ** 0.5
    return series


def _rotated(quaternions: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (N, 3) turned by unit quaternions (N, 4) wxyz."""
    scalar, axis = quaternions[:, :1], quaternions[:, 1:]
    twice = 2 * torch.linalg.cross(axis, vectors)
    turned: torch.Tensor = vectors + scalar * twice + torch.linalg.cross(axis, twice)
    return turned
