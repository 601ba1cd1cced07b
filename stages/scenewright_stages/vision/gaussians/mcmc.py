"""Gaussians as samples of a Markov chain: noise on their places, and moves that leave the picture as it is.

3DGS-MCMC (Kheradmand et al. 2024): nearly transparent Gaussians wander until they find something to explain, and dead
ones move onto living ones, which share their opacity and size so that together they draw what one drew before. The
fitting loops call `explore` after every step; `training` calls the moves between two segments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray

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
    backwards = rotation * rotation.new_tensor([1.0, -1.0, -1.0, -1.0])
    local = _rotated(backwards, draws * (share * reach)[:, None])
    means += _rotated(rotation, local * (2 * log_scales).exp())


def noise_draws(count: int, device: torch.device, seed: int) -> Callable[[], torch.Tensor]:
    """Draws (count, 3) standard normal numbers at each call, always into the same tensor."""
    generator, draws = torch.Generator(device), torch.empty(count, 3, device=device)
    generator.manual_seed(seed % 2**63)
    return lambda: draws.normal_(generator=generator)


def shared(opacity: NDArray[np.float64], count: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Opacity and factor of the standard deviations of each of `count` Gaussians that take the place of one.

    Equation 9 of the paper: along a ray through their middle they are as opaque as the one, and the integral of their
    opacity over the rays is the same.

    Args:
        opacity: (N,) of the one, in (0, 1).
        count: (N,) how many take its place, itself included; more than 51 count as 51.
    """
    count = np.minimum(count, LARGEST_SHARING)
    each = 1 - (1 - np.minimum(opacity, _LARGEST_OPACITY)) ** (1 / count)
    total = np.zeros_like(opacity)
    for number in np.unique(count):
        rows = count == number
        total[rows] = np.polynomial.polynomial.polyval(each[rows], _sharing_series(int(number)))
    return each, opacity / total


def relocated(scene: GaussianScene, random: np.random.Generator) -> GaussianScene:
    """The scene with its dead Gaussians on living ones, drawn by their opacity; the picture stays."""
    opacity = opacities(scene)
    living = opacity > DEAD_OPACITY
    dead, alive = np.flatnonzero(~living), np.flatnonzero(living)
    if not len(dead) or not len(alive):
        return scene
    chosen = alive[random.choice(len(alive), size=len(dead), p=opacity[alive] / opacity[alive].sum())]
    scene = _sharing(scene, opacity, chosen)
    source, target = (torch.from_numpy(rows).to(scene.device) for rows in (chosen, dead))
    for tensor in scene.tensors.values():
        tensor[target] = tensor[source]
    return scene


def multiplied(scene: GaussianScene, count: int, random: np.random.Generator) -> GaussianScene:
    """The scene with `count` more Gaussians on living ones, drawn by their opacity; the picture stays."""
    opacity = opacities(scene)
    if count <= 0 or not opacity.sum() > 0:
        return scene
    chosen = random.choice(len(opacity), size=count, p=opacity / opacity.sum())
    scene = _sharing(scene, opacity, chosen)
    return GaussianScene.concatenate([scene, scene.select(torch.from_numpy(chosen).to(scene.device))])


def opacities(scene: GaussianScene) -> NDArray[np.float64]:
    """(N,) opacity; 0 where it is not a number."""
    found = torch.sigmoid(scene.opacity_logits.detach()).cpu().numpy().astype(np.float64)
    return np.asarray(np.nan_to_num(found))


def _sharing(scene: GaussianScene, opacity: NDArray[np.float64], chosen: NDArray[np.int64]) -> GaussianScene:
    """A copy in which each chosen Gaussian has the opacity and size of as many as will lie on its place."""
    rows, times = np.unique(chosen, return_counts=True)
    each, factor = shared(opacity[rows], times + 1)
    each = np.clip(each, DEAD_OPACITY, _LARGEST_OPACITY)
    scene = scene.detach().clone()
    index = torch.from_numpy(rows).to(scene.device)
    logits, growth = np.log(each / (1 - each)), np.log(factor)[:, None]
    scene.opacity_logits[index] = torch.from_numpy(logits).to(scene.opacity_logits)
    scene.log_scales[index] += torch.from_numpy(growth).to(scene.log_scales)
    return scene


@lru_cache(maxsize=LARGEST_SHARING)
def _sharing_series(count: int) -> NDArray[np.float64]:
    """Coefficients c of sum_k c_k o^k = sum_{i=1..n} sum_{k=0..i-1} binom(i-1, k) (-1)^k o^(k+1) / sqrt(k+1)."""
    inner = [sum(comb(i - 1, k) for i in range(k + 1, count + 1)) for k in range(count)]
    return np.array([0.0, *((-1) ** k * inner[k] / np.sqrt(k + 1) for k in range(count))])


def _rotated(quaternions: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (N, 3) turned by unit quaternions (N, 4) wxyz."""
    scalar, axis = quaternions[:, :1], quaternions[:, 1:]
    twice = 2 * torch.linalg.cross(axis, vectors)
    turned: torch.Tensor = vectors + scalar * twice + torch.linalg.cross(axis, twice)
    return turned
