"""MoGe version 1 and version 2: from an image to an affine-invariant point map and a mask.

The keyword arguments of both constructors are the ``model_config`` of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scenewright_stages.backends.depth.moge.backbone import PATCH, SIZES, VisionTransformer, token_grid
from scenewright_stages.backends.depth.moge.layers import (
    ConvolutionStack,
    ResidualBlock,
    convolution,
    perceptron,
    view_plane,
)

# Statistics of ImageNet, with which DINOv2 was trained.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_TOKENS_PER_AREA = PATCH**2


@dataclass(frozen=True)
class RawGeometry:
    """A network's output for a batch of images.

    Attributes:
        points: (B, H, W, 3) points up to a shift along z (and a scale, without ``metric_scale``).
        mask: (B, H, W) valid where above 0.5.
        metric_scale: (B,) metres per unit, or None if the scale is unknown.
    """

    points: Tensor
    mask: Tensor
    metric_scale: Tensor | None


class _Normalised(nn.Module):
    """Stores the statistics as buffers, as the checkpoints do."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("image_mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        self.register_buffer("image_std", torch.tensor(_DEVIATION).view(1, 3, 1, 1))

    def normalise(self, image: Tensor) -> Tensor:
        return (image - self.image_mean) / self.image_std


class _HeadV1(nn.Module):
    def __init__(self, features: int, width: int, config: Mapping[str, Any]) -> None:
        super().__init__()
        projected = config.get("dim_proj", 512)
        levels = config.get("dim_upsample", [256, 128, 128])
        self.projects = nn.ModuleList(nn.Conv2d(width, projected, 1) for _ in range(features))
        # Two extra channels at every level for the position in the image.
        self.upsample_blocks = nn.ModuleList(
            _upsample_v1(coarse + 2, fine, config)
            for coarse, fine in zip([projected, *levels[:-1]], levels, strict=True)
        )
        self.output_block = nn.ModuleList(_output_v1(levels[-1] + 2, channels, config) for channels in (3, 1))

    def forward(self, features: Sequence[Tensor], width: int, height: int) -> list[Tensor]:
        """Points (B, 3, height, width) and mask (B, 1, height, width)."""
        aspect = width / height
        x = sum(project(feature) for project, feature in zip(self.projects, features, strict=True))
        for block in self.upsample_blocks:
            x = block(torch.cat([x, view_plane(x.shape[-1], x.shape[-2], aspect, x)], dim=1))
        x = functional.interpolate(x, (height, width), mode="bilinear", align_corners=False)
        x = torch.cat([x, view_plane(width, height, aspect, x)], dim=1)
        return [block(x) for block in self.output_block]


def _residual_v1(channels: int, config: Mapping[str, Any]) -> ResidualBlock:
    hidden = config.get("dim_times_res_block_hidden", 1) * channels
    return ResidualBlock(channels, hidden, "layer_norm", config.get("res_block_norm", "group_norm"))


def _upsample_v1(channels_in: int, channels_out: int, config: Mapping[str, Any]) -> nn.Sequential:
    grow = nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, kernel_size=2, stride=2),
        convolution(channels_out, channels_out),
    )
    return nn.Sequential(grow, *(_residual_v1(channels_out, config) for _ in range(config.get("num_res_blocks", 1))))


def _output_v1(channels_in: int, channels_out: int, config: Mapping[str, Any]) -> nn.Sequential:
    hidden = config.get("last_conv_channels", 32)
    return nn.Sequential(
        convolution(channels_in, hidden),
        *(_residual_v1(hidden, config) for _ in range(config.get("last_res_blocks", 0))),
        nn.ReLU(),
        convolution(hidden, channels_out, config.get("last_conv_size", 1)),
    )


