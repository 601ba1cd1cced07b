"""XFeat describes keypoints of a photograph by a small convolutional network.

"XFeat: Accelerated Features for Lightweight Image Matching", Potje et al., CVPR 2024, arXiv:2404.19174. The layers have
the names of the published weights, which `models` loads. The keypoints are the caller's: XFeat's own lie on whole
pixels, half a pixel off, where SIFT's are right to a fifth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import grid_sample, interpolate, normalize

DESCRIPTOR = 64
_MULTIPLE = 32


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints of a photograph, the most reliable first.

    Attributes:
        pixels: (N, 2) float32 column and row in the photograph, pixel centres at +0.5.
        descriptors: (N, 64) float32 of unit length.
        numbers: (N,) int64, which of the given keypoints they are.
        size: width and height of the photograph in pixels.
    """

    pixels: torch.Tensor
    descriptors: torch.Tensor
    numbers: torch.Tensor
    size: tuple[int, int]


class XFeat(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(1)
        self.skip1 = nn.Sequential(nn.AvgPool2d(4, stride=4), nn.Conv2d(1, 24, 1))
        self.block1 = nn.Sequential(_layer(1, 4), _layer(4, 8, 2), _layer(8, 8), _layer(8, 24, 2))
        self.block2 = nn.Sequential(_layer(24, 24), _layer(24, 24))
        self.block3 = nn.Sequential(_layer(24, 64, 2), _layer(64, 64), _layer(64, 64, kernel=1))
        self.block4 = nn.Sequential(_layer(64, 64, 2), _layer(64, 64), _layer(64, 64))
        self.block5 = nn.Sequential(_layer(64, 128, 2), _layer(128, 128), _layer(128, 128), _layer(128, 64, kernel=1))
        self.block_fusion = nn.Sequential(_layer(64, 64), _layer(64, 64), nn.Conv2d(64, DESCRIPTOR, 1))
        self.heatmap_head = nn.Sequential(
            *(_layer(64, 64, kernel=1) for _ in range(2)), nn.Conv2d(64, 1, 1), nn.Sigmoid()
        )

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps of a picture.

        Args:
            grey: (1, 1, H, W), sides multiples of 32.

        Returns:
            Descriptors (1, 64, H / 8, W / 8) of unit length, and their reliability (1, 1, H / 8, W / 8) in [0, 1].
        """
        grey = self.norm(grey)
        fine = self.block2(self.block1(grey) + self.skip1(grey))
        third = self.block3(fine)
        fourth = self.block4(third)
        fifth = self.block5(fourth)
        larger = [interpolate(each, third.shape[-2:], mode="bilinear") for each in (fourth, fifth)]
        fused = self.block_fusion(third + larger[0] + larger[1])
        return normalize(fused, dim=1), self.heatmap_head(fused)

    @torch.inference_mode()
    def features(
        self, picture: NDArray[np.uint8], pixels: NDArray[np.float32], count: int, size: tuple[int, int]
    ) -> Features:
        """The most reliable keypoints with their descriptors.

        Args:
            picture: (H, W, 3) sRGB, each side at least 32 pixels; the photograph or a scaled copy of it.
            pixels: (N, 2) column and row of keypoints in the photograph, pixel centres at +0.5.
            count: of keypoints at most.
            size: width and height of the photograph.
        """
        height, width = picture.shape[:2]
        inner = height // _MULTIPLE * _MULTIPLE, width // _MULTIPLE * _MULTIPLE
        grey = (torch.from_numpy(picture).float() / 255).mean(dim=2)[None, None]
        if inner != (height, width):
            grey = interpolate(grey, inner, mode="bilinear")
        descriptors, reliability = self(grey)
        given = torch.from_numpy(pixels)
        places = given * torch.tensor([inner[1] / size[0], inner[0] / size[1]]) - 0.5
        reliable = _sampled(reliability, places, inner, "bilinear")[:, 0]
        best = torch.argsort(reliable, descending=True, stable=True)[:count]
        found = normalize(_sampled(descriptors, places[best], inner, "bicubic"), dim=1)
        return Features(given[best], found, best, size)


def _layer(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Module:
    return _Layer(inputs, outputs, stride, kernel)


class _Layer(nn.Module):
    """Convolution, batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.layer = nn.Sequential(convolution, nn.BatchNorm2d(outputs, affine=False), nn.ReLU(inplace=True))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(values)
        return found


def _sampled(plane: torch.Tensor, places: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """(N, C) values of a map (1, C, ...) at pixels (N, 2) of a picture of size (height, width).

    The published code divides by the size less one and samples without aligned corners; the weights are trained so.
    """
    grid = 2 * places / torch.tensor([size[1] - 1.0, size[0] - 1.0]) - 1
    return grid_sample(plane, grid[None, :, None], mode=mode, align_corners=False)[0, :, :, 0].T
