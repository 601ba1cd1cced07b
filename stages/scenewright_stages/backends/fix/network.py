"""The classic fixer's network: a small residual U-Net.

Its inputs are the render, its coverage, and a nearby photograph warped into the render's camera. Its last layer starts
at zero, so an untrained network returns the render unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

CHANNELS = 11
"""Render, coverage, warped reference, its validity, and the difference of the two pictures where it is valid."""
WIDTHS = (24, 48, 72)
_LEAST_SIDE = 2 ** (len(WIDTHS) - 1)


class FixNetwork(nn.Module):
    """Residual U-Net of 217,000 parameters.

    Args:
        uses_reference: whether it sees the reference; False gives the ablation without it.
    """

    def __init__(self, uses_reference: bool = True) -> None:
        super().__init__()
        self.uses_reference = uses_reference
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise((CHANNELS, *WIDTHS)))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in pairwise(WIDTHS[::-1]))
        self.last = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        # Channels-last makes a training step with so few channels a quarter faster on the CPU.
        self.to(memory_format=torch.channels_last)

    def forward(
        self, srgb: torch.Tensor, alpha: torch.Tensor, warped: torch.Tensor, valid: torch.Tensor
    ) -> torch.Tensor:
        """(B, 3, H, W) without artefacts, not clipped; srgb and warped (B, 3, H, W), alpha and valid (B, 1, H, W)."""
        if not self.uses_reference:
            warped, valid = torch.zeros_like(warped), torch.zeros_like(valid)
        difference = (warped - srgb) * valid
        seen = torch.cat([srgb - 0.5, alpha, warped - 0.5 * valid, valid, difference], dim=1)
        height, width = seen.shape[-2:]
        padding = (0, -width % _LEAST_SIDE, 0, -height % _LEAST_SIDE)
        features = self._features(functional.pad(seen, padding, mode="replicate"))[..., :height, :width]
        change = self.last(features)
        # The fourth channel weights the reference.
        fixed: torch.Tensor = srgb + change[:, :3] + torch.tanh(change[:, 3:]) * difference
        return fixed

    def _features(self, values: torch.Tensor) -> torch.Tensor:
        kept = []
        for number, block in enumerate(self.down):
            values = block(functional.avg_pool2d(values, 2) if number else values)
            kept.append(values)
        for block, beside in zip(self.up, kept[-2::-1], strict=True):
            larger = functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
            values = block(torch.cat([larger, beside], dim=1))
        return values


def _block(given: int, made: int) -> nn.Sequential:
    layers: Sequence[nn.Module] = (
        nn.Conv2d(given, made, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(made, made, 3, padding=1),
        nn.SiLU(),
    )
    return nn.Sequential(*layers)
