"""MapAnything's network for pictures alone, under the names of the published tensors.

DINOv2's first blocks see each picture. Then blocks see all pictures together and each by itself, in turns, with one
more token for the scale of the place. A DPT head answers a ray, a distance along it and a confidence for each pixel,
another head each camera. The encoders of given rays, depth and cameras are part of every checkpoint, and unused here:
their names and shapes are declared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scenewright_stages.backends.geometry.vggt.heads import Fusion, enlarged
from scenewright_stages.backends.geometry.vggt.transformer import Block, PatchProjection, dino_places

_EPS = 1e-6
_AT_ONCE = 8
"""Pictures whose dense maps are made together."""
_OUTPUTS = 6
"""Channels of the dense head: three of the ray, depth, confidence, and whether the pixel has one distance."""
_SMALLEST_SCALE = 1e-8


@dataclass(frozen=True)
class MapAnythingShape:
    """Sizes of the network; the defaults are those of version 1.1, with and without commercial use.

    Attributes:
        width, heads: of all blocks.
        encoder_depth: blocks that see one picture.
        depth: blocks after them.
        layers: of those, the ones that feed the dense head beside the encoder and the last one.
        channels: of the dense head's four layers, from fine to coarse.
        features: of its fused maps.
        scale_width: of the head for the scale.
        dense_inputs: channels inside the encoders of rays and depth.
        patch: side of a patch in pixels.
        grid: side of the grid of learned positions, in patches.
    """

    width: int = 1536
    heads: int = 24
    encoder_depth: int = 24
    depth: int = 16
    layers: tuple[int, int] = (7, 11)
    channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    features: int = 256
    scale_width: int = 196
    dense_inputs: tuple[int, int, int] = (588, 768, 1024)
    patch: int = 14
    grid: int = 37

    @classmethod
    def from_json(cls, path: Path) -> MapAnythingShape:
        """Reads the sizes from a file. Raises TypeError, KeyError or ValueError if it is invalid."""
        stated: dict[str, Any] = json.loads(path.read_text())
        sizes: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in stated.items()}
        return cls(**sizes)


@dataclass(frozen=True, eq=False)
class RawPlace:
    """The network's answer, in metres.

    Attributes:
        rays: (S, H, W, 3) unit directions in each camera's frame, OpenCV axes.
        distance: (S, H, W) along the rays.
        confidence: (S, H, W), 1 or more.
        certain: (S, H, W) probability that the pixel has one distance; the sky has none.
        translations: (S, 3) of ``world_from_camera``; the first camera is approximately the world's origin.
        turns: (S, 4) its unit quaternions (x, y, z, w).
        scale: () metres in the network's own unit, already applied.
    """

    rays: Tensor
    distance: Tensor
    confidence: Tensor
    certain: Tensor
    translations: Tensor
    turns: Tensor
    scale: Tensor


class _Gated(nn.Module):
    """A feed-forward network with a gate (SwiGLU)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = (4 * width * 2 // 3 + 7) // 8 * 8
        self.w12, self.w3 = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        out: Tensor = self.w3(functional.silu(gate) * value)
        return out


class _GatedBlock(Block):
    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__(shape.width, shape.heads, eps=_EPS)
        self.mlp: nn.Module = _Gated(shape.width)  # type: ignore[assignment]


class _Dino(nn.Module):
    """The first blocks of DINOv2, without the norm after them."""

    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid**2 + 1, shape.width))
        self.patch_embed = PatchProjection(shape.width, shape.patch)
        self.blocks = nn.ModuleList(_GatedBlock(shape) for _ in range(shape.encoder_depth))

    def forward(self, pictures: Tensor) -> Tensor:
        """(S, 1 + patches, width): a token for the picture, then one for each patch."""
        rows, columns = (side // self.shape.patch for side in pictures.shape[-2:])
        tokens = torch.cat([self.cls_token.expand(len(pictures), -1, -1), self.patch_embed(pictures)], dim=1)
        tokens = tokens + dino_places(self.pos_embed, self.shape.grid, rows, columns).to(tokens.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class _Sharing(nn.Module):
    """Attention over all pictures, and within each, in turns."""

    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__()
        self.shape = shape
        self.self_attention_blocks = nn.ModuleList(_GatedBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=_EPS)
        self.view_pos_table: Tensor
        self.register_buffer("view_pos_table", torch.zeros(1, shape.width))

    def forward(self, tokens: Tensor, scale: Tensor) -> tuple[list[Tensor], Tensor]:
        """Normalised tokens after each of the layers and after the last block, and the scale's token after it.

        Args:
            tokens: (S, T, width) of the pictures.
            scale: (1, 1, width).

        Returns:
            Three tensors (S, T, width), and (1, width).
        """
        count, each = tokens.shape[:2]
        tokens = torch.cat([tokens[:1] + self.view_pos_table[0].to(tokens.dtype), tokens[1:]])
        together = torch.cat([tokens.reshape(1, count * each, -1), scale.to(tokens.dtype)], dim=1)
        found = []
        for number, block in enumerate(self.self_attention_blocks):
            if number % 2:
                alone = block(together[:, :-1].reshape(count, each, -1))
                together = torch.cat([alone.reshape(1, count * each, -1), together[:, -1:]], dim=1)
            else:
                together = block(together)
            if number in self.shape.layers or number == self.shape.depth - 1:
                found.append(self.norm(together))
        return [layer[:, :-1].reshape(count, each, -1) for layer in found], found[-1][:, -1]


class _DenseFeatures(nn.Module):
    """Four layers of patches fused from coarse to fine (Ranftl et al. 2021)."""

    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__()
        first, second, _, last = shape.channels
        resized: list[list[nn.Module]] = [
            [nn.ConvTranspose2d(first, first, 4, 4)],
            [nn.ConvTranspose2d(second, second, 2, 2)],
            [],
            [nn.Conv2d(last, last, 3, 2, 1)],
        ]
        self.input_process = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(nn.Conv2d(shape.width, channels, 1), *layers),
                nn.Conv2d(channels, shape.features, 3, padding=1, bias=False),
            )
            for channels, layers in zip(shape.channels, resized, strict=True)
        )
        self.scratch = nn.ModuleDict(
            {f"refinenet{number}": Fusion(shape.features, joins=number < 4) for number in (1, 2, 3, 4)}
        )

    def forward(self, layers: list[Tensor]) -> Tensor:
        """(S, features, 8 * rows, 8 * columns) from four maps (S, width, rows, columns)."""
        maps = [process(each) for process, each in zip(self.input_process, layers, strict=True)]
        rows, columns = maps[3].shape[-2:]
        found: Tensor = self.scratch["refinenet4"](maps[3], None, (2 * rows, 2 * columns))
        found = found[..., : maps[2].shape[-2], : maps[2].shape[-1]]
        for number in (3, 2, 1):
            rows, columns = found.shape[-2:]
            found = self.scratch[f"refinenet{number}"](found, maps[number - 1], (2 * rows, 2 * columns))
        return found


