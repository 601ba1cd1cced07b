"""The fitting loop in torch: for gsplat on a GPU, and the reference for the compiled CPU loop.

Nothing in the loop waits for the device: views are prepared before, losses stay on the device until the
end, and Adam runs as one fused kernel per group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..cameras import Camera
from ..metrics import SSIM_C1, SSIM_C2, blur
from .optimisation import OptimisationSettings, Progress, View, report
from .rendering import Renderer, Rendering
from .scene import GaussianScene

_HALF_WINDOW = 5


def fit(
    scene: GaussianScene,
    views: Sequence[View],
    settings: OptimisationSettings,
    sequence: NDArray[np.int64],
    renderer: Renderer,
    rows: NDArray[np.int64],
    on_progress: Progress | None,
) -> tuple[GaussianScene, NDArray[np.float32]]:
    """See `optimisation.optimise`; sequence names the view of each iteration, rows what may change."""
    targets = [_Target.of(view, settings, renderer.device) for view in views]
    moving = _MovingRows(scene, rows)
    optimiser = _adam(moving.leaves, settings)
    losses = torch.zeros(settings.iterations, device=renderer.device)
    largest = moving.leaves["log_scales"].detach() + math.log(settings.largest_growth)
    for iteration, index in enumerate(sequence):
        target = targets[int(index)]
        loss = target.loss(renderer.render(moving.whole(), [target.camera]), settings)
        losses[iteration] = loss.detach()
        if loss.requires_grad:
            torch.autograd.backward(loss)
        optimiser.param_groups[0]["lr"] = settings.means_rate_at(iteration + 1)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        with torch.no_grad():
            moving.leaves["log_scales"].clamp_(max=largest)
        report(on_progress, iteration + 1, settings.iterations)
    return moving.whole().detach().clone(), losses.cpu().numpy()


class _MovingRows:
    """The trainable rows as leaves, and the whole scene made of them and the frozen rest."""

    def __init__(self, scene: GaussianScene, rows: NDArray[np.int64]) -> None:
        index = torch.from_numpy(rows).to(scene.device)
        self._scene = scene
        self._index = None if len(rows) == len(scene) else index
        self.leaves = _leaves(scene.select(index))

    def whole(self) -> GaussianScene:
        """Rows in their old order."""
        coarse, fine = self.leaves["base"], self.leaves["higher"]
        parts = {name: leaf for name, leaf in self.leaves.items() if name not in ("base", "higher")}
        parts["spherical_harmonics"] = torch.cat([coarse, fine], dim=1) if fine.shape[1] else coarse
        if self._index is not None:
            for name, tensor in self._scene.tensors.items():
                parts[name] = tensor.index_copy(0, self._index, parts[name])
        return GaussianScene(**parts)


def _leaves(scene: GaussianScene) -> dict[str, torch.Tensor]:
    """Leaf tensors by name; base and higher split the harmonics, which learn at different rates."""
    tensors = dict(scene.tensors)
    harmonics = tensors.pop("spherical_harmonics")
    tensors |= {"base": harmonics[:, :1], "higher": harmonics[:, 1:]}
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in tensors.items()}


def _adam(leaves: dict[str, torch.Tensor], settings: OptimisationSettings) -> torch.optim.Adam:
    rates = {
        "means": settings.means_rate,
        "log_scales": settings.log_scales_rate,
        "quaternions": settings.quaternions_rate,
        "opacity_logits": settings.opacity_logits_rate,
        "base": settings.harmonics_rate,
        "higher": settings.harmonics_rate * settings.higher_harmonics_factor,
    }
    # A leaf without elements takes no part: fused kernels have nothing to launch for it.
    groups = [{"params": [leaves[name]], "lr": rate} for name, rate in rates.items() if leaves[name].numel()]
    if not groups:
        groups = [{"params": [leaves["means"]], "lr": settings.means_rate}]
    fused = leaves["means"].is_cuda
    return torch.optim.Adam(groups, betas=settings.adam_betas, eps=settings.adam_epsilon, fused=fused)


@dataclass(frozen=True, eq=False)
class _Target:
    """A view on the device with everything that does not change between iterations.

    colour (1, 3, H, W); mask (H, W) float 0 or 1; mean, square (1, 3, H, W): blurred colour and its square.
    """

    camera: Camera
    colour: torch.Tensor
    mask: torch.Tensor
    supervises_all: bool
    pixels: float
    mean: torch.Tensor
    square: torch.Tensor
    depth: torch.Tensor | None
    depth_weight: torch.Tensor | None

    @classmethod
    def of(cls, view: View, settings: OptimisationSettings, device: torch.device) -> _Target:
        colour = view.srgb.to(device, torch.float32).permute(2, 0, 1)[None].contiguous()
        mask = view.supervised().to(device, torch.float32)
        count = float(mask.sum())
        depth, depth_weight = _depth_target(view, settings, mask)
        return cls(
            view.camera,
            colour,
            mask,
            count == mask.numel(),
            max(1.0, count),
            blur(colour, _HALF_WINDOW),
            blur(colour * colour, _HALF_WINDOW),
            depth,
            depth_weight,
        )

    def loss(self, rendering: Rendering, settings: OptimisationSettings) -> torch.Tensor:
        """Scalar loss of a one-camera rendering."""
        picture = rendering.rgb.permute(0, 3, 1, 2)
        if not self.supervises_all:
            picture = torch.where(self.mask > 0, picture, self.colour)
        # Unsupervised pixels equal the target, so the sum needs no mask.
        total = _colour_term(picture, self.colour, settings) / 3
        if settings.ssim_weight > 0:
            similarity = _Similarity.apply(picture, self.colour, self.mean, self.square, self.mask)
            total = total + settings.ssim_weight * (self.pixels - similarity)
        if self.depth is not None and self.depth_weight is not None:
            error = (rendering.depth[0] - self.depth).abs() * (rendering.alpha[0].detach() > 1e-10)
            total = total + (error * self.depth_weight).sum()
        if settings.coverage_weight > 0:
            total = total + settings.coverage_weight * ((1 - rendering.alpha[0]) * self.mask).sum()
        return total / self.pixels


def _colour_term(picture: torch.Tensor, target: torch.Tensor, settings: OptimisationSettings) -> torch.Tensor:
    if settings.beta == 0:
        return torch.nn.functional.l1_loss(picture, target, reduction="sum")
    return torch.nn.functional.smooth_l1_loss(picture, target, reduction="sum", beta=settings.beta)


def _depth_target(
    view: View, settings: OptimisationSettings, mask: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    if view.depth is None or settings.depth_weight == 0:
        return None, None
    depth = view.depth.to(mask)
    valid = torch.isfinite(depth) & (depth > 0)
    return torch.where(valid, depth, torch.zeros_like(depth)), mask * valid * settings.depth_weight


class _Similarity(torch.autograd.Function):
    """Sum over masked pixels of the channel mean of SSIM(picture, target), with an analytic gradient.

    Three blurs of three channels forward and three back, each pass one depthwise convolution; autograd
    through the formula would take two more and keep some twenty maps.
    """

    @staticmethod
    def forward(
        ctx: Any,
        picture: torch.Tensor,
        target: torch.Tensor,
        mean_y: torch.Tensor,
        square_y: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        moments = blur(torch.cat([picture, picture * picture, picture * target], dim=1), _HALF_WINDOW)
        mean_x, square_x, product = moments.chunk(3, dim=1)
        similarity, *derivatives = _ssim_and_derivatives(mean_x, mean_y, square_x, square_y, product)
        ctx.save_for_backward(picture, target, mask, torch.cat(derivatives, dim=1))
        return (similarity * mask).sum() / 3

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        picture, target, mask, derivatives = ctx.saved_tensors
        by_mean, by_square, by_product = blur(derivatives * mask, _HALF_WINDOW).chunk(3, dim=1)
        gradient = by_mean + 2 * picture * by_square + target * by_product
        return gradient * (gradients[0] / 3), None, None, None, None


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
