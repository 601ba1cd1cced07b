"""How many threads the compiled kernels use for a hole: results never depend on it, waiting does."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba

PIXELS_PER_THREAD = 6000
"""Hole pixels that make a further thread worth its synchronisation, several hundred times per completion."""


@contextmanager
def threads_for(pixels: int) -> Iterator[None]:
    """Limit the kernels called inside to as many threads as `pixels` hole pixels are worth; restores the number."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(before, pixels // PIXELS_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
