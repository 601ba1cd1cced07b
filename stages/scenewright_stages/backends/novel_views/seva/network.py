"""SEVA's denoiser: a U-Net over the latents of all frames of a window.

A residual block processes one frame, with features scaled and shifted by the camera's rays. A transformer then attends
within a frame, or jointly over all frames in the middle block and at the two coarser levels of the decoder, and mixes
each position over time. Parameter names are those of the published file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 32
_LONGEST_PERIOD = 10_000.0
_TRANSFORMER_EPSILON = 1e-6


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of the network; the defaults are those of the published weights.

    Attributes:
        channels: width of the first level, a multiple of 32.
        multiples: width of each level in multiples of that.
        residual_blocks: of each level on the way down; one more on the way up.
        attending_levels: how many levels, from the finest, have transformers.
        head_width: channels of one attention head; divides every width.
        context: width of the picture embedding.
        latents: channels of a latent picture.
    """

    channels: int = 320
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    residual_blocks: int = 2
    attending_levels: int = 3
    head_width: int = 64
    context: int = 1024
    latents: int = 4

    @classmethod
    def from_json(cls, path: Path) -> NetworkShape:
        """Sizes from a JSON object with the names above. Raises TypeError and ValueError for anything else."""
        values = json.loads(path.read_text())
        return cls(**{**values, "multiples": tuple(values.get("multiples", cls.multiples))})

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiple for multiple in self.multiples)


RAYS = 6
"""Plücker coordinates of a ray: direction and moment."""


