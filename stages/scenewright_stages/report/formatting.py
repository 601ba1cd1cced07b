"""Numbers as people read them."""

from __future__ import annotations

import math


def duration_text(seconds: float) -> str:
    """Such as 0.4 s, 12 s, 1 min 42 s or 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def number_text(value: float | None, digits: int) -> str:
    """A value with that many decimals; a dash when there is none or it is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace(",", "\u202f")


def metres_text(metres: float) -> str:
    """A distance with three significant digits, such as 0.85 m or 12.4 m."""
    digits = max(0, 2 - math.floor(math.log10(max(metres, 1e-3))))
    return f"{metres:.{min(digits, 3)}f} m"
