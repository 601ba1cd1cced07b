"""Quantities as Kubernetes writes them."""

from __future__ import annotations

from math import ceil

_FACTORS = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
    **{"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60},
}


def number_of(quantity: str | int | float) -> float:
    """The number that a quantity stands for: cores, bytes or pieces.

    Raises:
        ValueError: not a quantity.
    """
    text = str(quantity)
    suffix = next((suffix for suffix in sorted(_FACTORS, key=len, reverse=True) if text.endswith(suffix)), "")
    return float(text.removesuffix(suffix)) * _FACTORS.get(suffix, 1.0)


def cores(count: float) -> str:
    """CPU cores: whole ones as such, else thousandths."""
    return str(int(count)) if count == int(count) else f"{ceil(count * 1000)}m"


def gibibytes(count: float) -> str:
    """Memory or disk space given in GiB."""
    return f"{int(count)}Gi" if count == int(count) else f"{ceil(count * 1024)}Mi"
