"""Depth Anything 3's networks (Lin et al. 2025) for single pictures; modules have the names of the published tensors.

A DINOv2 transformer, and a DPT head on the tokens of four of its blocks. The main series adds rotary positions, and
attention across pictures in every other block from `alternates` on, which for one picture is attention with all patches
at one place. It has a camera decoder. The metric and mono networks are plain, and their head also marks the sky.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from scenewright_stages.backends.depth.da3.heads import DepthHead, HeadShape, PlainHead, RayHead
from scenewright_stages.backends.geometry.vggt.transformer import (
    Block,
    FeedForward,
    PatchProjection,
    TrunkShape,
    dino_places,
    rotations,
)

POSE_NUMBERS = 9
"""Translation, quaternion, vertical and horizontal field of view."""
_CAMERA_BLOCKS, _CAMERA_HEADS = 4, 16

_BASE_HEAD = HeadShape((96, 192, 384, 768), 128)


@dataclass(frozen=True)
class Da3Shape:
    """Sizes of a network; the defaults are those of DA3-BASE.

    Attributes:
        width, heads, depth: of the transformer.
        layers: blocks whose tokens the head sees.
        alternates: first block of the main series with rotary positions; None for the metric and mono networks.
        head: sizes of the head.
        grid: side of the grid of learned positions, in patches.
        patch: side of a patch in pixels.
    """

    width: int = 768
    heads: int = 12
    depth: int = 12
    layers: tuple[int, int, int, int] = (5, 7, 9, 11)
    alternates: int | None = 4
    head: HeadShape = _BASE_HEAD
    grid: int = 37
    patch: int = 14

    @property
    def sees_width(self) -> int:
        """Width of the tokens that the head sees: the main series joins two attentions."""
        return self.width if self.alternates is None else 2 * self.width

    @property
    def trunk(self) -> TrunkShape:
        """What decides the rotary positions: one special token before the patches."""
        return TrunkShape(self.width, self.heads, self.depth, self.patch, self.grid, registers=0)

    @classmethod
    def from_json(cls, path: Path) -> Da3Shape:
        """Reads the sizes from a file. Raises TypeError, KeyError or ValueError if it is invalid."""
        stated = json.loads(path.read_text())
        head = stated.pop("head")
        layers = tuple(stated.pop("layers"))
        return cls(layers=layers, head=HeadShape(tuple(head["channels"]), int(head["features"])), **stated)


_LARGE_HEAD = HeadShape((256, 512, 1024, 1024), 256)
_PLAIN_LARGE = Da3Shape(1024, 16, 24, (4, 11, 17, 23), None, _LARGE_HEAD)
PUBLISHED = {
    "DA3-SMALL": Da3Shape(384, 6, head=HeadShape((48, 96, 192, 384), 64)),
    "DA3-BASE": Da3Shape(),
    "DA3-LARGE-1.1": Da3Shape(1024, 16, 24, (11, 15, 19, 23), 8, _LARGE_HEAD),
    "DA3METRIC-LARGE": _PLAIN_LARGE,
    "DA3MONO-LARGE": _PLAIN_LARGE,
}
"""Sizes by the name of the repository."""


@dataclass(frozen=True, eq=False)
class RawDepth:
    """Answer of a network.

    Attributes:
        depth: (B, H, W) positive, in the network's own unit.
        confidence: (B, H, W) above 1; None for the metric and mono networks.
        sky: (B, H, W) not negative; sky from 0.3 on; None for the main series.
        fields: (B, 2) vertical and horizontal field of view in radians; None for the metric and mono networks.
    """

    depth: Tensor
    confidence: Tensor | None
    sky: Tensor | None
    fields: Tensor | None


class _Transformer(nn.Module):
    """DINOv2; from `alternates` on as the main series changes it."""

    def __init__(self, shape: Da3Shape) -> None:
        super().__init__()
        self.shape = shape
        first = shape.depth if shape.alternates is None else shape.alternates
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        if shape.alternates is not None:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid**2 + 1, shape.width))
        self.patch_embed = PatchProjection(shape.width, shape.patch)
        self.blocks = nn.ModuleList(
            Block(shape.width, shape.heads, normalised=number >= first, eps=1e-6) for number in range(shape.depth)
        )
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        """From normalised pictures (B, 3, H, W): patches after each of the layers, and the last layer's camera token.

        Returns:
            Normalised patches (B, patches, `sees_width`) by layer, and (B, `sees_width`), not normalised.
        """
        layers = list(self._tokens(pictures))
        return [self._normed(tokens)[:, 1:] for tokens in layers], layers[-1][:, 0]

    def _tokens(self, pictures: Tensor) -> Iterator[Tensor]:
        shape = self.shape
        rows, columns = (side // shape.patch for side in pictures.shape[-2:])
        tokens = torch.cat([self.cls_token.expand(len(pictures), -1, -1), self.patch_embed(pictures)], dim=1)
        tokens = tokens + dino_places(self.pos_embed, shape.grid, rows, columns).to(tokens.dtype)
        first = shape.depth if shape.alternates is None else shape.alternates
        places = rotations(rows, columns, shape.trunk, tokens) if shape.alternates is not None else None
        together = self._place_across(rows * columns, tokens) if places else None
        own = tokens
        for number, block in enumerate(self.blocks):
            if number == first:
                camera = self.camera_token[:, :1].expand(len(tokens), -1, -1).to(tokens.dtype)
                tokens = torch.cat([camera, tokens[:, 1:]], dim=1)
            if number >= first and number % 2:
                tokens = block(tokens, together)
            else:
                own = tokens = block(tokens, places if number >= first else None)
            if number in shape.layers:
                yield tokens if shape.alternates is None else torch.cat([own, tokens], dim=-1)

    def _place_across(self, patches: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Rotations of attention across pictures: all patches of one are at place 1, its camera token is at 0."""
        cosine, sine = rotations(1, 1, self.shape.trunk, tokens)
        first, second = (torch.cat([each[:1], each[1:].expand(patches, -1)]) for each in (cosine, sine))
        return first, second

    def _normed(self, tokens: Tensor) -> Tensor:
        """The last `width` channels normalised; those of attention within the picture stay."""
        kept = tokens[..., : -self.shape.width]
        out: Tensor = self.norm(tokens[..., -self.shape.width :])
        return torch.cat([kept.to(out.dtype), out], dim=-1) if kept.shape[-1] else out


