"""Image quality: PSNR and SSIM, for torch tensors and numpy arrays.

Images are sRGB in [0, 1]. SSIM is Wang et al. 2004 as usually computed (11 x 11 Gaussian window, sigma
1.5, K1 0.01, K2 0.03, population variance), averaged over channels and over the windows that lie
entirely inside the image.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from scenewright_stages.vision.types import Float32Array

_WINDOW = 11
_SIGMA = 1.5
# Stabilisers of the luminance and contrast terms for values in [0, 1].
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


def psnr(image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB, a scalar tensor; infinite for equal images.

    Args:
        image, reference: (..., H, W, 3).
        mask: (..., H, W) bool: pixels that count.

    Raises:
        ValueError: the shapes differ, or the mask is empty.
    """
    _check_shapes(image.shape, reference.shape)
    squared = (image - reference).square()
    if mask is not None:
        if not bool(mask.any()):
            raise ValueError("PSNR over an empty mask is undefined")
        squared = squared[mask]
    return -10 * torch.log10(squared.mean())


def array_psnr(
    picture: NDArray[np.float32], truth: NDArray[np.float32], mask: NDArray[np.bool_] | None = None
) -> float:
    """PSNR in dB of arrays of equal shape, with the image clipped to [0, 1]; 100 if they are equal.

    Args:
        mask: (H, W) bool: pixels that count; None counts all.
    """
    if mask is not None:
        picture, truth = picture[mask], truth[mask]
    error = float(np.mean(np.square(np.clip(picture, 0, 1) - truth, dtype=np.float64)))
    return float(min(100.0, -10 * np.log10(max(error, 1e-10))))


def sharpness(picture: NDArray[np.uint8], counted: NDArray[np.bool_] | None = None) -> float:
    """Standard deviation of the luminance's Laplacian, relative to that of the luminance, over the pixels that count.

    A mean of absolute values would hardly respond to blur in mostly smooth images, where 8-bit rounding dominates it.
    """
    grey: Float32Array = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail: Float32Array = np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32)
    if counted is not None and counted.any():
        # A pixel at the mask's border has a neighbour that does not count.
        inner = cv2.erode(counted.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        detail, grey = (plane[inner if inner.any() else counted] for plane in (detail, grey))
    return float(detail.std() / max(1.0, float(grey.std())))


def ssim(image: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Mean structural similarity of images (H, W, 3) or (B, H, W, 3), a scalar tensor.

    Args:
        mask: (H, W) bool: only windows that lie entirely on these pixels count. If there is none, windows around them
            count, in which the other pixels are alike in both images.

    Raises:
        ValueError: the shapes differ, or a side is below 11 pixels.
    """
    _check_shapes(image.shape, reference.shape)
    if min(image.shape[-3], image.shape[-2]) < _WINDOW:
        raise ValueError(f"SSIM needs at least {_WINDOW} pixels a side, got {tuple(image.shape)}")
    if mask is not None:
        image = torch.where(mask[..., None], image, reference)
    x, y = _channels_first(image), _channels_first(reference)
    moments = blur(torch.cat([x, y, x * x, y * y, x * y], dim=1), padding=0)
    similarity = ssim_from_moments(*moments.chunk(5, dim=1))
    return similarity.mean() if mask is None else similarity[..., _counted_windows(mask)].mean()


def _counted_windows(mask: torch.Tensor) -> torch.Tensor:
    """Bool per window: those entirely on the mask, else those that touch it."""
    planes = mask[None, None].float()
    whole = -functional.max_pool2d(-planes, _WINDOW, stride=1)[0, 0] > 0
    return whole if bool(whole.any()) else functional.max_pool2d(planes, _WINDOW, stride=1)[0, 0] > 0


@lru_cache(maxsize=16)
def gaussian_window(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(11,) normalised weights of the SSIM window along one axis; cached, so do not modify it."""
    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    return (weights / weights.sum()).to(device, dtype)


def blur(planes: torch.Tensor, padding: int) -> torch.Tensor:
    """Separable SSIM window over planes (B, C, H, W), zero-padded by `padding` pixels on each side."""
    channels = planes.shape[1]
    weights = gaussian_window(planes.device, planes.dtype)
    across = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    blurred = functional.conv2d(planes, across, padding=(0, padding), groups=channels)
    return functional.conv2d(blurred, down, padding=(padding, 0), groups=channels)


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


def _check_shapes(shape: torch.Size, reference: torch.Size) -> None:
    if shape != reference:
        raise ValueError(f"images of shapes {tuple(shape)} and {tuple(reference)} cannot be compared")
