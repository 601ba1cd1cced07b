"""Outlines of estimated depth, moved to where the picture has them.

Estimated depth misses thin parts: the ornaments of a roof, twigs, the rim of a cup lie on what is behind them. When the
camera moves they come off as dark specks. `vistadream.initialize` calls this before it makes Gaussians. The idea: a
pixel beside a near surface whose colour the surface behind does not have, as far as it can be seen farther away from
that outline, belongs to the near surface.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry import valid_depth

Float32Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

REACH = 0.015
"""How far a near surface is looked for, as a share of the picture's longer side."""

_JUMP = 1.05  # factor between depths of two surfaces
_TOLERANCE = 0.08  # what a channel may leave the colours behind by (sRGB in [0, 1])
_CLEAR, _AROUND = 1.5, 4  # the colours behind are looked for between so many reaches
_LOOKS = 3  # in each reach
_LEAST_SEEN = 12  # so many pixels tell the colours behind


def claim_outlines(depth: Float32Array, srgb: Float32Array) -> Float32Array:
    """Depth (H, W) whose near surfaces take the pixels beside them that do not look like what is behind.

    Args:
        depth: (H, W) float32 metres; 0 or not finite where there is none, which stays as it is.
        srgb: (H, W, 3) float32 in [0, 1].
    """
    reach = max(1, round(REACH * max(depth.shape)))
    known = np.where(valid_depth(depth), depth, np.inf).astype(np.float32)
    nearest = _nearest(known, reach)
    beside = np.isfinite(known) & (known > _JUMP * nearest)
    # Rims wider than the reach must not pass for what is behind.
    behind = np.isfinite(known) & (known <= _JUMP * _nearest(known, round(_CLEAR * reach)))
    strange = _unlike_what_is_behind(np.where(behind, known, np.float32(0)), srgb, known, beside, reach)
    claimed = np.array(depth, np.float32)
    claimed[strange] = _closest_near(np.where(strange, np.float32(np.inf), known), nearest, strange, reach)
    return claimed


def _closest_near(known: Float32Array, nearest: Float32Array, strange: Mask, reach: int) -> Float32Array:
    """(N,) for each strange pixel the depth of the closest pixel on the near surface beside it.

    The least depth around would tear a slanted surface at its rim.
    """
    padded = np.pad(known, reach, constant_values=np.inf)
    rows, columns = (np.argwhere(strange) + reach).T
    limit, found = _JUMP * nearest[strange], nearest[strange].copy()
    pending = np.ones(len(found), np.bool_)
    around = [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]
    for down, across in sorted(around, key=lambda step: step[0] ** 2 + step[1] ** 2):
        there = padded[rows + down, columns + across]
        near = pending & (there <= limit)
        found[near] = there[near]
        pending &= ~near
    return found


def _nearest(known: Float32Array, reach: int) -> Float32Array:
    """(H, W) the least depth within so many pixels."""
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.erode(known, window), np.float32)


def _unlike_what_is_behind(
    behind: Float32Array, srgb: Float32Array, known: Float32Array, beside: Mask, reach: int
) -> Mask:
    """(H, W) bool: pixels beside a near surface whose colour nothing around has that is as far away as they are.

    behind is the depth of what may stand for that, 0 elsewhere.
    """
    own, colour = known[beside], srgb[beside]
    low = np.full(colour.shape, np.inf, np.float32)
    high, seen = -low, np.zeros(len(own), np.int32)
    far = _AROUND * reach
    depths, colours = np.pad(behind, far), np.pad(srgb, ((far, far), (far, far), (0, 0)))
    rows, columns = (np.argwhere(beside) + far).T
    steps = range(-far, far + 1, max(1, reach // _LOOKS))
    for down in steps:
        for across in steps:
            there = (rows + down, columns + across)
            counts = depths[there] * _JUMP >= own
            shown = colours[there][counts]
            low[counts] = np.minimum(low[counts], shown)
            high[counts] = np.maximum(high[counts], shown)
            seen += counts
    leaving = np.maximum(low - colour, colour - high).max(axis=1)
    strange = np.zeros(beside.shape, np.bool_)
    strange[beside] = (seen >= _LEAST_SEEN) & (leaving > _TOLERANCE)
    return strange
