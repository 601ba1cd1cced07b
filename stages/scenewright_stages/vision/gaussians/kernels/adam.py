"""Adam on the CPU: one thread, since a parallel launch costs more than the usual few thousand rows."""

from __future__ import annotations

import math
from typing import Any

from numba import njit


@njit(cache=True, error_model="numpy")
def adam(
    values: Any,
    gradient: Any,
    first_moment: Any,
    second_moment: Any,
    rates: Any,
    step: int,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One Adam step (Kingma & Ba 2015) on values (N, C) in place, learning rate per column."""
    real = values.dtype.type
    correction1, correction2 = 1.0 - beta1**step, math.sqrt(1.0 - beta2**step)
    keep1, take1 = real(beta1), real(1.0 - beta1)
    keep2, take2 = real(beta2), real(1.0 - beta2)
    inverse2, small = real(1.0 / correction2), real(epsilon)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            g = gradient[i, j]
            m = keep1 * first_moment[i, j] + take1 * g
            v = keep2 * second_moment[i, j] + take2 * g * g
            first_moment[i, j], second_moment[i, j] = m, v
            rate = rates[j] / real(correction1)
            values[i, j] -= rate * m / (math.sqrt(v) * inverse2 + small)
