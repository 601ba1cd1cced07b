"""The sRGB curve by tables, for compiled loops over millions of values.

Both tables hold the curve at evenly spaced points and are read with linear interpolation. The one toward sRGB is spaced
evenly in the square root of the linear value, where the curve bends least; errors stay below a 20,000th.
"""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit

from scenewright_stages.vision.colour import linear_from_srgb, srgb_from_linear

STEPS = 4096

_POINTS = np.linspace(0, 1, STEPS + 1)
LINEAR_TABLE = np.append(linear_from_srgb(_POINTS), np.float32(1)).astype(np.float32)
SRGB_TABLE = np.append(srgb_from_linear(_POINTS**2), np.float32(1)).astype(np.float32)


@njit(cache=True, nogil=True)
def to_linear(value, table):
    """Linear light of an sRGB value, which is clipped to [0, 1]; table is LINEAR_TABLE."""
    place = min(max(value, np.float32(0.0)), np.float32(1.0)) * np.float32(table.shape[0] - 2)
    index = int(place)
    return table[index] + (place - np.float32(index)) * (table[index + 1] - table[index])


@njit(cache=True, nogil=True)
def to_srgb(value, table):
    """sRGB value of linear light, which is clipped to [0, 1]; table is SRGB_TABLE."""
    place = np.sqrt(min(max(value, np.float32(0.0)), np.float32(1.0))) * np.float32(table.shape[0] - 2)
    index = int(place)
    return table[index] + (place - np.float32(index)) * (table[index + 1] - table[index])
