"""Image quality: PSNR, and the window of SSIM that fits optimise.

Images are sRGB in [0, 1]. SSIM is that of Wang et al. 2004 as usually computed (11 x 11 Gaussian window, sigma 1.5,
K1 0.01, K2 0.03, population variance).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.nn import functional

WINDOW = 11
_SIGMA = 1.5
# Stabilisers of the luminance and contrast terms for values in [0, 1].
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def psnr(image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, a scalar tensor; infinite for equal images.

    Args:
        image, reference: (..., H, W, 3).
        mask: (..., H, W) bool: pixels that count.

    Raises:
        ValueError: for different shapes or a mask that is empty.
    """
    if image.shape != reference.shape:
        raise ValueError(f"images of shapes {tuple(image.shape)} and {tuple(reference.shape)} cannot be compared")
    squared = (image - reference).square()
    if mask is not None:
        if not bool(mask.any()):
            raise ValueError("PSNR over an empty mask is undefined")
        squared = squared[mask]
    return -10 * torch.log10(squared.mean())


@lru_cache(maxsize=16)
def gaussian_window(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(11,) normalised weights of the SSIM window along one axis; kept, so not to be written to."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    return (weights / weights.sum()).to(device, dtype)


def blur(planes: torch.Tensor, padding: int) -> torch.Tensor:
    """Separable SSIM window over planes (B, C, H, W), zero-padded by `padding` pixels a side."""
    channels = planes.shape[1]
    weights = gaussian_window(planes.device, planes.dtype)
    across = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    blurred = functional.conv2d(planes, across, padding=(0, padding), groups=channels)
    return functional.conv2d(blurred, down, padding=(padding, 0), groups=channels)