class SevaNetwork(nn.Module):
    """Predicts the noise in the latents of `frames` frames, given their conditioning.

    Args:
        shape: sizes; see :class:`NetworkShape`.
    """

    def __init__(self, shape: NetworkShape = NetworkShape()) -> None:
        super().__init__()
        self.shape = shape
        embedding = 4 * shape.channels
        self.time_embed = nn.Sequential(
            nn.Linear(shape.channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        first = nn.Conv2d(shape.latents + 1 + RAYS, shape.channels, 3, padding=1)
        self.input_blocks = nn.ModuleList([_Layers([first]), *self._down()])
        deepest = shape.widths[-1]
        self.middle_block = _Layers(
            [_Residual(shape, deepest, deepest), _Transformer(shape, deepest, True), _Residual(shape, deepest, deepest)]
        )
        self.output_blocks = nn.ModuleList(self._up())
        self.out = nn.Sequential(
            _GroupNorm(shape.channels), nn.SiLU(), nn.Conv2d(shape.channels, shape.latents, 3, padding=1)
        )

    def forward(self, given: Tensor, times: Tensor, context: Tensor, rays: Tensor, frames: int) -> Tensor:
        """The predicted noise, (B, 4, h, w); B is a multiple of `frames`, and each run of `frames` is one window.

        Args:
            given: (B, 11, h, w) scaled noisy latents, mask of known frames, rays; h and w divide by 8.
            times: (B,) index of the noise level, 0 to 999.
            context: (B, 1, C) picture embedding.
            rays: (B, 6, h, w).
            frames: of one window.
        """
        embedding = self.time_embed(_of_times(times, self.shape.channels).to(given.dtype))
        features, kept = given, []
        for block in self.input_blocks:
            features = block(features, embedding, context, rays, frames)
            kept.append(features)
        features = self.middle_block(features, embedding, context, rays, frames)
        for block in self.output_blocks:
            features = block(torch.cat([features, kept.pop()], dim=1), embedding, context, rays, frames)
        predicted: Tensor = self.out(features)
        return predicted

    def _down(self) -> Iterator[_Layers]:
        shape, width = self.shape, self.shape.channels
        for level, wider in enumerate(shape.widths):
            for _ in range(shape.residual_blocks):
                yield self._block(width, wider, level, joint=False)
                width = wider
            if level + 1 < len(shape.widths):
                yield _Layers([_Reduction(width)])

    def _up(self) -> Iterator[_Layers]:
        shape, width, kept = self.shape, self.shape.widths[-1], self._kept_widths()
        for level in range(len(shape.widths) - 1, -1, -1):
            for number in range(shape.residual_blocks + 1):
                block = self._block(width + kept.pop(), shape.widths[level], level, joint=level > 0)
                width = shape.widths[level]
                if level and number == shape.residual_blocks:
                    block.append(_Enlargement(width))
                yield block

    def _block(self, given: int, made: int, level: int, *, joint: bool) -> _Layers:
        layers: list[nn.Module] = [_Residual(self.shape, given, made)]
        if level < self.shape.attending_levels:
            layers.append(_Transformer(self.shape, made, joint))
        return _Layers(layers)

    def _kept_widths(self) -> list[int]:
        """Channels of the skip connection of each encoder block."""
        shape, kept = self.shape, [self.shape.channels]
        for level, width in enumerate(shape.widths):
            kept += [width] * (shape.residual_blocks + (level + 1 < len(shape.widths)))
        return kept


class _GroupNorm(nn.GroupNorm):
    """In single precision, whatever the network runs in."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__(_GROUPS, channels, eps=epsilon)

    def forward(self, values: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return functional.group_norm(values.float(), self.num_groups, weight, bias, self.eps).to(values.dtype)


class _LayerNorm(nn.LayerNorm):
    """In single precision, whatever the network runs in."""

    def forward(self, values: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return functional.layer_norm(values.float(), self.normalized_shape, weight, bias, self.eps).to(values.dtype)


class _Layers(nn.ModuleList):
    """A list of layers that passes each one its own arguments."""

    def forward(self, values: Tensor, embedding: Tensor, context: Tensor, rays: Tensor, frames: int) -> Tensor:
        for layer in self:
            if isinstance(layer, _Residual):
                values = layer(values, embedding, rays)
            elif isinstance(layer, _Transformer):
                values = layer(values, context, frames)
            else:
                values = layer(values)
        return values


class _Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        reduced: Tensor = self.op(values)
        return reduced


class _Enlargement(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        enlarged: Tensor = self.conv(functional.interpolate(values, scale_factor=2.0, mode="nearest"))
        return enlarged


class _Residual(nn.Module):
    def __init__(self, shape: NetworkShape, given: int, made: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(_GroupNorm(given), nn.SiLU(), nn.Conv2d(given, made, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * shape.channels, made))
        self.dense_emb_layers = nn.Sequential(nn.Conv2d(RAYS, 2 * given, 1))
        # The published numbering includes a dropout, which does nothing in inference.
        self.out_layers = nn.Sequential(_GroupNorm(made), nn.SiLU(), nn.Identity(), nn.Conv2d(made, made, 3, padding=1))
        self.skip_connection = nn.Identity() if given == made else nn.Conv2d(given, made, 1)

    def forward(self, values: Tensor, embedding: Tensor, rays: Tensor) -> Tensor:
        normalised = self.in_layers[1](self.in_layers[0](values))
        small = functional.interpolate(rays.float(), values.shape[-2:], mode="bilinear", align_corners=True)
        scale, shift = self.dense_emb_layers(small.to(values.dtype)).chunk(2, dim=1)
        changed = self.in_layers[2](normalised * (1 + scale) + shift)
        changed = self.out_layers(changed + self.emb_layers(embedding)[..., None, None])
        result: Tensor = self.skip_connection(values) + changed
        return result


class _Attention(nn.Module):
    def __init__(self, width: int, context: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // head_width
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, values: Tensor, context: Tensor) -> Tensor:
        projected = (self.to_q(values), self.to_k(context), self.to_v(context))
        query, key, value = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in projected)
        found = functional.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.to_out(found.transpose(1, 2).flatten(2))
        return result


class _Gate(nn.Module):
    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.proj = nn.Linear(given, 2 * made)

    def forward(self, values: Tensor) -> Tensor:
        passed, gate = self.proj(values).chunk(2, dim=-1)
        gated: Tensor = passed * functional.gelu(gate)
        return gated


class _FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(_Gate(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.net(values)
        return result


class _FrameBlock(nn.Module):
    """Self-attention over positions, then cross-attention to the image embedding."""

    def __init__(self, shape: NetworkShape, width: int) -> None:
        super().__init__()
        self.attn1 = _Attention(width, width, shape.head_width)
        self.ff = _FeedForward(width)
        self.attn2 = _Attention(width, shape.context, shape.head_width)
        self.norm1, self.norm2, self.norm3 = (_LayerNorm(width) for _ in range(3))

    def attended(self, values: Tensor, context: Tensor) -> Tensor:
        """The values after both attentions."""
        normalised = self.norm1(values)
        values = self.attn1(normalised, normalised) + values
        attended: Tensor = self.attn2(self.norm2(values), context) + values
        return attended

    def forward(self, values: Tensor, context: Tensor) -> Tensor:
        values = self.attended(values, context)
        result: Tensor = self.ff(self.norm3(values)) + values
        return result


class _TimeBlock(_FrameBlock):
    """The same over the frames at one position. The caller adds its output, so the last layer has no skip."""

    def __init__(self, shape: NetworkShape, width: int) -> None:
        super().__init__(shape, width)
        self.norm_in = _LayerNorm(width)
        self.ff_in = _FeedForward(width)

    def forward(self, values: Tensor, context: Tensor) -> Tensor:
        values = self.attended(self.ff_in(self.norm_in(values)) + values, context)
        result: Tensor = self.ff(self.norm3(values))
        return result


class _Transformer(nn.Module):
    """Attention across places and across frames.

    Args:
        shape: of the network.
        width: channels.
        joint: whether attention spans all frames instead of each frame separately.
    """

    def __init__(self, shape: NetworkShape, width: int, joint: bool) -> None:
        super().__init__()
        self.joint = joint
        self.norm = _GroupNorm(width, _TRANSFORMER_EPSILON)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([_FrameBlock(shape, width)])
        self.proj_out = nn.Linear(width, width)
        self.time_mix_blocks = nn.ModuleList([_TimeBlock(shape, width)])

    def forward(self, values: Tensor, context: Tensor, frames: int) -> Tensor:
        places = values.shape[-2] * values.shape[-1]
        sequence = self.proj_in(self.norm(values).flatten(2).transpose(1, 2))
        # Joint attention uses the embedding of the window's first frame.
        first = context[::frames]
        if self.joint:
            joined = sequence.reshape(-1, frames * places, sequence.shape[-1])
            sequence = self.transformer_blocks[0](joined, first).reshape_as(sequence)
        else:
            sequence = self.transformer_blocks[0](sequence, context)
        by_place = sequence.unflatten(0, (-1, frames)).transpose(1, 2).flatten(0, 1)
        mixed = self.time_mix_blocks[0](by_place, first.repeat_interleave(places, dim=0))
        sequence = sequence + mixed.unflatten(0, (-1, places)).transpose(1, 2).reshape_as(sequence)
        result: Tensor = self.proj_out(sequence).transpose(1, 2).reshape_as(values) + values
        return result


def _of_times(times: Tensor, width: int) -> Tensor:
    """(B, width) sinusoidal embedding of the noise levels' indices."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = times[:, None].float() * torch.exp(-math.log(_LONGEST_PERIOD) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
