"""Inputs of the fitting loops: views, settings and the progress callback. `optimisation` chooses the loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from scenewright_stages.vision.geometry.cameras import Camera

Progress = Callable[[int, int], None]
PROGRESS_INTERVAL = 10


@dataclass(frozen=True, eq=False)
class View:
    """A training view.

    Attributes:
        camera: of size (W, H).
        srgb: (H, W, 3) float32 in [0, 1].
        mask: (H, W) bool, pixels to supervise; None supervises all.
        depth: (H, W) float32 z-depth in metres, used if `OptimisationSettings.depth_weight` > 0; pixels that
            are not finite and positive are ignored.
        weight: factor of the view's loss.
        share: how often the view is drawn, relative to the others.

    Raises:
        ValueError: a shape does not match the camera, a colour is not finite, or weight or share is not positive.
    """

    camera: Camera
    srgb: torch.Tensor
    mask: torch.Tensor | None = None
    depth: torch.Tensor | None = None
    weight: float = 1.0
    share: float = 1.0

    def __post_init__(self) -> None:
        if not (self.weight > 0 and self.share > 0):
            raise ValueError(f"weight {self.weight} and share {self.share} must be positive")
        size = (self.camera.height, self.camera.width)
        for name, tensor in (("mask", self.mask), ("depth", self.depth)):
            if tensor is not None and tuple(tensor.shape) != size:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the camera sees {size}")
        if tuple(self.srgb.shape) != (*size, 3):
            raise ValueError(f"srgb has shape {tuple(self.srgb.shape)}, expected {(*size, 3)}")
        if not bool(torch.isfinite(self.srgb).all()):
            raise ValueError("srgb holds values that are not finite")

    def supervised(self) -> torch.Tensor:
        """(H, W) bool mask."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.srgb.shape[:2], dtype=torch.bool, device=self.srgb.device)


@dataclass(frozen=True)
class OptimisationSettings:
    """Fitting settings; the defaults are VistaDream's unless noted.

    loss = mean over supervised pixels of (colour term + ssim_weight * (1 - SSIM)
           + depth_weight * |expected depth - depth| + coverage_weight * (1 - alpha))

    Attributes:
        iterations: Adam steps, each on one random view.
        means_rate, log_scales_rate, quaternions_rate, opacity_logits_rate: learning rates.
        harmonics_rate: of the view-independent coefficient, gsplat's. VistaDream steps 5e-4 on the logit of
            the colour, a twentieth of this for a mid-grey; a hundred steps then hardly change a colour.
        higher_harmonics_factor: learning rate of the view-dependent coefficients relative to it (gsplat's
            1/20).
        means_decay: factor by which means_rate has fallen at the end, exponentially (gsplat uses 0.01).
        largest_growth: factor by which an axis of a Gaussian may grow beyond its first size.
        largest_colour_change: how far a channel of a Gaussian's view-independent colour may move from its first value
            (sRGB in [0, 1]).
        opacity_weight, scale_weight: of the mean opacity and the mean standard deviation of the Gaussians that may
            change (3DGS-MCMC). They shape the gradients and are not part of the reported losses.
        noise: after every step the means of nearly transparent Gaussians move by their covariance times normal draws,
            times `noise`, times the step's learning rate of the means (see `mcmc.explore`); 0 disables it.
        loss: "smooth_l1" is quadratic below smooth_l1_beta; "l1" is absolute.
        ssim_weight, depth_weight, coverage_weight: see above; 0 disables a term. Without the coverage term nothing over
            a black background explains a dark pixel as well as an opaque dark Gaussian, and dark surfaces become
            transparent.
        adam_betas, adam_epsilon: Adam's constants (epsilon as in gsplat).

    Raises:
        ValueError: a count, rate or weight is negative, or a decay is outside (0, 1].
    """

    iterations: int = 500
    means_rate: float = 1e-4
    log_scales_rate: float = 5e-3
    quaternions_rate: float = 1e-3
    opacity_logits_rate: float = 5e-2
    harmonics_rate: float = 2.5e-3
    higher_harmonics_factor: float = 1 / 20
    means_decay: float = 1.0
    largest_growth: float = math.inf
    largest_colour_change: float = math.inf
    opacity_weight: float = 0.0
    scale_weight: float = 0.0
    noise: float = 0.0
    loss: Literal["smooth_l1", "l1"] = "smooth_l1"
    smooth_l1_beta: float = 1.0
    ssim_weight: float = 0.2
    depth_weight: float = 0.0
    coverage_weight: float = 0.05
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_epsilon: float = 1e-15

    def __post_init__(self) -> None:
        numbers = (
            self.iterations,
            self.means_rate,
            self.log_scales_rate,
            self.quaternions_rate,
            self.opacity_logits_rate,
            self.harmonics_rate,
            self.higher_harmonics_factor,
            self.smooth_l1_beta,
            self.ssim_weight,
            self.depth_weight,
            self.coverage_weight,
            self.opacity_weight,
            self.scale_weight,
            self.noise,
        )
        if min(numbers) < 0 or not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"settings must be finite and not negative: {self}")
        if not 0 < self.means_decay <= 1:
            raise ValueError(f"means_decay {self.means_decay} must lie in (0, 1]")
        if not self.largest_growth >= 1:
            raise ValueError(f"largest_growth {self.largest_growth} must be at least 1")
        if not self.largest_colour_change >= 0:
            raise ValueError(f"largest_colour_change {self.largest_colour_change} must not be negative")

    @property
    def beta(self) -> float:
        """Width of the quadratic part of the colour term; 0 is L1."""
        return self.smooth_l1_beta if self.loss == "smooth_l1" else 0.0

    def means_rate_at(self, step: int) -> float:
        """Learning rate of the means in step 1 .. iterations."""
        return float(self.means_rate * self.means_decay ** (step / max(1, self.iterations)))


def report(on_progress: Progress | None, done: int, total: int) -> None:
    """Calls on_progress if an update is due."""
    if on_progress is not None and (done % PROGRESS_INTERVAL == 0 or done == total):
        on_progress(done, total)
