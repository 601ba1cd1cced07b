"""VGGT's transformer: a vision transformer per image, then alternating attention within and across images.

Modules have the names of the published tensors. An image has one camera token, four register tokens, and one token per
patch. The first image has its own special tokens, because its camera defines the world frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, with which the vision transformer was trained."""
_FREQUENCY = 100.0
"""Base of the rotary positions."""


@dataclass(frozen=True)
class TrunkShape:
    """Sizes of the trunk; the defaults are those of VGGT-1B.

    Attributes:
        width: of a token.
        heads: of each attention.
        depth: blocks of the vision transformer, and pairs of blocks after it.
        patch: side of a patch in pixels.
        grid: side of the grid of learned positions, in patches.
        registers: number of register tokens.
    """

    width: int = 1024
    heads: int = 16
    depth: int = 24
    patch: int = 14
    grid: int = 37
    registers: int = 4

    @property
    def special(self) -> int:
        """Number of tokens before an image's patches."""
        return 1 + self.registers


class Attention(nn.Module):
    """Multi-head attention, optionally with normalised queries and keys, and with rotary positions."""

    def __init__(self, width: int, heads: int, *, normalised: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if normalised else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if normalised else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, turns: tuple[Tensor, Tensor] | None = None) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        query, key = self.q_norm(query), self.k_norm(key)
        if turns is not None:
            query, key = rotated(query, turns), rotated(key, turns)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return out


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class Block(nn.Module):
    """Attention and a feed-forward network, each added to its input."""

    def __init__(self, width: int, heads: int, *, normalised: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, width, eps=eps)
        self.norm1, self.norm2 = norm(), norm()
        self.attn = Attention(width, heads, normalised=normalised)
        self.ls1, self.ls2 = LayerScale(width), LayerScale(width)
        self.mlp = FeedForward(width, 4 * width, width)

    def forward(self, tokens: Tensor, turns: tuple[Tensor, Tensor] | None = None) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), turns))
        out: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return out


class PatchProjection(nn.Module):
    """Pixels of a patch to a token."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, pictures: Tensor) -> Tensor:
        out: Tensor = self.proj(pictures).flatten(2).transpose(1, 2)
        return out


class VisionTransformer(nn.Module):
    """DINOv2 with registers; returns normalised patch tokens."""

    def __init__(self, shape: TrunkShape) -> None:
        super().__init__()
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.grid**2 + 1, shape.width))
        self.register_tokens = nn.Parameter(torch.zeros(1, shape.registers, shape.width))
        # Used in training only, but part of every checkpoint.
        self.mask_token = nn.Parameter(torch.zeros(1, shape.width))
        self.patch_embed = PatchProjection(shape.width, shape.patch)
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, eps=1e-6) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, patches, width) from normalised pictures (N, 3, H, W)."""
        rows, columns = (side // self.shape.patch for side in pictures.shape[-2:])
        places = self._positions(rows, columns)
        patches = self.patch_embed(pictures)
        patches = patches + places[:, 1:].to(patches.dtype)
        first = (self.cls_token + places[:, :1]).to(patches.dtype)
        registers = self.register_tokens.to(patches.dtype)
        special = torch.cat([first, registers], dim=1).expand(len(pictures), -1, -1)
        tokens = torch.cat([special, patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)[:, self.shape.special :]
        return out

    def _positions(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows * columns, width) the learned positions, resized to another grid."""
        grid = self.shape.grid
        if rows == columns == grid:
            return self.pos_embed
        learned = self.pos_embed.float()
        square = learned[:, 1:].transpose(1, 2).reshape(1, -1, grid, grid)
        resized = functional.interpolate(square, size=(rows, columns), mode="bicubic", antialias=True)
        return torch.cat([learned[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


class Aggregator(nn.Module):
    """Alternating attention within each image and across all images."""

    def __init__(self, shape: TrunkShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = VisionTransformer(shape)
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, shape.width))
        self.register_token = nn.Parameter(torch.zeros(1, 2, shape.registers, shape.width))
        self.frame_blocks, self.global_blocks = (
            nn.ModuleList(Block(shape.width, shape.heads, normalised=True) for _ in range(shape.depth))
            for _ in range(2)
        )

    def forward(self, pictures: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """Tokens after selected pairs of blocks.

        Args:
            pictures: (S, 3, H, W) sRGB in [0, 1]; sides are whole patches.
            layers: the pairs, in order.

        Returns:
            Per layer (S, special + patches, 2 * width): outputs of attention within and across images, concatenated.
        """
        rows, columns = (side // self.shape.patch for side in pictures.shape[-2:])
        mean, deviation = (pictures.new_tensor(each)[:, None, None] for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        patches = self.patch_embed((pictures - mean) / deviation)
        count = len(pictures)
        tokens = torch.cat([self._special(count).to(patches.dtype), patches], dim=1)
        turns = rotations(rows, columns, self.shape, tokens)
        everywhere = tuple(each.repeat(count, 1) for each in turns)
        found = []
        for number, (frame, across) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            own = frame(tokens, turns)
            joined = across(own.reshape(1, -1, self.shape.width), everywhere)
            tokens = joined.reshape(own.shape)
            if number in layers:
                found.append(torch.cat([own, tokens], dim=-1))
        return found

    def _special(self, count: int) -> Tensor:
        """(S, special, width): one set for the first picture, another for all others."""
        tokens = torch.cat([self.camera_token, self.register_token], dim=2)[0]
        return torch.cat([tokens[:1], tokens[1:].expand(count - 1, -1, -1)])


def dino_places(learned: Tensor, grid: int, rows: int, columns: int) -> Tensor:
    """(1, 1 + rows * columns, width) DINOv2's learned positions, resized from a square grid to another one."""
    if rows == columns == grid:
        return learned
    learned = learned.float()
    square = learned[:, 1:].transpose(1, 2).reshape(1, -1, grid, grid)
    # DINOv2's training had a scale that was off by a tenth of a patch, and its weights expect that.
    scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
    resized = functional.interpolate(square, scale_factor=scale, mode="bicubic")
    return torch.cat([learned[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def rotations(rows: int, columns: int, shape: TrunkShape, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (special + patches, head width) of each token's 2D rotary position; none for special tokens.

    The first half of a head's channels encodes the row, the second the column, both counted from 1.
    """
    quarter = shape.width // shape.heads // 4
    exponents = torch.arange(quarter, device=like.device, dtype=torch.float32) / quarter
    rates = 1.0 / _FREQUENCY**exponents
    row, column = torch.meshgrid(
        torch.arange(1, rows + 1, device=like.device), torch.arange(1, columns + 1, device=like.device), indexing="ij"
    )
    places = torch.stack([row.flatten(), column.flatten()], dim=1).float()
    places = torch.cat([places.new_zeros(shape.special, 2), places])
    angles = (places[..., None] * rates).to(like.dtype)
    angles = torch.cat([angles, angles], dim=-1).flatten(1)
    return angles.cos(), angles.sin()


def rotated(values: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """(..., N, head width) rotated; in each half, the first quarter is paired with the second."""
    cosine, sine = turns
    first, second = values.reshape(*values.shape[:-1], 2, 2, -1).unbind(-2)
    crossed = torch.stack([-second, first], dim=-2).flatten(-3)
    return values * cosine + crossed * sine


def whole_patches(height: int, width: int, shape: TrunkShape) -> tuple[int, int]:
    """The network's input size: the longer side as in training, both sides in whole patches."""
    scale = shape.grid / max(height, width)
    sides = (max(1, math.floor(side * scale + 0.5)) * shape.patch for side in (height, width))
    return next(sides), next(sides)
