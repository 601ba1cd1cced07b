"""Finds sky and other far points in a depth map, and puts them on one shell behind everything else.

Depth sources mark sky in three ways: without a depth, as infinity, or in kilometres. The first leaves a third of an
outdoor photograph without Gaussians. The last gives a street the radius of a kilometre. `place_far_points` treats all
three alike: these pixels get the depth of one plane behind the rest. Callers leave them out when they measure the
scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.points import valid_depth
from scenewright_stages.vision.types import FloatArray, Mask

FAR_FACTOR = 25.0
"""A point this many times as far as the near depth moves by 4 % of what near points do: it may as well not move."""

SHELL_FACTOR = 1.5
"""Depth of the shell relative to the far percentile of what stands before it."""

NEAR_PERCENTAGE = 10.0
FAR_PERCENTAGE = 98.0

_LEAST_SKY_SHARE = 0.03
_LEAST_TOP_SHARE = 0.25
_RIM_WINDOW = np.ones((7, 7), np.uint8)


@dataclass(frozen=True, eq=False)
class FarPoints:
    """A depth map whose far points lie on a shell.

    Attributes:
        depth: (H, W) float32 metres; NaN where nothing is known.
        far: (H, W) bool, the pixels that were moved to the shell from farther away, or from nowhere.
        shell: their depth; 0 without any.
    """

    depth: NDArray[np.float32]
    far: Mask
    shell: float


def place_far_points(depth: FloatArray) -> FarPoints:
    """The map with its sky on a shell, and nothing behind it.

    Far are: infinite pixels, those beyond `FAR_FACTOR` times the near depth, and unmeasured regions that look like
    sky (see `open_sky`). A map without any is returned as it is.

    Args:
        depth: (H, W); infinity says "farther than can be measured", NaN and non-positive values "not known".
    """
    measured = valid_depth(depth)
    if not measured.any():
        return FarPoints(depth.astype(np.float32), np.zeros(depth.shape, np.bool_), 0.0)
    limit = FAR_FACTOR * float(np.percentile(depth[measured], NEAR_PERCENTAGE))
    near = measured & (depth <= limit)
    far = np.isposinf(depth) | (measured & ~near) | open_sky(depth, near)
    if not far.any():
        return FarPoints(depth.astype(np.float32), far, 0.0)
    shell = SHELL_FACTOR * float(np.percentile(depth[near], FAR_PERCENTAGE))
    placed = np.where(far, shell, np.minimum(depth, shell)).astype(np.float32)
    return FarPoints(placed, far, shell)


def open_sky(depth: FloatArray, near: Mask) -> Mask:
    """(H, W) bool: unmeasured regions that reach the upper edge broadly and end at what is far.

    A region counts when it covers 3 % of the picture, takes a quarter of the upper edge, and what borders on it
    is at least as far as the median. Gaps that a stereo camera leaves do neither: they stay unmeasured.

    Args:
        near: (H, W) bool, the pixels with a depth to compare with.
    """
    unknown = ~valid_depth(depth) & ~np.isposinf(depth)
    count, labels = cv2.connectedComponents(unknown.astype(np.uint8), connectivity=8)
    sky = np.zeros(depth.shape, np.bool_)
    middle = float(np.median(depth[near])) if near.any() else np.inf
    touching = np.bincount(labels[0], minlength=count)
    for label in np.flatnonzero(touching[1:] >= _LEAST_TOP_SHARE * depth.shape[1]) + 1:
        region = labels == label
        rim = near & ~region & (cv2.dilate(region.astype(np.uint8), _RIM_WINDOW) > 0)
        if region.mean() >= _LEAST_SKY_SHARE and rim.any() and float(np.median(depth[rim])) >= middle:
            sky |= region
    return sky
