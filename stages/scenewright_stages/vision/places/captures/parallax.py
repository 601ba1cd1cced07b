"""Tells photographs taken from several places from those taken by turning on the spot.

A camera that only turns shows no depth: structure from motion then invents a scene, often a ball around an invented
path, with small reprojection errors. But all matches of such photographs follow from rotations and one lens. So this
module fits exactly that, and measures what it leaves unexplained: the parallax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MINIMUM_MATCHES = 30
_MOST_MATCHES, _MOST_PAIRS, _FIRST_PAIRS = 120, 60, 12
_WIDEST, _NARROWEST = 0.35, 4.0
"""Focal lengths that are tried, relative to the longest side, where none is known."""
_OFF = 2.2
"""Factor by which the focal length of an invented scene may be off."""
_FOCALS = 24
_RADIALS = (-0.2, -0.1, -0.04, 0.0, 0.04, 0.1, 0.2)
"""First radial terms that are tried."""
_FINER_FOCALS, _FINER_RADIALS = np.geomspace(0.94, 1.06, 7), np.linspace(-0.04, 0.04, 5)
_INVERSIONS, _LEAST_FACTOR = 4, 0.3
"""Steps in which a radial term is inverted, and the smallest factor by which it shrinks."""
_NOTABLE = 1.5e-3
"""Parallax that counts, relative to the longest side: a pixel and a half in a thousand."""
_KEPT = 0.8
"""Share of a pair's matches that a rotation must explain. The rest may be wrong matches."""
_LEAST_MOVED = 0.1
"""Fewer of the pairs show parallax by chance, or by wrong matches."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of two photographs, (N, 2) float64 each, relative to the picture's middle and longest side."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]


@dataclass(frozen=True)
class Parallax:
    """What rotations leave unexplained.

    Attributes:
        pairs: number of pairs measured.
        moved: share of them that show parallax.
        median: parallax of the median pair, relative to the longest side.
    """

    pairs: int
    moved: float
    median: float

    @property
    def turned_only(self) -> bool:
        """Whether the camera turned on the spot."""
        return self.pairs > 0 and self.moved < _LEAST_MOVED


def parallax_of(pairs: Sequence[Matches], focal: float | None = None) -> Parallax:
    """Measures pairs of photographs under the lens that explains them best by rotation alone.

    Args:
        pairs: of photographs by one lens; those with few matches do not count.
        focal: length that structure from motion found, relative to the longest side, if it found one.
    """
    usable = [_thinned(pair) for pair in pairs if len(pair.first) >= MINIMUM_MATCHES]
    if not usable:
        return Parallax(0, 1.0, np.inf)
    chosen = _some(usable, _MOST_PAIRS)
    ends = (_WIDEST, _NARROWEST) if focal is None else (focal / _OFF, focal * _OFF)
    lenses = [(length, radial) for length in np.geomspace(*ends, _FOCALS) for radial in _RADIALS]
    length, radial = _best(_some(usable, _FIRST_PAIRS), lenses)
    finer = [(length * factor, radial + more) for factor in _FINER_FOCALS for more in _FINER_RADIALS]
    left = _left(chosen, *_best(_some(usable, _FIRST_PAIRS), finer))
    return Parallax(len(chosen), float((left > _NOTABLE).mean()), float(np.median(left)))


def _best(pairs: Sequence[Matches], lenses: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(lenses, key=lambda lens: float(np.median(_left(pairs, *lens))))


def _left(pairs: Sequence[Matches], focal: float, radial: float) -> NDArray[np.float64]:
    return np.array([_unexplained(pair, focal, radial) for pair in pairs])


def _some(pairs: Sequence[Matches], limit: int) -> list[Matches]:
    """At most `limit` of the pairs, evenly spaced."""
    places = np.linspace(0, len(pairs) - 1, min(limit, len(pairs))).round().astype(int)
    return [pairs[number] for number in places]


def _thinned(pair: Matches) -> Matches:
    places = np.unique(np.linspace(0, len(pair.first) - 1, _MOST_MATCHES).round().astype(int))
    return Matches(pair.first[places], pair.second[places])


def _unexplained(pair: Matches, focal: float, radial: float) -> float:
    """How far the best rotation leaves matches apart (at the 80th percentile), relative to the longest side."""
    first, second = _rays(pair.first, focal, radial), _rays(pair.second, focal, radial)
    kept = np.ones(len(first), np.bool_)
    left = np.zeros(len(first))
    for _ in range(3):
        u, _, v = np.linalg.svd(second[kept].T @ first[kept])
        turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
        left = np.linalg.norm(first @ turn.T - second, axis=1) * focal
        kept = left <= np.quantile(left, _KEPT)
    return float(np.quantile(left, _KEPT))


def _rays(places: NDArray[np.float64], focal: float, radial: float) -> NDArray[np.float64]:
    seen = places / focal
    flat = seen
    for _ in range(_INVERSIONS):
        flat = seen / np.maximum(1 + radial * (flat**2).sum(axis=1, keepdims=True), _LEAST_FACTOR)
    rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))
