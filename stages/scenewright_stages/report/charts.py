"""Small inline SVG charts (histograms, light directions) and human-readable numbers.

The output is deterministic; the page's CSS sets the colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

BINS = 24
_WIDTH, _HEIGHT = 280, 96
_FEWEST_DRAWN = 8
_SPHERE = 120
_RINGS = (30, 60)
"""Elevations above the image plane at which the sphere has a ring, degrees."""


@dataclass(frozen=True)
class Distribution:
    """A histogram.

    Attributes:
        counts: by bin; bins are equally wide from `low` to `high`.
        unit: shown after the two limits.
    """

    title: str
    counts: tuple[int, ...]
    low: float
    high: float
    unit: str = ""
    digits: int = 2
    note: str = ""

    @property
    def is_worth_drawing(self) -> bool:
        """Whether bars say more than `text`: enough values, and they differ as far as they are shown."""
        return sum(self.counts) >= _FEWEST_DRAWN and self._ends[0] != self._ends[1]

    @property
    def text(self) -> str:
        """The range in words, such as 0.2 to 0.4 m, or the value that all share."""
        low, high = self._ends
        return f"{low if low == high else f'{low} to {high}'} {self.unit}".strip()

    @property
    def _ends(self) -> tuple[str, str]:
        return number_text(self.low, self.digits), number_text(self.high, self.digits)


@dataclass(frozen=True)
class LightPoint:
    """A light: x to the right and y up in the image plane, in [-1, 1], and the share of ambient light."""

    x: float
    y: float
    ambient: float


def distribution(
    title: str, values: Sequence[float], unit: str = "", digits: int = 2, note: str = "", bins: int = BINS
) -> Distribution | None:
    """The histogram of some values; None without values."""
    found: NDArray[np.float64] = np.asarray(values, np.float64)
    if found.size == 0:
        return None
    low, high = float(found.min()), float(found.max())
    if low == high:
        return Distribution(title, (int(found.size),), low, high, unit, digits, note)
    counts, _ = np.histogram(found, bins=bins, range=(low, high))
    return Distribution(title, tuple(int(count) for count in counts), low, high, unit, digits, note)


def histogram_svg(shown: Distribution) -> Markup:
    """The bars of a histogram."""
    tallest = max(shown.counts)
    width = _WIDTH / len(shown.counts)
    bars = "".join(
        f'<rect x="{position * width + 0.5:.1f}" y="{_HEIGHT - height:.1f}" width="{width - 1:.1f}" '
        f'height="{height:.1f}"><title>{_bin_text(shown, position)}: {count}</title></rect>'
        for position, count in enumerate(shown.counts)
        for height in (_HEIGHT * count / tallest,)
        if count
    )
    label = escape(f"{shown.title}: {sum(shown.counts)} samples")
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" '
        f'preserveAspectRatio="none">{bars}</svg>'
    )


def sphere_svg(lights: Sequence[LightPoint]) -> Markup:
    """Light directions on the hemisphere facing the camera, as the camera sees it; ambient light is drawn faint."""
    rings = "".join(f'<circle class="ring" r="{_SPHERE * np.cos(np.radians(angle)):.1f}"/>' for angle in _RINGS)
    dots = "".join(
        f'<circle class="light" cx="{_SPHERE * light.x:.1f}" cy="{-_SPHERE * light.y:.1f}" r="2.6" '
        f'fill-opacity="{1 - 0.75 * min(max(light.ambient, 0.0), 1.0):.2f}"/>'
        for light in lights
    )
    side = _SPHERE + 26
    words = (("above", 0, -_SPHERE - 10), ("below", 0, _SPHERE + 18))
    labels = "".join(f'<text x="{x}" y="{y}">{word}</text>' for word, x, y in words)
    return Markup(
        f'<svg class="sphere" viewBox="{-side} {-side} {2 * side} {2 * side}" role="img" '
        f'aria-label="Directions of {len(lights)} lights">'
        f'<circle class="rim" r="{_SPHERE}"/>{rings}{dots}{labels}</svg>'
    )


def _bin_text(shown: Distribution, position: int) -> str:
    width = (shown.high - shown.low) / len(shown.counts)
    start = shown.low + position * width
    ends = (number_text(start, shown.digits), number_text(start + width, shown.digits))
    return str(escape(f"{ends[0]} to {ends[1]} {shown.unit}".strip()))


def number_text(value: float | None, digits: int) -> str:
    """A value with `digits` decimals; a dash if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def metres_text(metres: float) -> str:
    """A distance with three significant digits, such as 0.85 m or 12.4 m."""
    digits = max(0, 2 - math.floor(math.log10(max(metres, 1e-3))))
    return f"{metres:.{min(digits, 3)}f} m"
