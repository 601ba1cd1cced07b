"""Densification by 3DGS-MCMC: noise on the means, and relocation that leaves the rendered image unchanged.

"3D Gaussian Splatting as Markov Chain Monte Carlo", Kheradmand et al., NeurIPS 2024, arXiv:2404.09591. Nearly
transparent Gaussians wander until they explain something. Dead ones move onto living ones and share their opacity and
size, so that together they render what one rendered before. The fitting loops call `explore` after every step;
`training` calls `relocated` and `multiplied` between two segments::

    random = np.random.default_rng(seed)
    scene = relocated(scene, random)                                 # as many Gaussians, none dead
    scene = multiplied(scene, maximum - len(scene), random)          # more of them where the scene is opaque
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
    """Adds noise, shaped by each Gaussian's covariance, to the means in place; opaque Gaussians do not move.

    Args:
        draws: (N, 3) standard normal.
        reach: factor of the covariance, 1 / length.
        means, log_scales, quaternions, opacity_logits: as in `GaussianScene`.
    """
    share = torch.sigmoid(_STEEPNESS * (DEAD_OPACITY - torch.sigmoid(opacity_logits)))
    rotation = torch.nn.functional.normalize(quaternions, dim=1)
    # Creates no tensors from Python numbers, because a CUDA graph cannot record that.
    backwards = torch.cat([rotation[:, :1], -rotation[:, 1:]], dim=1)
    local = _rotated(backwards, draws * (share * reach)[:, None])
    means += _rotated(rotation, local * (2 * log_scales).exp())


def noise_draws(count: int, device: torch.device, seed: int) -> Callable[[], torch.Tensor]:
    """A function that draws (count, 3) standard normal numbers into the same tensor at each call."""
    generator, draws = torch.Generator(device), torch.empty(count, 3, device=device)
    generator.manual_seed(seed % 2**63)
    return lambda: draws.normal_(generator=generator)


def shared(opacity: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Opacity, and factor of the standard deviations, of each of `count` Gaussians that replace one.

    Equation 9 of the paper: along a ray through their centre they are as opaque as the one, and the integral of their
    opacity over the rays is the same.

    Args:
        opacity: (N,) float64 of the replaced Gaussian, in (0, 1).
        count: (N,) how many replace it, including itself; more than 51 count as 51.
    """
    count = count.clamp(max=LARGEST_SHARING)
    each = 1 - (1 - opacity.clamp(max=_LARGEST_OPACITY)) ** (1 / count.double())
    series = _sharing_series().to(opacity.device)[count]
    total = torch.zeros_like(opacity)
    for column in range(LARGEST_SHARING, -1, -1):
        total = total * each + series[:, column]
    return each, opacity / total


def relocated(scene: GaussianScene, random: np.random.Generator) -> GaussianScene:
    """The scene with dead Gaussians moved onto living ones, drawn by opacity; the rendered image is unchanged."""
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
    """The scene with `count` more Gaussians on living ones, drawn by opacity; the rendered image is unchanged."""
    opacity = opacities(scene)
    if count <= 0 or not bool(opacity.sum() > 0):
        return scene
    chosen = _drawn(opacity, count, random)
    scene = _sharing(scene, opacity, chosen)
    return GaussianScene.concatenate([scene, scene.select(chosen)])


def opacities(scene: GaussianScene) -> torch.Tensor:
    """(N,) float64 opacity; NaN becomes 0."""
    return torch.sigmoid(scene.opacity_logits.detach()).double().nan_to_num()


def _drawn(weights: torch.Tensor, count: int, random: np.random.Generator) -> torch.Tensor:
    """(count,) rows drawn by weight, on the device, because a million rows are too slow on the host."""
    sums = weights.cumsum(dim=0)
    draws = torch.from_numpy(random.random(count)).to(weights.device)
    return torch.searchsorted(sums / sums[-1], draws, right=True)


def _sharing(scene: GaussianScene, opacity: torch.Tensor, chosen: torch.Tensor) -> GaussianScene:
    """A copy in which the opacity and size of each chosen Gaussian are divided among all that will share its place."""
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
