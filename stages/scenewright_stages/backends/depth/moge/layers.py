"""Convolutional building blocks of MoGe's decoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "elu": nn.ELU}
_CHANNELS_PER_GROUP = 32


def convolution(channels_in: int, channels_out: int, size: int = 3) -> nn.Conv2d:
    """A convolution that keeps the size, with the border repeated."""
    return nn.Conv2d(channels_in, channels_out, size, padding=size // 2, padding_mode="replicate")


def normalisation(kind: str, channels: int) -> nn.Module:
    """A normalisation layer by its name in the checkpoint's configuration.

    Raises:
        ValueError: unknown name.
    """
    if kind == "group_norm":
        return nn.GroupNorm(channels // _CHANNELS_PER_GROUP, channels)
    if kind == "layer_norm":
        return nn.GroupNorm(1, channels)
    if kind == "instance_norm":
        return nn.InstanceNorm2d(channels)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"unknown normalisation {kind!r}")


def activation(kind: str) -> nn.Module:
    """An activation by its name in the checkpoint's configuration. Raises ValueError for an unknown one."""
    if kind == "leaky_relu":
        return nn.LeakyReLU(0.2)
    if kind not in _ACTIVATIONS:
        raise ValueError(f"unknown activation {kind!r}")
    return _ACTIVATIONS[kind]()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions before which the features are normalised and activated, and a shortcut."""

    def __init__(
        self, channels: int, hidden: int, norm_in: str, norm_hidden: str, activation_kind: str = "relu"
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            normalisation(norm_in, channels),
            activation(activation_kind),
            convolution(channels, hidden),
            normalisation(norm_hidden, hidden),
            activation(activation_kind),
            convolution(hidden, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        refined: Tensor = features + self.layers(features)
        return refined


def resampler(kind: str, channels_in: int, channels_out: int) -> nn.Sequential:
    """Doubles (or halves) the size and changes the number of channels.

    Raises:
        ValueError: unknown kind.
    """
    if kind == "conv_transpose":
        grow = nn.ConvTranspose2d(channels_in, channels_out, kernel_size=2, stride=2)
        return nn.Sequential(grow, convolution(channels_out, channels_out))
    if kind == "bilinear":
        smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        return nn.Sequential(smooth, convolution(channels_in, channels_out))
    if kind == "nearest":
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), convolution(channels_in, channels_out))
    if kind == "pixel_shuffle":
        wide = convolution(channels_in, 4 * channels_out)
        return nn.Sequential(wide, nn.PixelShuffle(2), convolution(channels_out, channels_out))
    if kind == "pixel_unshuffle":
        return nn.Sequential(nn.PixelUnshuffle(2), convolution(4 * channels_in, channels_out))
    if kind in ("avg_pool", "max_pool"):
        pool: nn.Module = nn.AvgPool2d(2) if kind == "avg_pool" else nn.MaxPool2d(2)
        return nn.Sequential(convolution(channels_in, channels_out), pool)
    raise ValueError(f"unknown resampler {kind!r}")


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ConvolutionStack(nn.Module):
    """A pyramid of residual blocks from coarse to fine; every level may take an input and give an output.

    The arguments are the checkpoint's own configuration (``dim_*``, ``num_res_blocks``, ``resamplers``, ...).
    """

    def __init__(
        self,
        *,
        dim_in: Sequence[int | None] | int | None,
        dim_res_blocks: Sequence[int],
        dim_out: Sequence[int | None] | int | None,
        resamplers: Sequence[str] | str,
        dim_times_res_block_hidden: int = 1,
        num_res_blocks: Sequence[int] | int = 1,
        res_block_in_norm: str = "layer_norm",
        res_block_hidden_norm: str = "group_norm",
        activation: str = "relu",
    ) -> None:
        super().__init__()
        levels = len(dim_res_blocks)
        self.input_blocks = nn.ModuleList(
            _pointwise(given, width) for given, width in zip(_each(dim_in, levels), dim_res_blocks, strict=True)
        )
        self.resamplers = nn.ModuleList(
            resampler(kind, coarse, fine)
            for kind, coarse, fine in zip(
                _each(resamplers, levels - 1), dim_res_blocks[:-1], dim_res_blocks[1:], strict=True
            )
        )
        self.res_blocks = nn.ModuleList(
            nn.Sequential(
                *(
                    ResidualBlock(
                        width,
                        dim_times_res_block_hidden * width,
                        res_block_in_norm,
                        res_block_hidden_norm,
                        activation,
                    )
                    for _ in range(count)
                )
            )
            for count, width in zip(_each(num_res_blocks, levels), dim_res_blocks, strict=True)
        )
        self.output_blocks = nn.ModuleList(
            _pointwise(width, asked) for width, asked in zip(dim_res_blocks, _each(dim_out, levels), strict=True)
        )

    def forward(self, inputs: Sequence[Tensor | None]) -> list[Tensor]:
        """Features of every level.

        Args:
            inputs: per level (B, C, H * 2^level, W * 2^level), or None where a level takes none.
        """
        outputs: list[Tensor] = []
        features: Tensor | None = None
        for level, given in enumerate(inputs):
            features = _sum_of(features, None if given is None else self.input_blocks[level](given))
            features = self.res_blocks[level](features)
            outputs.append(self.output_blocks[level](features))
            if level < len(self.resamplers):
                features = self.resamplers[level](features)
        return outputs


def _sum_of(features: Tensor | None, added: Tensor | None) -> Tensor:
    present = [part for part in (features, added) if part is not None]
    if not present:
        raise ValueError("the coarsest level of the pyramid needs an input")
    return present[0] if len(present) == 1 else present[0] + present[1]


def _pointwise(channels_in: int | None, channels_out: int | None) -> nn.Module:
    if channels_in is None or channels_out is None:
        return nn.Identity()
    return nn.Conv2d(channels_in, channels_out, kernel_size=1)


def _each(value: Any, count: int) -> list[Any]:
    """A value per level, from a list of them or one for all."""
    return [value] * count if value is None or isinstance(value, int | str) else list(value)


def view_plane(width: int, height: int, aspect: float, like: Tensor) -> Tensor:
    """(B, 2, height, width) coordinates of the pixel centres; the corners of the image lie on the unit circle.

    Args:
        width, height: of the grid.
        aspect: width / height of the image, which need not be the grid's.
        like: gives batch size, type and device.
    """
    half_width, half_height = aspect / (1 + aspect**2) ** 0.5, 1 / (1 + aspect**2) ** 0.5
    columns = _centres(width, half_width, like).expand(height, width)
    rows = _centres(height, half_height, like)[:, None].expand(height, width)
    return torch.stack([columns, rows]).expand(len(like), -1, -1, -1)


def _centres(count: int, half: float, like: Tensor) -> Tensor:
    edge = half * (count - 1) / count
    return torch.linspace(-edge, edge, count, dtype=like.dtype, device=like.device)
