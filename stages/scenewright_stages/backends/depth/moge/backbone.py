"""DINOv2's vision transformer (Oquab et al. 2023) with patches of 14 pixels, as MoGe's encoder uses it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 14
# Learned positions form a 37x37 grid: DINOv2 was last trained at 518 pixels.
_POSITION_GRID = 518 // PATCH


@dataclass(frozen=True)
class BackboneSize:
    """Width, number of blocks and attention heads."""

    width: int
    depth: int
    heads: int


SIZES = {
    "dinov2_vits14": BackboneSize(384, 12, 6),
    "dinov2_vitb14": BackboneSize(768, 12, 12),
    "dinov2_vitl14": BackboneSize(1024, 24, 16),
}


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return mixed


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return projected


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        self.ls1 = _LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _FeedForward(width)
        self.ls2 = _LayerScale(width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        fed: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return fed


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=PATCH, stride=PATCH)

    def forward(self, image: Tensor) -> Tensor:
        patches: Tensor = self.proj(image)
        return patches.flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """The transformer; gives the normalised tokens after chosen blocks."""

    def __init__(self, size: BackboneSize) -> None:
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, _POSITION_GRID**2 + 1, size.width))
        # Used only in DINOv2's training, but part of every published checkpoint.
        self.mask_token = nn.Parameter(torch.zeros(1, size.width))
        self.patch_embed = _PatchEmbedding(size.width)
        self.blocks = nn.ModuleList(_Block(size.width, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, image: Tensor, layers: int | Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Tokens after selected blocks.

        Args:
            image: (B, 3, H, W), normalised; H and W are multiples of 14.
            layers: number of last blocks, or indices of blocks.

        Returns:
            per layer: patch tokens as a map (B, width, H / 14, W / 14), and the class token (B, width).
        """
        rows, columns = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        wanted = range(len(self.blocks))[-layers:] if isinstance(layers, int) else layers
        tokens = torch.cat([self.cls_token.expand(len(image), -1, -1), self.patch_embed(image)], dim=1)
        tokens = tokens + self._positions(rows, columns).to(tokens.dtype)
        found = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in wanted:
                found.append(self.norm(tokens))
        return [(kept[:, 1:].transpose(1, 2).reshape(len(kept), -1, rows, columns), kept[:, 0]) for kept in found]

    def _positions(self, rows: int, columns: int) -> Tensor:
        """(1, 1 + rows * columns, width) positions of a grid, interpolated from the learned ones."""
        if rows == columns == _POSITION_GRID:
            return self.pos_embed
        learned = self.pos_embed.float()
        grid = learned[:, 1:].transpose(1, 2).reshape(1, -1, _POSITION_GRID, _POSITION_GRID)
        # DINOv2's training had a scale that was off by a tenth of a patch, and its weights expect that.
        scale = ((rows + 0.1) / _POSITION_GRID, (columns + 0.1) / _POSITION_GRID)
        resized = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
        return torch.cat([learned[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def token_grid(tokens: float, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of a grid of about ``tokens`` patches with the image's aspect ratio."""
    aspect = width / height
    return max(1, round(math.sqrt(tokens / aspect))), max(1, round(math.sqrt(tokens * aspect)))
