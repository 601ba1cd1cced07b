"""Straightens the rim of near surfaces in a smooth depth prior.

A guided filter leaves a ramp along every outline: a few pixels of the object lean towards what is behind it, most where
their colours resemble it. As geometry, such pixels float between the object and its background. Seen from elsewhere,
thin parts bend or come off. `straight_outlines` continues the object's interior up to its outline instead. The prior
calls it. Do not call it for measured depth: there the rim of a round object does curve away.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.vision.types import Float32Array, Mask

STEP = 1.25
"""Ratio of the far to the near depth within reach from which on they are two surfaces."""

_SHARP = 1.15  # ratio of depths within a quarter of the ramp's width on either side that makes a step
_MOST = 0.5  # of the pixels along an outline must lie at a step
_SLACK = 1.5  # pixels by which a step may be farther from a rim's pixel than the nearest background
_OWN_SHARE = 0.25  # of the step in inverse depth: what stands out more from the far surface belongs to the near one
_SEARCH = 1.25  # ramp widths: how far from a pixel the two surfaces are looked for
_LONGEST = 5  # ramp widths: how far an ornament without an interior may reach out
_SMOOTHINGS = 8
_NEIGHBOURS = (3, 3)


@dataclass(frozen=True, eq=False)
class Outlines:
    """The pixels beside an outline, (H, W) bool each: the near surface's rim, and the far surface behind it."""

    rim: Mask
    behind: Mask


def straight_outlines(inverse: Float32Array, width: int) -> Float32Array:
    """Inverse depth whose near surfaces keep the depth of their interior up to their outlines.

    Thin ornaments continue the surface that they stand on. A near surface without an interior, such as a pole from
    border to border, keeps its depth, and so does everything behind an outline.

    Args:
        inverse: (H, W) float32 inverse depth, positive everywhere.
        width: of the ramp along an outline, in pixels, at least 1.

    Returns:
        (H, W) float32; only rims differ.
    """
    outlines = find_outlines(inverse, width)
    continued, reached = _continued(inverse, outlines, _LONGEST * width)
    for _ in range(_SMOOTHINGS):
        continued = _nearer(inverse, _mean(continued, ~outlines.behind), reached)
    return continued


def find_outlines(inverse: Float32Array, width: int) -> Outlines:
    """The two sides of all outlines; the rim is `width` pixels wide."""
    near, far = _extremes(inverse, round(_SEARCH * width))
    two_surfaces = near > STEP * far
    # Far from an outline the window holds a ramp's foot alone: there background would pass for a near surface.
    own = (inverse >= far + _OWN_SHARE * (near - far)) & (inverse > np.sqrt(STEP) * far)
    behind = two_surfaces & ~own
    # A slope without a step, such as of a blurred thing, is not an outline: nothing says where it would tear.
    near, far = _extremes(inverse, max(round(width / 4), 1))
    line = behind & (cv2.dilate((two_surfaces & own).astype(np.uint8), np.ones(_NEIGHBOURS, np.uint8)) > 0)
    to_step = _distance(line & _mostly(near > _SHARP * far, line, 2 * width))
    beside = (to_step <= width) & (to_step <= _distance(behind) + _SLACK)
    return Outlines(two_surfaces & own & beside, behind)


def _mostly(mask: Mask, among: Mask, reach: int) -> Mask:
    """(H, W) bool: where at least half of the pixels in `among` up to `reach` pixels away are in `mask`."""
    size = (2 * reach + 1, 2 * reach + 1)
    held = cv2.boxFilter((mask & among).astype(np.float32), -1, size, normalize=False)
    count = cv2.boxFilter(among.astype(np.float32), -1, size, normalize=False)
    return np.asarray(held > _MOST * count)


def _extremes(inverse: Float32Array, reach: int) -> tuple[Float32Array, Float32Array]:
    """The largest and the smallest inverse depth up to `reach` pixels away."""
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(inverse, window), np.float32), np.asarray(cv2.erode(inverse, window), np.float32)


def _distance(mask: Mask) -> Float32Array:
    """(H, W) float32 distance to the nearest true pixel, in pixels; far away where there is none."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _continued(inverse: Float32Array, outlines: Outlines, longest: int) -> tuple[Float32Array, Mask]:
    """The interior carried into the rim pixel by pixel, never across an outline; and (H, W) bool where it came to."""
    known = ~outlines.rim & ~outlines.behind
    waiting = outlines.rim.copy()
    continued = inverse.copy()
    for _ in range(longest):
        touched = waiting & (cv2.dilate(known.astype(np.uint8), np.ones(_NEIGHBOURS, np.uint8)) > 0)
        if not touched.any():
            break
        continued = np.where(touched, _nearer(inverse, _mean(continued, known), touched), continued)
        known |= touched
        waiting &= ~touched
    return continued, outlines.rim & ~waiting


def _nearer(own: Float32Array, continued: Float32Array, where: Mask) -> Float32Array:
    """The nearer of the two inverse depths in `where`, else the own: a rim leans away, never towards the camera.

    A pillar before an opening keeps its depth, and its rim continues it.
    """
    return np.asarray(np.where(where, np.maximum(own, continued), own), np.float32)


def _mean(values: Float32Array, among: Mask) -> Float32Array:
    """(H, W) float32 mean over a pixel and its eight neighbours, of those in `among`; 0 without any."""
    total = cv2.boxFilter(np.where(among, values, np.float32(0)), -1, _NEIGHBOURS, normalize=False)
    count = cv2.boxFilter(among.astype(np.float32), -1, _NEIGHBOURS, normalize=False)
    return np.asarray(total / np.maximum(count, 1), np.float32)
