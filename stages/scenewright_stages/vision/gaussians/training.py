"""Trains a Gaussian scene from posed photographs, with densification and resumable state between segments.

Training runs in segments of a fixed number of steps. Between segments, dead Gaussians are relocated to living ones (as
in MCMC densification, Kheradmand et al. 2024) and new ones are added where the error is large. A segment depends only
on the scene and its number, so a killed process resumes at the last segment and ends with the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import interpolate

from scenewright_stages.vision.gaussians import mcmc
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, View
from scenewright_stages.vision.gaussians.optimisation import optimise
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start, points_of_pixels, scene_extent
from scenewright_stages.vision.gaussians.torch_fitting import Momentum

_LARGEST_OPACITY = 1 - 1e-7
_DEAD_OPACITY = 0.005
_SPLIT_SHRINKAGE = 1.6
"""Gaussians that share a place are this much smaller than the one before (3DGS)."""
_NEW_OPACITY = 0.5
_VIEWS_PER_GROWTH = 8


@dataclass(frozen=True)
class TrainingSettings:
    """Training settings.

    Attributes:
        steps: total number.
        segment: steps between two densifications, and between two saved states.
        maximum: maximum number of Gaussians.
        growth: maximum share of Gaussians that one densification adds.
        growth_until: share of the steps after which none are added.
        harmonics_degree: of the finished scene, 0 to 3; rises by one after each quarter of the steps.
        means_rate: learning rate of the means relative to the scene's extent (gsplat's).
        exploration: train as 3DGS-MCMC (see `mcmc`), with noise, regularisers, and new Gaussians on living ones.
            Otherwise new ones are added where the error is large.
        coarse: downscaling factor of the first images. The image size doubles in equal intervals until it is full, and
            the number of Gaussians is limited in proportion to the side length (similar to DashGaussian, Chen et al.
            2025), because early steps learn no fine detail.
        coarse_until: share of the steps after which images have their full size.
        coverage_weight: weight of uncovered pixels (see `OptimisationSettings`). Without it dark areas become
            transparent.
        largest_angle: maximum standard deviation of a Gaussian, in radians as the nearest camera sees it. A few
            photographs do not contradict a large one that hangs between them.
    """

    steps: int = 2000
    segment: int = 200
    maximum: int = 60_000
    growth: float = 0.3
    growth_until: float = 0.7
    harmonics_degree: int = 1
    means_rate: float = 1.6e-4
    exploration: bool = False
    coarse: int = 1
    coarse_until: float = 0.3
    coverage_weight: float = 0.0
    largest_angle: float = math.inf

    def segments(self) -> int:
        """Number of segments."""
        return -(-self.steps // self.segment)

    def optimisation(self, number: int, extent: float) -> OptimisationSettings:
        """Settings of a segment; the means' learning rate decays to a hundredth over the whole training."""
        start = number * self.segment
        steps = min(self.segment, self.steps - start)
        exploring = float(self.exploration)
        return OptimisationSettings(
            iterations=steps,
            # The paper's constants hold for a scene of extent 1.
            opacity_weight=0.01 * exploring,
            scale_weight=0.01 * exploring / extent,
            noise=5e5 * exploring / extent**2,
            means_rate=self.means_rate * extent * 0.01 ** (start / self.steps),
            means_decay=0.01 ** (steps / self.steps),
            loss="l1",
            coverage_weight=self.coverage_weight,
            # Larger betas overshoot in the first steps of a segment.
            adam_betas=(0.9, 0.99),
        )

    def shrinkage(self, number: int) -> int:
        """Downscaling factor of the images in a segment."""
        levels = self.coarse.bit_length() - 1
        share = number * self.segment / self.steps
        return max(1, self.coarse >> int(share / self.coarse_until * levels))

    def room(self, count: int, number: int) -> int:
        """How many Gaussians the densification after a segment may add to `count`."""
        return max(0, min(self.maximum // self.shrinkage(number + 1) - count, int(self.growth * count) + 1))

    def degree(self, number: int) -> int:
        """Degree of the harmonics in a segment."""
        return min(self.harmonics_degree, 4 * number * self.segment // max(1, self.steps))


OnSegment = Callable[[int, GaussianScene, float], None]
"""Called after every segment with the steps done, the scene and the mean loss."""


def train(
    start: Start | GaussianScene,
    views: Sequence[View],
    settings: TrainingSettings,
    seed: int,
    renderer: Renderer,
    *,
    done: int = 0,
    until: int | None = None,
    on_segment: OnSegment | None = None,
) -> GaussianScene:
    """Trains a scene.

    Args:
        start: initial points, or the scene of an earlier segment.
        views: training views, with weights and shares.
        seed: of all random draws; equal arguments give equal bytes on the CPU.
        done: steps already taken, a multiple of the segment.
        until: steps after which to stop, a multiple of the segment; all if None. The schedule stays that of all steps.
        on_segment: called after each segment; may save the scene as state.

    Raises:
        ValueError: there are no views.
    """
    scene = start.scene() if isinstance(start, Start) else start
    scene = scene.to(renderer.device)
    extent = scene_extent([view.camera for view in views])
    # Momentum is not saved: GPU sums are not deterministic anyway, so a resumed training need not be identical.
    momentum = Momentum() if renderer.name != "cpu" else None
    smaller = lru_cache(maxsize=1)(lambda times: [shrunk(view, times, renderer.device) for view in views])
    last = settings.segments() if until is None else min(settings.segments(), -(-until // settings.segment))
    for number in range(done // settings.segment, last):
        scene = scene.with_harmonics((settings.degree(number) + 1) ** 2)
        seen = smaller(settings.shrinkage(number))
        chosen = settings.optimisation(number, extent)
        if momentum is not None:
            chosen = replace(chosen, adam_betas=(0.9, 0.999))
        result = optimise(scene, seen, chosen, _seed(seed, number, 0), renderer, momentum=momentum)
        scene = before = result.scene
        steps = min(settings.steps, (number + 1) * settings.segment)
        if steps < settings.steps * settings.growth_until:
            random = np.random.default_rng(_seed(seed, number, 1))
            if settings.exploration:
                scene = mcmc.relocated(scene, random)
                scene = mcmc.multiplied(scene, settings.room(len(scene), number), random)
            else:
                scene = relocated(scene, random)
                scene = grown(scene, seen, settings.room(len(scene), number), random, renderer)
        if settings.largest_angle < math.inf:
            scene = limited(scene, views, settings.largest_angle)
        if momentum is not None:
            momentum.follow(before, scene)
        if on_segment is not None:
            on_segment(steps, scene, float(result.losses.mean()))
    return scene


def limited(scene: GaussianScene, views: Sequence[View], angle: float) -> GaussianScene:
    """The scene, with no Gaussian larger than `angle` radians as the nearest camera sees it."""
    centres = torch.from_numpy(np.stack([view.camera.position for view in views])).to(scene.means)
    largest = torch.log(angle * torch.cdist(scene.means, centres).amin(dim=1).clamp_min(1e-9))
    tensors = dict(scene.tensors)
    tensors["log_scales"] = torch.minimum(tensors["log_scales"], largest[:, None])
    return GaussianScene(**tensors)


def relocated(scene: GaussianScene, random: np.random.Generator) -> GaussianScene:
    """The scene with dead Gaussians moved onto living ones, which then share their opacity and size."""
    opacity = torch.sigmoid(scene.opacity_logits).detach().cpu().numpy().astype(np.float64)
    dead = np.flatnonzero(~(opacity > _DEAD_OPACITY))
    alive = np.flatnonzero(opacity > _DEAD_OPACITY)
    if not len(dead) or not len(alive):
        return scene
    chosen = alive[random.choice(len(alive), size=len(dead), p=opacity[alive] / opacity[alive].sum())]
    tensors = {name: tensor.detach().clone() for name, tensor in scene.tensors.items()}
    device = scene.device
    shared, counts = np.unique(chosen, return_counts=True)
    index = torch.from_numpy(shared).to(device)
    # n Gaussians in one place cover as much as the original: 1 - (1 - o)^(1 / n).
    # The sigmoid of a logit above 16.6 is 1 in single precision, and 1 has no finite logit.
    split = np.minimum(1 - (1 - opacity[shared]) ** (1 / (counts + 1)), _LARGEST_OPACITY)
    logits = np.log(split / (1 - split)).astype(np.float32)
    tensors["opacity_logits"][index] = torch.from_numpy(logits).to(device)
    tensors["log_scales"][index] -= math.log(_SPLIT_SHRINKAGE)
    source, target = torch.from_numpy(chosen).to(device), torch.from_numpy(dead).to(device)
    for tensor in tensors.values():
        tensor[target] = tensor[source]
    offsets = torch.from_numpy(random.normal(size=(len(dead), 3)).astype(np.float32)).to(device)
    tensors["means"][target] += offsets * tensors["log_scales"][target].exp().mean(dim=1, keepdim=True)
    return GaussianScene(**tensors)


def grown(
    scene: GaussianScene,
    views: Sequence[View],
    room: int,
    random: np.random.Generator,
    renderer: Renderer,
) -> GaussianScene:
    """The scene with `room` new Gaussians on surfaces with a large error in some of the views."""
    if room == 0:
        return scene
    picked = random.permutation(len(views))[:_VIEWS_PER_GROWTH]
    each = max(1, room // len(picked))
    # Each view adds at least one, so trim to the available room.
    parts = [scene, *(_added(scene, views[int(number)], each, random, renderer) for number in picked)]
    return GaussianScene.concatenate(parts).select(slice(0, len(scene) + room))


@torch.no_grad()
def _added(
    scene: GaussianScene, view: View, count: int, random: np.random.Generator, renderer: Renderer
) -> GaussianScene:
    """Pixel-sized Gaussians in the view's colours, sampled where the error is large."""
    rendering = renderer.render(scene, [view.camera])
    depth = rendering.depth[0].cpu().numpy().astype(np.float64)
    error = (rendering.rgb[0] - view.srgb.to(rendering.rgb)).abs().mean(dim=-1).cpu().numpy().astype(np.float64)
    seen = view.supervised().cpu().numpy() & (rendering.alpha[0].cpu().numpy() > 0.1) & (depth > 0)
    error = np.where(seen, error, 0.0).ravel()
    if error.sum() <= 0:
        return scene.select(slice(0, 0))
    pixels = random.choice(error.size, size=min(count, int((error > 0).sum())), replace=False, p=error / error.sum())
    points = points_of_pixels(view.camera, pixels, depth.ravel()[pixels])
    colours = view.srgb.reshape(-1, 3)[torch.from_numpy(pixels)].cpu()
    sigma = torch.from_numpy(depth.ravel()[pixels] / view.camera.focal[0])
    return GaussianScene.from_points(torch.from_numpy(points), colours, sigma, _NEW_OPACITY).to(scene.device)


def shrunk(view: View, times: int, device: torch.device) -> View:
    """The view on a device, downscaled by `times`; masks out partly supervised pixels."""
    width, height = (max(1, side // times) for side in (view.camera.width, view.camera.height))
    mask, depth = (None if each is None else each.to(device) for each in (view.mask, view.depth))
    srgb = view.srgb.to(device)
    if times > 1:
        srgb = interpolate(srgb.permute(2, 0, 1)[None], (height, width), mode="area")[0].permute(1, 2, 0).contiguous()
        if mask is not None:
            mask = interpolate(mask[None, None].float(), (height, width), mode="area")[0, 0] == 1
        if depth is not None:
            depth = interpolate(depth[None, None], (height, width), mode="nearest")[0, 0]
    camera = view.camera.scaled(width, height) if times > 1 else view.camera
    return replace(view, camera=camera, srgb=srgb, mask=mask, depth=depth)


def weighted(views: Sequence[View], weight: float, share: float) -> list[View]:
    """The views with a new weight; together they are drawn `share` times as often as one view."""
    return [replace(view, weight=weight, share=share / len(views)) for view in views]


def _seed(seed: int, segment: int, purpose: int) -> int:
    return int(np.random.SeedSequence([seed % 2**63, segment, purpose]).generate_state(1, np.uint64)[0] >> 1)
