"""The torch part of the fitting loop, which `gsplat_fitting` runs on a GPU.

Only gsplat synchronises with the device, when it counts its tile lists. Views are prepared beforehand, losses stay on
the device until the end, and Adam runs as one fused kernel per group.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.mcmc import explore, noise_draws
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, Progress, View, report
from scenewright_stages.vision.gaussians.rendering import ALPHA_FLOOR, Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.metrics import SSIM_C1, SSIM_C2, blur

_HALF_WINDOW = 5


@dataclass
class Momentum:
    """Adam's moments of all Gaussians, carried over between two fits so that Adam need not warm up again.

    Attributes:
        steps: number of steps so far.
        moments: first and second moments by the leaf's name, (N, ...) each.
    """

    steps: float = 0.0
    moments: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def follow(self, before: GaussianScene, after: GaussianScene) -> None:
        """Adapts to the rows of `after`; new and relocated rows start with zero moments."""
        kept = len(before)
        same = (before.means == after.means[:kept]).all(dim=1) & (before.opacity_logits == after.opacity_logits[:kept])
        for name, pair in self.moments.items():
            shape = (len(after) - kept, *pair[0].shape[1:])
            own = same.view(-1, *[1] * (pair[0].dim() - 1))
            first, second = (torch.cat([each * own, each.new_zeros(shape)]) for each in pair)
            self.moments[name] = first, second


class Descent:
    """Gaussians being optimised: leaf tensors, Adam with a learning rate per group, and noise.

    Args:
        start: the initial Gaussians.
        settings: rates, regularisers and noise.
        seed: of the noise.
        momentum: Adam's moments of the same Gaussians.
    """

    def __init__(
        self, start: GaussianScene, settings: OptimisationSettings, seed: int = 0, momentum: Momentum | None = None
    ) -> None:
        self._settings = settings
        self._leaves = _leaves(start)
        # A tensor, because a recorded step would freeze a Python number.
        self._means_rate = torch.tensor(settings.means_rate, device=start.device)
        self._optimiser = _adam(self._leaves, settings, self._means_rate)
        self._largest = self._leaves["log_scales"].detach() + math.log(settings.largest_growth)
        base, reach = self._leaves["base"].detach(), settings.largest_colour_change / C0
        self._colours = base - reach, base + reach
        self._draw = noise_draws(len(start), start.device, seed)
        self._draws = torch.zeros_like(start.means)
        if momentum is not None:
            self._resume(momentum)

    def _resume(self, momentum: Momentum) -> None:
        for name, pair in momentum.moments.items():
            leaf, steps = self._leaves[name], torch.tensor(momentum.steps, device=self._means_rate.device)
            # Newly added harmonics have no moments yet.
            first, second = (torch.zeros_like(leaf) for _ in range(2))
            for whole, each in zip((first, second), pair, strict=True):
                whole.view(len(leaf), -1)[:, : each[0].numel()] = each.view(len(leaf), -1)
            self._optimiser.state[leaf] = {"step": steps, "exp_avg": first, "exp_avg_sq": second}

    def momentum(self) -> Momentum:
        """Adam's current moments."""
        found = Momentum()
        for name, leaf in self._leaves.items():
            state = self._optimiser.state.get(leaf)
            if state:
                found.steps = float(state["step"])
                found.moments[name] = state["exp_avg"], state["exp_avg_sq"]
        return found

    @property
    def gaussians(self) -> GaussianScene:
        """The current Gaussians, with an autograd history back to the leaves."""
        return _scene_of(self._leaves)

    def begin(self, iteration: int) -> None:
        """Sets the learning rates and draws the noise of step 1 .. iterations."""
        if self._settings.means_decay < 1:
            self._means_rate.fill_(self._settings.means_rate_at(iteration))
        if self._settings.noise > 0:
            # Drawn outside `step`, because a recorded step cannot use a generator.
            self._draws = self._draw()

    def step(self) -> None:
        """Takes an optimiser step with the leaves' gradients, and clears them."""
        self._regularise()
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            self._leaves["log_scales"].clamp_(max=self._largest)
            self._leaves["base"].clamp_(*self._colours)
        if self._settings.noise > 0:
            names = ("means", "log_scales", "quaternions", "opacity_logits")
            moved = [self._leaves[name].detach() for name in names]
            explore(self._draws, self._settings.noise * self._means_rate, *moved)

    @torch.no_grad()
    def _regularise(self) -> None:
        """Adds the gradients of the mean opacity and the mean standard deviation."""
        logits, log_scales = self._leaves["opacity_logits"], self._leaves["log_scales"]
        if self._settings.opacity_weight > 0 and logits.grad is not None:
            opacity = torch.sigmoid(logits)
            logits.grad += self._settings.opacity_weight / max(1, len(logits)) * opacity * (1 - opacity)
        if self._settings.scale_weight > 0 and log_scales.grad is not None:
            log_scales.grad += self._settings.scale_weight / max(1, log_scales.numel()) * log_scales.exp()