class MogeV1(_Normalised):
    """Version 1: points and mask; no metric scale."""

    def __init__(self, encoder: str = "dinov2_vitb14", **config: Any) -> None:
        super().__init__()
        self.layers: int | list[int] = config.get("intermediate_layers", 4)
        self.remap = config.get("remap_output", "linear")
        self.tokens_range = _tokens_range(config, [1200, 2500])
        self.backbone = VisionTransformer(SIZES[encoder])
        count = self.layers if isinstance(self.layers, int) else len(self.layers)
        self.head = _HeadV1(count, SIZES[encoder].width, config)

    def forward(self, image: Tensor, tokens: int) -> RawGeometry:
        """See :class:`RawGeometry`.

        Args:
            image: (B, 3, H, W) sRGB in [0, 1].
            tokens: approximate number of patches.
        """
        height, width = image.shape[-2:]
        scale = (tokens * _TOKENS_PER_AREA / (height * width)) ** 0.5
        size = (max(PATCH, int(height * scale)), max(PATCH, int(width * scale)))
        image = functional.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True)
        whole = tuple(side // PATCH * PATCH for side in size)
        patches = functional.interpolate(
            self.normalise(image), whole, mode="bilinear", align_corners=False, antialias=True
        )
        features = [feature for feature, _ in self.backbone(patches, self.layers)]
        points, mask = self.head(features, size[1], size[0])
        return RawGeometry(
            points=remap_points(_resized(points, height, width).permute(0, 2, 3, 1), self.remap),
            mask=_resized(mask, height, width).squeeze(1),
            metric_scale=None,
        )


class _Encoder(_Normalised):
    def __init__(self, backbone: str, intermediate_layers: int | list[int], dim_out: int) -> None:
        super().__init__()
        self.layers = intermediate_layers
        self.backbone = VisionTransformer(SIZES[backbone])
        count = intermediate_layers if isinstance(intermediate_layers, int) else len(intermediate_layers)
        self.output_projections = nn.ModuleList(nn.Conv2d(SIZES[backbone].width, dim_out, 1) for _ in range(count))

    def forward(self, image: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Features (B, dim_out, rows, columns) and class token (B, width)."""
        size = (rows * PATCH, columns * PATCH)
        patches = functional.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
        found = self.backbone(self.normalise(patches), self.layers)
        features = sum(project(feature) for project, (feature, _) in zip(self.output_projections, found, strict=True))
        return features, found[-1][1]


class MogeV2(nn.Module):
    """Version 2: points, mask and metric scale. A normal head is loaded but not run."""

    def __init__(self, encoder: Mapping[str, Any], neck: Mapping[str, Any], **config: Any) -> None:
        super().__init__()
        self.remap = config.get("remap_output", "linear")
        self.tokens_range = _tokens_range(config, [1200, 3600])
        self.encoder = _Encoder(encoder["backbone"], encoder["intermediate_layers"], encoder["dim_out"])
        self.neck = ConvolutionStack(**neck)
        for head in ("points_head", "mask_head", "normal_head"):
            if config.get(head) is not None:
                setattr(self, head, ConvolutionStack(**config[head]))
        self.scale_head = perceptron(config["scale_head"]["dims"]) if config.get("scale_head") else None

    def forward(self, image: Tensor, tokens: int) -> RawGeometry:
        """See :meth:`MogeV1.forward`."""
        height, width = image.shape[-2:]
        rows, columns = token_grid(tokens, width, height)
        features, class_token = self.encoder(image, rows, columns)
        pyramid = self.neck(_with_positions(features, rows, columns, width / height))
        points = _resized(self._head("points_head", pyramid), height, width).permute(0, 2, 3, 1)
        scale = None if self.scale_head is None else self.scale_head(class_token).squeeze(1).float().exp()
        return RawGeometry(remap_points(points, self.remap), self._mask(pyramid, points), scale)

    def _mask(self, pyramid: list[Tensor], points: Tensor) -> Tensor:
        if not hasattr(self, "mask_head"):
            return torch.ones_like(points[..., 0])
        height, width = points.shape[1:3]
        return _resized(self._head("mask_head", pyramid), height, width).squeeze(1).sigmoid()

    def _head(self, name: str, pyramid: list[Tensor]) -> Tensor:
        finest: Tensor = self.get_submodule(name)(pyramid)[-1]
        return finest


def _with_positions(features: Tensor, rows: int, columns: int, aspect: float) -> list[Tensor]:
    """The neck's inputs: the encoder's features at the coarsest level, and the position at every level."""
    positions = [view_plane(columns << level, rows << level, aspect, features) for level in range(5)]
    return [torch.cat([features, positions[0]], dim=1), *positions[1:]]


def _resized(values: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(values.float(), (height, width), mode="bilinear", align_corners=False)


def _tokens_range(config: Mapping[str, Any], default: list[int]) -> tuple[int, int]:
    if "trained_area_range" in config:
        # The first release used pixel counts instead of patch counts.
        low, high = (area // _TOKENS_PER_AREA for area in config["trained_area_range"])
    else:
        low, high = config.get("num_tokens_range", default)
    return int(low), int(high)


def remap_points(points: Tensor, kind: str) -> Tensor:
    """Points (..., 3) from the network's own coordinates. Raises ValueError for an unknown kind."""
    if kind == "linear":
        return points
    if kind == "sinh":
        return torch.sinh(points)
    xy, z = points[..., :2], torch.exp(points[..., 2:])
    if kind == "exp":
        return torch.cat([xy * z, z], dim=-1)
    if kind == "sinh_exp":
        return torch.cat([torch.sinh(xy), z], dim=-1)
    raise ValueError(f"unknown remap_output {kind!r}")


def build_network(config: Mapping[str, Any]) -> MogeV1 | MogeV2:
    """The network that a checkpoint's ``model_config`` describes; version 2 has a neck.

    Raises:
        KeyError, TypeError, ValueError: the configuration is of neither version.
    """
    return MogeV2(**config) if "neck" in config else MogeV1(**config)
