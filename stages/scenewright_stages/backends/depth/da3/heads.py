"""Depth Anything 3's DPT heads (Ranftl et al. 2021): depth and its confidence, or depth and sky."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scenewright_stages.backends.geometry.vggt.heads import Fusion, enlarged, with_places

_HIDDEN = 32
_LEVELS = 4
_RAY_NUMBERS = 7


@dataclass(frozen=True)
class HeadShape:
    """Channels of the four layers from fine to coarse, and of the fused maps."""

    channels: tuple[int, int, int, int]
    features: int


class _ChannelsLast(nn.LayerNorm):
    """Normalises the channels of (B, C, H, W)."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DepthHead(nn.Module):
    """What both heads share: four layers of tokens, fused from coarse to fine.

    Args:
        width: of the tokens.
        shape: sizes.
        outputs: channels of the last layer.
        places: whether the maps get their places added.
    """

    def __init__(self, width: int, shape: HeadShape, outputs: int, *, places: bool) -> None:
        super().__init__()
        self._places = places
        first, second, _, last = shape.channels
        self.norm: nn.Module = nn.Identity()
        self.projects = nn.ModuleList(nn.Conv2d(width, each, 1) for each in shape.channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, 4),
                nn.ConvTranspose2d(second, second, 2, 2),
                nn.Identity(),
                nn.Conv2d(last, last, 3, 2, 1),
            ]
        )
        self.scratch = nn.ModuleDict()
        for number, each in enumerate(shape.channels, 1):
            self.scratch[f"layer{number}_rn"] = nn.Conv2d(each, shape.features, 3, padding=1, bias=False)
            self.scratch[f"refinenet{number}"] = Fusion(shape.features, joins=number < _LEVELS)
        self.scratch["output_conv1"] = nn.Conv2d(shape.features, shape.features // 2, 3, padding=1)
        self.scratch["output_conv2"] = _last_layers(shape.features // 2, outputs)

    def forward(self, layers: list[Tensor], size: tuple[int, int], patch: int) -> tuple[Tensor, Tensor]:
        """Two maps (B, H, W): depth, and what the head tells besides, from the patches (B, patches, width)."""
        raise NotImplementedError

    def features(self, layers: list[Tensor], size: tuple[int, int], patch: int) -> Tensor:
        """(B, features / 2, H, W) before the last layers."""
        height, width = size
        grid, aspect = (height // patch, width // patch), width / height
        maps = []
        for tokens, project, resize in zip(layers, self.projects, self.resize_layers, strict=True):
            plane = project(self.norm(tokens).transpose(1, 2).unflatten(-1, grid))
            maps.append(resize(with_places(plane, aspect) if self._places else plane))
        fused = enlarged(self.scratch["output_conv1"](self._fused(maps)), size)
        return with_places(fused, aspect) if self._places else fused

    def _fused(self, maps: list[Tensor]) -> Tensor:
        rated = [self.scratch[f"layer{number}_rn"](each) for number, each in enumerate(maps, 1)]
        found: Tensor = self.scratch["refinenet4"](rated[3], None, rated[2].shape[-2:])
        for number in (3, 2):
            found = self.scratch[f"refinenet{number}"](found, rated[number - 1], rated[number - 2].shape[-2:])
        rows, columns = found.shape[-2:]
        out: Tensor = self.scratch["refinenet1"](found, rated[0], (2 * rows, 2 * columns))
        return out


class PlainHead(DepthHead):
    """Depth and sky, of the metric and mono networks."""

    def __init__(self, width: int, shape: HeadShape) -> None:
        super().__init__(width, shape, 1, places=False)
        self.scratch["sky_output_conv2"] = _last_layers(shape.features // 2, 1)

    def forward(self, layers: list[Tensor], size: tuple[int, int], patch: int) -> tuple[Tensor, Tensor]:
        """Depth, and sky from 0 on."""
        features = self.features(layers, size, patch)
        depth = torch.exp(self.scratch["output_conv2"](features)[:, 0])
        return depth, torch.relu(self.scratch["sky_output_conv2"](features)[:, 0])


class RayHead(DepthHead):
    """Depth and its confidence, of the main series. The layers for rays are part of the checkpoint, and unused here."""

    def __init__(self, width: int, shape: HeadShape) -> None:
        super().__init__(width, shape, 2, places=True)
        self.norm = nn.LayerNorm(width)
        wide, narrow = shape.features, shape.features // 2
        for number in range(1, _LEVELS + 1):
            self.scratch[f"refinenet{number}_aux"] = Fusion(wide, joins=number < _LEVELS)
        sides = ((wide, narrow), (narrow, wide), (wide, narrow), (narrow, wide), (wide, narrow))
        self.scratch["output_conv1_aux"] = nn.ModuleList(
            nn.Sequential(*(nn.Conv2d(first, second, 3, padding=1) for first, second in sides)) for _ in range(_LEVELS)
        )
        self.scratch["output_conv2_aux"] = nn.ModuleList(_ray_layers(narrow) for _ in range(_LEVELS))

    def forward(self, layers: list[Tensor], size: tuple[int, int], patch: int) -> tuple[Tensor, Tensor]:
        """Depth, and confidence above 1."""
        answer = self.scratch["output_conv2"](self.features(layers, size, patch))
        return torch.exp(answer[:, 0]), torch.exp(answer[:, 1]) + 1


def _last_layers(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, _HIDDEN, 3, padding=1), nn.ReLU(), nn.Conv2d(_HIDDEN, outputs, 1))


def _ray_layers(channels: int) -> nn.Sequential:
    """With an identity on either side of the normalisation, where the published network turns its axes."""
    norm = (nn.Identity(), _ChannelsLast(_HIDDEN), nn.Identity())
    first, last = nn.Conv2d(channels, _HIDDEN, 3, padding=1), nn.Conv2d(_HIDDEN, _RAY_NUMBERS, 1)
    return nn.Sequential(first, *norm, nn.ReLU(), last)