def descend(
    descent: Descent, step: Callable[[int], torch.Tensor], sequence: NDArray[np.int64], on_progress: Progress | None
) -> NDArray[np.float32]:
    """Runs all iterations and returns their losses.

    Args:
        step: takes a step on the view with the given number, and returns the loss before it.
        sequence: the view of each iteration.
    """
    losses = torch.zeros(len(sequence), device=descent.gaussians.device)
    for iteration, view in enumerate(sequence):
        descent.begin(iteration + 1)
        losses[iteration] = step(int(view))
        report(on_progress, iteration + 1, len(sequence))
    return losses.cpu().numpy()


def rows_of(scene: GaussianScene, rows: NDArray[np.int64]) -> GaussianScene:
    """The Gaussians of these rows."""
    return scene.select(torch.from_numpy(rows).to(scene.device))


def with_rows(scene: GaussianScene, rows: NDArray[np.int64], moving: GaussianScene) -> GaussianScene:
    """The scene with these rows replaced."""
    if len(rows) == len(scene):
        return moving
    index = torch.from_numpy(rows).to(scene.device)
    pairs = zip(scene.tensors.items(), moving.tensors.values(), strict=True)
    return GaussianScene(**{name: whole.index_copy(0, index, part) for (name, whole), part in pairs})


def _scene_of(leaves: dict[str, torch.Tensor]) -> GaussianScene:
    parts = {name: leaf for name, leaf in leaves.items() if name not in ("base", "higher")}
    coarse, fine = leaves["base"], leaves["higher"]
    return GaussianScene(**parts, spherical_harmonics=torch.cat([coarse, fine], dim=1) if fine.shape[1] else coarse)


def _leaves(scene: GaussianScene) -> dict[str, torch.Tensor]:
    """Leaf tensors by name; `base` and `higher` split the harmonics, which have different learning rates."""
    tensors = dict(scene.tensors)
    harmonics = tensors.pop("spherical_harmonics")
    tensors |= {"base": harmonics[:, :1], "higher": harmonics[:, 1:]}
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}


def _adam(
    leaves: dict[str, torch.Tensor], settings: OptimisationSettings, means_rate: torch.Tensor
) -> torch.optim.Adam:
    rates: dict[str, float | torch.Tensor] = {
        "means": means_rate,
        "log_scales": settings.log_scales_rate,
        "quaternions": settings.quaternions_rate,
        "opacity_logits": settings.opacity_logits_rate,
        "base": settings.harmonics_rate,
        "higher": settings.harmonics_rate * settings.higher_harmonics_factor,
    }
    # Leave out empty leaves, because fused kernels cannot launch for them.
    groups = [{"params": [leaves[name]], "lr": rate} for name, rate in rates.items() if leaves[name].numel()]
    if not groups:
        groups = [{"params": [leaves["means"]], "lr": means_rate}]
    on_device = leaves["means"].is_cuda
    # Capturable keeps the step count on the device, so that a recorded step increments it.
    return torch.optim.Adam(
        groups, betas=settings.adam_betas, eps=settings.adam_epsilon, fused=on_device, capturable=on_device
    )


