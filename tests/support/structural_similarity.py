"""SSIM of whole images (Wang et al. 2004), with the window that fits optimise."""

from __future__ import annotations

import torch

from scenewright_stages.vision.metrics import SSIM_C1, SSIM_C2, WINDOW, blur


def ssim(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity of images (H, W, 3) or (B, H, W, 3), a scalar tensor.

    Averaged over channels and over the windows that lie entirely inside the image.

    Raises:
        ValueError: for different shapes or sides below 11 pixels.
    """
    if image.shape != reference.shape:
        raise ValueError(f"images of shapes {tuple(image.shape)} and {tuple(reference.shape)} cannot be compared")
    if min(image.shape[-3], image.shape[-2]) < WINDOW:
        raise ValueError(f"SSIM needs at least {WINDOW} pixels a side, got {tuple(image.shape)}")
    x, y = _channels_first(image), _channels_first(reference)
    moments = blur(torch.cat([x, y, x * x, y * y, x * y], dim=1), padding=0)
    return ssim_from_moments(*moments.chunk(5, dim=1)).mean()


def ssim_from_moments(
    mean_x: torch.Tensor,
    mean_y: torch.Tensor,
    square_x: torch.Tensor,
    square_y: torch.Tensor,
    product: torch.Tensor,
) -> torch.Tensor:
    """SSIM map from windowed means of x, y, x², y² and x y."""
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x.square() + mean_y.square() + SSIM_C1)
    covariance = product - mean_x * mean_y
    variances = square_x - mean_x.square() + square_y - mean_y.square()
    return luminance * (2 * covariance + SSIM_C2) / (variances + SSIM_C2)


def _channels_first(image: torch.Tensor) -> torch.Tensor:
    batch = image if image.dim() == 4 else image[None]
    return batch.permute(0, 3, 1, 2)
