"""VGGT's heads: cameras from camera tokens, and dense maps from the patch tokens of four layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scenewright_stages.backends.geometry.vggt.transformer import Block, FeedForward

POSE_NUMBERS = 9
"""Translation, quaternion (x, y, z, w), vertical and horizontal field of view."""
_ROUNDS = 4
_POSITION_SHARE, _POSITION_BASE = 0.1, 100.0


@dataclass(frozen=True)
class DenseShape:
    """Sizes of a dense head.

    Attributes:
        channels: of the four layers, from fine to coarse.
        features: of the fused maps.
        hidden: before the last layer.
    """

    channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256
    hidden: int = 32


class CameraHead(nn.Module):
    """Nine numbers per camera, refined iteratively."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.token_norm, self.trunk_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_NUMBERS))
        self.embed_pose = nn.Linear(POSE_NUMBERS, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.adaln_norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.pose_branch = FeedForward(width, width // 2, POSE_NUMBERS)

    def forward(self, tokens: Tensor) -> Tensor:
        """(S, 9) from the camera tokens (S, width); fields of view are not negative."""
        given = self.token_norm(tokens)[None]
        pose, known = torch.zeros_like(given[..., :POSE_NUMBERS]), self.empty_pose_tokens.expand(1, len(tokens), -1)
        for _ in range(_ROUNDS):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(known)).chunk(3, dim=-1)
            modulated = given + gate * (self.adaln_norm(given) * (1 + scale) + shift)
            pose = pose + self.pose_branch(self.trunk_norm(self.trunk(modulated)))
            known = pose
        return torch.cat([pose[0, :, :7], functional.relu(pose[0, :, 7:])], dim=-1)


class ResidualUnit(nn.Module):
    """Two convolutions with a shortcut.

    Args:
        features: channels.
        rectified: whether the shortcut is from the ReLU of the input: VGGT applies it in place.
    """

    def __init__(self, features: int, *, rectified: bool) -> None:
        super().__init__()
        self._rectified = rectified
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        positive = functional.relu(maps)
        shortcut = positive if self._rectified else maps
        out: Tensor = shortcut + self.conv2(functional.relu(self.conv1(positive)))
        return out


class Fusion(nn.Module):
    """Adds a coarser and a finer map, and upsamples the sum."""

    def __init__(self, features: int, *, joins: bool, rectified: bool = False) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        if joins:
            self.resConfUnit1 = ResidualUnit(features, rectified=rectified)
        self.resConfUnit2 = ResidualUnit(features, rectified=rectified)

    def forward(self, coarse: Tensor, fine: Tensor | None, size: tuple[int, int]) -> Tensor:
        joined = coarse if fine is None else coarse + self.resConfUnit1(fine)
        out: Tensor = self.out_conv(enlarged(self.resConfUnit2(joined), size))
        return out


class DenseHead(nn.Module):
    """A DPT head that predicts a dense map per image (Ranftl et al. 2021).

    Args:
        width: of the tokens.
        shape: sizes.
        outputs: channels, the last of which is a confidence; None if only the features are used.
    """

    def __init__(self, width: int, shape: DenseShape, outputs: int | None) -> None:
        super().__init__()
        first, second, _, last = shape.channels
        self.norm = nn.LayerNorm(width)
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
            self.scratch[f"refinenet{number}"] = Fusion(shape.features, joins=number < 4, rectified=True)
        narrow = shape.features if outputs is None else shape.features // 2
        self.scratch["output_conv1"] = nn.Conv2d(shape.features, narrow, 3, padding=1)
        if outputs is not None:
            self.scratch["output_conv2"] = nn.Sequential(
                nn.Conv2d(narrow, shape.hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(shape.hidden, outputs, 1)
            )

    def forward(self, layers: list[Tensor], size: tuple[int, int], patch: int) -> Tensor:
        """(S, outputs, H, W) before any activation, from the patches (S, patches, width) of four layers."""
        height, width = size
        grid, aspect = (height // patch, width // patch), width / height
        maps = []
        for tokens, project, resize in zip(layers, self.projects, self.resize_layers, strict=True):
            plane = project(self.norm(tokens).transpose(1, 2).unflatten(-1, grid))
            maps.append(resize(with_places(plane, aspect)))
        fused = enlarged(self.scratch["output_conv1"](self._fused(maps)), size)
        out: Tensor = self.scratch["output_conv2"](with_places(fused, aspect))
        return out

    def _fused(self, maps: list[Tensor]) -> Tensor:
        """Fuses the maps from coarse to fine."""
        rated = [self.scratch[f"layer{number}_rn"](each) for number, each in enumerate(maps, 1)]
        found: Tensor = self.scratch["refinenet4"](rated[3], None, rated[2].shape[-2:])
        for number in (3, 2):
            found = self.scratch[f"refinenet{number}"](found, rated[number - 1], rated[number - 2].shape[-2:])
        rows, columns = found.shape[-2:]
        out: Tensor = self.scratch["refinenet1"](found, rated[0], (2 * rows, 2 * columns))
        return out


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize with aligned corners."""
    return functional.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=True)


def with_places(maps: Tensor, aspect: float) -> Tensor:
    """(N, C, H, W) plus sinusoidal position embeddings, scaled by 0.1.

    Args:
        maps: to add to.
        aspect: width / height of the image; its corners lie on the unit circle.
    """
    channels, height, width = maps.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    columns = _centres(width, aspect / diagonal, maps).expand(height, width)
    rows = _centres(height, 1 / diagonal, maps)[:, None].expand(height, width)
    waves = torch.cat([_waves(columns, channels // 2), _waves(rows, channels // 2)])
    return maps + _POSITION_SHARE * waves.to(maps.dtype)


def _centres(count: int, half: float, like: Tensor) -> Tensor:
    edge = half * (count - 1) / count
    return torch.linspace(-edge, edge, count, device=like.device)


def _waves(places: Tensor, channels: int) -> Tensor:
    """(channels, H, W) sines, then cosines."""
    half = channels // 2
    rates = 1.0 / _POSITION_BASE ** (torch.arange(half, device=places.device, dtype=torch.float64) / half)
    angles = rates[:, None, None] * places.double()
    return torch.cat([angles.sin(), angles.cos()]).float()
