"""Which candidate pose is taken next: a pure function of hole ratios, as the seed pipeline's policy says."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

FallbackMode = Literal["none", "closest"]


@dataclass(frozen=True)
class Band:
    """The rules of a round: hole ratios in [minimum, maximum] are wanted, neighbours of chosen poses are not.

    Attributes:
        minimum, maximum: inclusive bounds of the share of hole pixels.
        adjacent_exclusion: poses within this many steps of a chosen one are not eligible.
        fallback: what to do when no eligible pose lies in the band.
    """

    minimum: float = 0.05
    maximum: float = 0.25
    adjacent_exclusion: int = 1
    fallback: FallbackMode = "none"

    def contains(self, ratio: float) -> bool:
        """Whether the ratio lies in the band; NaN does not."""
        return self.minimum <= ratio <= self.maximum

    def distance(self, ratio: float) -> float:
        """How far outside of the band the ratio lies; 0 within."""
        return max(self.minimum - ratio, ratio - self.maximum, 0.0)


@dataclass(frozen=True)
class Choice:
    """The pose that was chosen, its hole ratio, and whether only the fallback made it possible."""

    index: int
    ratio: float
    by_fallback: bool


def is_excluded(index: int, chosen: Collection[int], adjacent_exclusion: int) -> bool:
    """Whether a pose is a chosen one or within the excluded neighbourhood of one."""
    return any(abs(index - other) <= adjacent_exclusion for other in chosen)


def eligible_indices(ratios: Sequence[float], chosen: Collection[int], adjacent_exclusion: int) -> list[int]:
    """Poses with a finite hole ratio that no chosen pose excludes."""
    return [
        index
        for index, ratio in enumerate(ratios)
        if math.isfinite(ratio) and not is_excluded(index, chosen, adjacent_exclusion)
    ]


def select_pose(ratios: Sequence[float], chosen: Collection[int], band: Band) -> Choice | None:
    """The eligible pose with the largest hole ratio in the band; the first of equals.

    Without any in the band, ``fallback="closest"`` takes the eligible pose with a hole that lies closest to the band
    (the larger ratio of two at the same distance, then the first). None when there is nothing to take.
    """
    eligible = eligible_indices(ratios, chosen, band.adjacent_exclusion)
    in_band = [index for index in eligible if band.contains(ratios[index])]
    if in_band:
        best = max(in_band, key=lambda index: (ratios[index], -index))
        return Choice(best, ratios[best], by_fallback=False)
    with_holes = [index for index in eligible if ratios[index] > 0.0]
    if band.fallback == "none" or not with_holes:
        return None
    best = min(with_holes, key=lambda index: (band.distance(ratios[index]), -ratios[index], index))
    return Choice(best, ratios[best], by_fallback=True)