class _DenseOutputs(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        half = features // 2
        self.conv1 = nn.Conv2d(features, half, 3, padding=1)
        self.conv2 = nn.Sequential(nn.Conv2d(half, half, 3, padding=1), nn.ReLU(), nn.Conv2d(half, _OUTPUTS, 1))

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """(S, 6, H, W) before any activation."""
        out: Tensor = self.conv2(enlarged(self.conv1(features), size))
        return out


class _ResidualPoints(nn.Module):
    """Three convolutions of single points with a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_conv1, self.res_conv2, self.res_conv3 = (nn.Conv2d(width, width, 1) for _ in range(3))

    def forward(self, maps: Tensor) -> Tensor:
        inner = maps
        for layer in (self.res_conv1, self.res_conv2, self.res_conv3):
            inner = functional.relu(layer(inner))
        return maps + inner


class _PoseHead(nn.Module):
    """Translation and quaternion of a camera from all of its patches."""

    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__()
        width = 4 * shape.patch**2
        self.proj = nn.Conv2d(shape.width, width, 1)
        self.res_conv = nn.ModuleList(_ResidualPoints(width) for _ in range(2))
        self.more_mlps = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t, self.fc_rot = nn.Linear(width, 3), nn.Linear(width, 4)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(S, 3) and unit (S, 4) from (S, width, rows, columns)."""
        maps = self.proj(patches)
        for layer in self.res_conv:
            maps = layer(maps)
        pooled = self.more_mlps(maps.mean(dim=(2, 3)))
        return self.fc_t(pooled), functional.normalize(self.fc_rot(pooled), dim=1)


class _ScaleHead(nn.Module):
    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__()
        hidden = shape.scale_width
        self.proj = nn.Linear(shape.width, hidden)
        self.mlp = nn.ModuleList(nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU()) for _ in range(2))
        self.output_proj = nn.Linear(hidden, 1)

    def forward(self, token: Tensor) -> Tensor:
        """() metres in the network's unit, from (1, width)."""
        inner = self.proj(token)
        for layer in self.mlp:
            inner = layer(inner)
        out: Tensor = self.output_proj(inner)[0, 0].exp().clip(_SMALLEST_SCALE)
        return out


class _Encoder(nn.Module):
    def __init__(self, shape: MapAnythingShape) -> None:
        super().__init__()
        self.model = _Dino(shape)


