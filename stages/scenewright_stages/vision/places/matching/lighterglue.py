"""LighterGlue: matches the features of two photographs with a small transformer.

"LightGlue: Local Feature Matching at Light Speed", Lindenberger et al., ICCV 2023, arXiv:2306.13643, in the size that
XFeat's authors trained for their descriptors. The layers have the names of the published weights, which `models` loads.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import logsigmoid, scaled_dot_product_attention

from scenewright_stages.vision.places.matching.xfeat import DESCRIPTOR, Features

_WIDTH, _LAYERS = 96, 6
_LEAST_PROBABILITY = 0.1
_MATCHABLE = 0.05
"""Features that are less likely to have a counterpart are left out of the later layers, which saves half the time."""


class LighterGlue(nn.Module):
    """The network."""

    def __init__(self) -> None:
        super().__init__()
        self.input_proj = nn.Linear(DESCRIPTOR, _WIDTH)
        self.posenc = _Places()
        self.transformers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.log_assignment = nn.ModuleList(_Assignment() for _ in range(_LAYERS))

    @torch.inference_mode()
    def match(self, first: Features, second: Features) -> torch.Tensor:
        """(M, 2) int64 numbers of matching features, each used once, in the order of the first photograph's."""
        pair = first, second
        values = [self.input_proj(each.descriptors) for each in pair]
        places = [self.posenc(_centred(each)) for each in pair]
        kept = [torch.arange(len(each.descriptors)) for each in pair]
        for number, (layer, assignment) in enumerate(zip(self.transformers, self.log_assignment, strict=True)):
            if not all(len(each) for each in values):
                return torch.zeros(0, 2, dtype=torch.int64)
            values = layer(*values, *places)
            if number + 1 < _LAYERS:
                assert isinstance(assignment, _Assignment)
                for side in range(2):
                    able = torch.sigmoid(assignment.matchability(values[side]))[:, 0] > _MATCHABLE
                    values[side], kept[side] = values[side][able], kept[side][able]
                    places[side] = places[side][:, able]
        rows, columns = _mutual(self.log_assignment[-1](*values))
        return torch.stack([kept[0][rows], kept[1][columns]], dim=1)


class _Places(nn.Module):
    """Cosines and sines (2, N, 96) that encode places (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.Wr = nn.Linear(2, _WIDTH // 2, bias=False)

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        angles = self.Wr(places)
        return torch.stack([angles.cos(), angles.sin()]).repeat_interleave(2, dim=-1)


class _Layer(nn.Module):
    """Attention within each photograph, then to the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _SelfAttention()
        self.cross_attn = _CrossAttention()

    def forward(
        self, first: torch.Tensor, second: torch.Tensor, first_places: torch.Tensor, second_places: torch.Tensor
    ) -> list[torch.Tensor]:
        first, second = self.self_attn(first, first_places), self.self_attn(second, second_places)
        return [self.cross_attn(first, second), self.cross_attn(second, first)]


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.out_proj = nn.Linear(_WIDTH, _WIDTH)
        self.ffn = _feed_forward()

    def forward(self, values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        query, key, value = self.Wqkv(values).view(len(values), -1, 3).unbind(dim=-1)
        message = self.out_proj(_attended(_turned(query, places), _turned(key, places), value))
        updated: torch.Tensor = values + self.ffn(torch.cat([values, message], dim=-1))
        return updated


class _CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_qk = nn.Linear(_WIDTH, _WIDTH)
        self.to_v = nn.Linear(_WIDTH, _WIDTH)
        self.to_out = nn.Linear(_WIDTH, _WIDTH)
        self.ffn = _feed_forward()

    def forward(self, values: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        message = self.to_out(_attended(self.to_qk(values), self.to_qk(other), self.to_v(other)))
        updated: torch.Tensor = values + self.ffn(torch.cat([values, message], dim=-1))
        return updated


class _Assignment(nn.Module):
    """Logarithm (M, N) of the probability that two features match."""

    def __init__(self) -> None:
        super().__init__()
        self.matchability = nn.Linear(_WIDTH, 1)
        self.final_proj = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        projected = [self.final_proj(each) / _WIDTH**0.25 for each in (first, second)]
        similarity = projected[0] @ projected[1].T
        certain = logsigmoid(self.matchability(first)) + logsigmoid(self.matchability(second)).T
        scores: torch.Tensor = similarity.log_softmax(dim=1) + similarity.log_softmax(dim=0) + certain
        return scores


def _feed_forward() -> nn.Sequential:
    double = 2 * _WIDTH
    return nn.Sequential(nn.Linear(double, double), nn.LayerNorm(double), nn.GELU(), nn.Linear(double, _WIDTH))


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    one, two, three = (each.contiguous()[None, None] for each in (query, key, value))
    return scaled_dot_product_attention(one, two, three)[0, 0]


def _turned(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Values (N, 96), pairs of which are turned by the angles of the places."""
    even, odd = values.view(len(values), -1, 2).unbind(dim=-1)
    across = torch.stack([-odd, even], dim=-1).flatten(-2)
    return values * places[0] + across * places[1]


def _centred(features: Features) -> torch.Tensor:
    """(N, 2) places from the photograph's centre, in halves of its longer side."""
    size = torch.tensor(features.size, dtype=torch.float32)
    return (features.pixels - 0.5 - size / 2) / (size.max() / 2)


def _mutual(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns that are each other's best and probable enough."""
    if not scores.numel():
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    best, columns = scores.max(dim=1)
    back = scores.argmax(dim=0)
    rows = torch.arange(len(scores))
    good = (back[columns] == rows) & (best.exp() > _LEAST_PROBABILITY)
    return rows[good], columns[good]