class _Backbone(nn.Module):
    def __init__(self, shape: Da3Shape) -> None:
        super().__init__()
        self.pretrained = _Transformer(shape)


class _CameraDecoder(nn.Module):
    """Field of view from a camera token; translation and rotation are part of the checkpoint, and unused here."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.fc_t, self.fc_qvec = nn.Linear(width, 3), nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 2) vertical and horizontal field of view in radians from (B, width)."""
        out: Tensor = self.fc_fov(self.backbone(tokens).float())
        return out


class _CameraEncoder(nn.Module):
    """Turns given cameras into tokens: part of the checkpoint, and unused for single pictures."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(Block(width, _CAMERA_HEADS) for _ in range(_CAMERA_BLOCKS)))
        self.token_norm, self.trunk_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.pose_branch = FeedForward(POSE_NUMBERS, width // 2, width)


class Da3Network(nn.Module):
    """A network of any series."""

    def __init__(self, shape: Da3Shape) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = _Backbone(shape)
        head = PlainHead if shape.alternates is None else RayHead
        self.head: DepthHead = head(shape.sees_width, shape.head)
        if shape.alternates is not None:
            self.cam_dec = _CameraDecoder(shape.sees_width)
            self.cam_enc = _CameraEncoder(shape.width)

    def forward(self, pictures: Tensor, dtype: torch.dtype | None = None) -> RawDepth:
        """Depth of pictures, each by itself.

        Args:
            pictures: (B, 3, H, W) normalised; sides are whole patches.
            dtype: arithmetic of the transformer; None for that of the pictures. The head computes in float32.
        """
        with torch.autocast(pictures.device.type, dtype, enabled=dtype is not None):
            layers, camera = self.backbone.pretrained(pictures)
        size = (pictures.shape[-2], pictures.shape[-1])
        first, second = self.head([each.float() for each in layers], size, self.shape.patch)
        if self.shape.alternates is None:
            return RawDepth(first, None, second, None)
        return RawDepth(first, second, None, self.cam_dec(camera.float()))


def expected_shapes(network: Da3Network) -> dict[str, tuple[int, ...]]:
    """Shape of every published tensor by its name."""
    return {f"model.{name}": tuple(value.shape) for name, value in network.state_dict().items()}
