"""Shape prior of a person, given the face or a box.

Lengths are in sides of the face's square (ear to ear), from its centre, x to the right and y down. Proportions are
those of adults in upright portraits: the hair ends one unit above the face's centre, the neck begins at 0.6, and the
shoulders, at 1.35, are about three units wide (Tilley 2002, rounded).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.subjects.people.faces import Face
from scenewright_stages.vision.types import Float32Array, Mask

Box = tuple[float, float, float, float]

_HALF_WIDTH_AT = (0.5, 0.75, 1.0, 1.35, 2.2, 3.5)
_HALF_WIDTH = (0.5, 0.55, 0.8, 0.97, 1.35, 1.42)
_SPREAD_AT, _SPREAD = (0.7, 1.2, 2.5), (0.14, 0.3, 0.5)  # uncertainty of the outline, larger further down
_STEEPNESS = 1.5
_HEAD_ENDS = 0.75


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """Prior of each pixel by its position, all (H, W).

    Attributes:
        share: float32 in [0, 1], share of people who cover this pixel.
        certain: bool, everyone covers it.
        impossible: bool, no one covers it.
        head: bool, the upper part, which has its own colour model (hair, skin and the background there).
        telling: float32 in [0, 1], how representative the colour here is of the rest of the person.
    """

    share: Float32Array
    certain: Mask
    impossible: Mask
    head: Mask
    telling: Float32Array


def prior_of_face(shape: tuple[int, int], face: Face) -> ShapePrior:
    """Head and shoulders below and around a face; x, y and size in pixels of the (H, W) grid."""
    across = ((np.arange(shape[1], dtype=np.float32) + 0.5 - face.x) / face.size)[None]
    down = ((np.arange(shape[0], dtype=np.float32) + 0.5 - face.y) / face.size)[:, None]
    side = np.abs(across)
    above_shoulders = 0.45 - down
    half_width = np.interp(down, _HALF_WIDTH_AT, _HALF_WIDTH)
    into_head = 0.85 * (1 - np.hypot(across / 0.78, (down + 0.12) / 0.98))
    into_torso = np.where(
        above_shoulders < 0,
        np.minimum(half_width - side, 0.2 - above_shoulders),
        -np.hypot(np.maximum(side - 0.5, 0), above_shoulders),
    )
    spread = np.interp(down, _SPREAD_AT, _SPREAD)
    face_itself = np.hypot(across / 0.45, down / 0.62) < 1
    collar, chest = (side < 0.42) & (down > 0.5) & (down < 1.5), (side < 0.4) & (down > 1.4)
    beside_head = (side > 1.25) & (down < 0.5)
    everywhere = np.zeros(shape, bool)
    return ShapePrior(
        share=_share(np.maximum(into_head, into_torso) / spread),
        certain=face_itself | collar | chest,
        impossible=everywhere | beside_head | (down < -1.35) | (side > 2.7),
        head=everywhere | (down < _HEAD_ENDS),
        # Collars, scarves and necklines differ in colour from the clothes.
        telling=np.where((side < 0.6) & (down > _HEAD_ENDS) & (down < 1.5), 0.02, 1).astype(np.float32),
    )


def prior_of_box(shape: tuple[int, int], box: Box) -> ShapePrior:
    """Prior of a person who fills a box (left, top, right, bottom; pixels of the grid): round above, wide below."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    across = ((np.arange(shape[1], dtype=np.float32) + 0.5 - left) / width * 2 - 1)[None]
    down = ((np.arange(shape[0], dtype=np.float32) + 0.5 - top) / height)[:, None]
    side = np.abs(across)
    half_width = np.interp(down, (0, 0.06, 0.2, 0.35, 1), (0.1, 0.3, 0.5, 0.85, 0.85))
    inside = (side < 1) & (down > 0) & (down < 1)
    into = np.minimum(half_width - side, 2 * np.minimum(down, 1.02 - down))
    everywhere = np.zeros(shape, bool)
    return ShapePrior(
        share=_share(into / 0.3),
        certain=inside & (side < 0.12) & (down > 0.12) & (down < 0.75),
        impossible=everywhere | ~inside,
        head=everywhere,
        telling=np.ones(shape, np.float32),
    )


def _share(distance: NDArray[np.floating]) -> Float32Array:
    share: Float32Array = (1 / (1 + np.exp(-_STEEPNESS * distance))).astype(np.float32)
    return share