@dataclass(frozen=True)
class Judged:
    """A scalar loss and its gradients by a rendering's tensors, in their shapes; None if it does not depend on one."""

    loss: torch.Tensor
    by_rgb: torch.Tensor
    by_alpha: torch.Tensor | None
    by_depth: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class Target:
    """A view on the device with everything that is constant between iterations.

    colour (1, 3, H, W); supervised (H, W) bool, mask the same as float; mean, square (1, 3, H, W): blurred colour and
    its square; depth, depth_weight (H, W).
    """

    camera: Camera
    settings: OptimisationSettings
    colour: torch.Tensor
    supervised: torch.Tensor
    mask: torch.Tensor
    pixels: float
    weight: float
    mean: torch.Tensor
    square: torch.Tensor
    depth: torch.Tensor | None
    depth_weight: torch.Tensor | None

    @classmethod
    def of(cls, view: View, settings: OptimisationSettings, device: torch.device) -> Target:
        colour = view.srgb.to(device, torch.float32).permute(2, 0, 1)[None].contiguous()
        supervised = view.supervised().to(device)
        mask = supervised.float()
        depth, depth_weight = _depth_target(view, settings, mask)
        return cls(
            view.camera,
            settings,
            colour,
            supervised,
            mask,
            max(1.0, float(mask.sum())),
            view.weight,
            blur(colour, _HALF_WINDOW),
            blur(colour * colour, _HALF_WINDOW),
            depth,
            depth_weight,
        )

    @torch.no_grad()
    def loss(self, rendering: Rendering) -> Judged:
        """The loss of a one-camera rendering; see `optimisation.OptimisationSettings`.

        The gradients are hand-written, because autograd would launch several times as many kernels.
        """
        # Unsupervised pixels equal the target, so the sums need no mask. Channel planes are faster to blur.
        picture = torch.where(self.supervised, rendering.rgb.permute(0, 3, 1, 2), self.colour).contiguous()
        total, by_picture = _colour_term(picture - self.colour, self.settings.beta)
        if self.settings.ssim_weight > 0:
            similarity, by_similarity = self._similarity(picture)
            total = total + self.settings.ssim_weight * (self.pixels - similarity)
            by_picture = by_picture.add(by_similarity, alpha=-self.settings.ssim_weight)
        scale = self.weight / self.pixels
        by_rgb = (by_picture * (self.mask * scale)).permute(0, 2, 3, 1)
        by_alpha, by_depth = None, None
        if self.settings.coverage_weight > 0:
            weight = self.mask[None] * self.settings.coverage_weight
            total = total + ((1 - rendering.alpha) * weight).sum()
            by_alpha = weight * -scale
        if self.depth is not None and self.depth_weight is not None:
            weight = self.depth_weight * (rendering.alpha > ALPHA_FLOOR)
            error = rendering.depth - self.depth
            total = total + (error.abs() * weight).sum()
            by_depth = error.sign() * weight * scale
        return Judged(total * scale, by_rgb, by_alpha, by_depth)

    def _similarity(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sum over supervised pixels of the channel mean of SSIM, and its gradient.

        It blurs three channels three times forward and three times backward, each pass one depthwise convolution.
        """
        moments = blur(torch.cat([picture, picture * picture, picture * self.colour], dim=1), _HALF_WINDOW)
        mean_x, square_x, product = moments.chunk(3, dim=1)
        similarity, *derivatives = _ssim_and_derivatives(mean_x, self.mean, square_x, self.square, product)
        by_moments = blur(torch.cat(derivatives, dim=1) * self.mask, _HALF_WINDOW)
        by_mean, by_square, by_product = by_moments.chunk(3, dim=1)
        gradient = by_mean + 2 * picture * by_square + self.colour * by_product
        return (similarity * self.mask).sum() / 3, gradient / 3


def _colour_term(difference: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the smooth L1 norm (L1 if beta is 0) over pixels, mean over channels, and its gradient."""
    if beta == 0:
        return difference.abs().sum() / 3, difference.sign() / 3
    bounded = difference.clamp(-beta, beta)
    # bounded * (difference - bounded / 2) is quadratic within beta and linear outside.
    total = (bounded * torch.add(difference, bounded, alpha=-0.5)).sum()
    return total / (3 * beta), bounded / (3 * beta)


def _depth_target(
    view: View, settings: OptimisationSettings, mask: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if view.depth is None or settings.depth_weight == 0:
        return None, None
    depth = view.depth.to(mask)
    valid = torch.isfinite(depth) & (depth > 0)
    return torch.where(valid, depth, torch.zeros_like(depth)), mask * valid * settings.depth_weight


def _ssim_and_derivatives(
    mean_x: torch.Tensor,
    mean_y: torch.Tensor,
    square_x: torch.Tensor,
    square_y: torch.Tensor,
    product: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """SSIM map and its derivatives by the windowed means of x, x² and x y."""
    both, squares = mean_x * mean_y, mean_x * mean_x
    luminance = 2 * both + SSIM_C1
    luminance_norm = squares + mean_y * mean_y + SSIM_C1
    contrast = 2 * (product - both) + SSIM_C2
    contrast_norm = (square_x - squares) + (square_y - mean_y * mean_y) + SSIM_C2
    inverse = 1 / (luminance_norm * contrast_norm)
    similarity = luminance * contrast * inverse
    by_square, by_product = -similarity / contrast_norm, 2 * luminance * inverse
    by_luminance = mean_y * contrast * inverse - mean_x * similarity / luminance_norm
    by_mean = 2 * (by_luminance - mean_x * by_square) - mean_y * by_product
    return similarity, by_mean, by_square, by_product