class MapAnythingNetwork(nn.Module):
    """Predicts cameras and depth of pictures jointly."""

    def __init__(self, shape: MapAnythingShape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or MapAnythingShape()
        self.encoder = _Encoder(shape)
        self.fusion_norm_layer = nn.LayerNorm(shape.width, eps=_EPS)
        self.scale_token = nn.Parameter(torch.zeros(shape.width))
        self.info_sharing = _Sharing(shape)
        self.dense_head = nn.ModuleList([_DenseFeatures(shape), _DenseOutputs(shape.features)])
        self.pose_head = _PoseHead(shape)
        self.scale_head = _ScaleHead(shape)

    def forward(self, pictures: Tensor, half: torch.dtype | None = None) -> RawPlace:
        """The geometry of normalised pictures (S, 3, H, W) of one place; sides are whole patches.

        Args:
            pictures: the first one's camera is approximately the world's origin.
            half: dtype of the transformers; the heads and the fusion always use float32.
        """
        rows, columns = (side // self.shape.patch for side in pictures.shape[-2:])
        with torch.autocast(pictures.device.type, dtype=half, enabled=half is not None):
            seen = self.encoder.model(pictures)
        fused = self.fusion_norm_layer(seen[:, 1:].float())
        # The picture's own token follows its patches, and is not normalised.
        tokens = torch.cat([fused, seen[:, :1].float()], dim=1)
        with torch.autocast(pictures.device.type, dtype=half, enabled=half is not None):
            layers, scale = self.info_sharing(tokens, self.scale_token[None, None])
        maps = [
            layer.float().transpose(1, 2).unflatten(-1, (rows, columns))
            for layer in (fused, *(each[:, :-1] for each in layers))
        ]
        size = (pictures.shape[-2], pictures.shape[-1])
        parts = [
            self.dense_head[1](self.dense_head[0]([each[start : start + _AT_ONCE] for each in maps]), size)
            for start in range(0, len(pictures), _AT_ONCE)
        ]
        dense = torch.cat(parts)
        metres = self.scale_head(scale.float())
        translations, turns = self.pose_head(maps[-1])
        return RawPlace(
            rays=functional.normalize(dense[:, :3], dim=1, eps=1e-8).permute(0, 2, 3, 1),
            distance=dense[:, 3].exp() * metres,
            confidence=1 + dense[:, 4].exp(),
            certain=dense[:, 5].sigmoid(),
            translations=translations * metres,
            turns=turns,
            scale=metres,
        )


def expected_shapes(network: MapAnythingNetwork) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a checkpoint of that network, each by its first name."""
    used = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    with torch.device("meta"):
        given = _given_encoders(network.shape)
    return used | {name: tuple(value.shape) for name, value in given.state_dict().items()}


def first_name(name: str) -> str:
    """The name of a published tensor by which it is loaded; the published network knows some by several names."""
    for prefix, first in (("dpt_feature_head.", "dense_head.0."), ("dpt_regressor_head.", "dense_head.1.")):
        if name.startswith(prefix):
            name = first + name.removeprefix(prefix)
    for number in range(4):
        for alias in (f"layer{number + 1}_rn", f"layer_rn.{number}"):
            name = name.replace(f"dense_head.0.scratch.{alias}.", f"dense_head.0.input_process.{number}.1.")
    return name


def _given_encoders(shape: MapAnythingShape) -> nn.Module:
    """The encoders of given rays, depth, cameras and their scales."""
    found = nn.Module()
    for name, channels in (("ray_dirs_encoder", 3), ("depth_encoder", 1)):
        found.add_module(name, _dense_encoder(shape, channels))
    numbers: Mapping[str, int] = {
        "depth_scale_encoder": 1, "cam_rot_encoder": 4, "cam_trans_encoder": 3, "cam_trans_scale_encoder": 1
    }  # fmt: skip
    for name, count in numbers.items():
        found.add_module(name, _number_encoder(shape.width, count))
    return found


def _dense_encoder(shape: MapAnythingShape, channels: int) -> nn.Module:
    first, second, third = shape.dense_inputs
    found = nn.Module()
    found.conv_in = nn.Conv2d(channels * shape.patch**2, first, 3)
    blocks = []
    for given, out in ((first, second), (second, third)):
        block = nn.Module()
        block.conv1, block.conv2 = nn.Conv2d(given, out, 3), nn.Conv2d(out, out, 3)
        if given != out:
            block.shortcut = nn.Conv2d(given, out, 1)
        blocks.append(block)
    found.encoder = nn.Sequential(*blocks, nn.Conv2d(third, shape.width, 1))
    found.norm_layer = nn.LayerNorm(shape.width)
    return found


def _number_encoder(width: int, count: int) -> nn.Module:
    """Four linear layers, nested as published."""
    layers: nn.Module = nn.Sequential(nn.Linear(count, 128), nn.GELU())
    for given, out in ((128, 256), (256, 512)):
        layers = nn.Sequential(layers, nn.Linear(given, out), nn.GELU())
    found = nn.Module()
    found.encoder = nn.Sequential(layers, nn.Linear(512, width))
    found.norm_layer = nn.LayerNorm(width)
    return found
