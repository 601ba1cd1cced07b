"""Which known pixels belong behind a hole: a moved camera uncovers background, never more of the foreground."""

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float32Array, Mask

BORDER = 3
"""Width (pixels) of the known border of a hole whose depths are looked at."""

LARGEST_REACH = 16
"""Largest distance (pixels) along a hole over which depths are compared."""

OBJECT_REACH = 48
"""Distance (pixels) from a hole up to which foreground is excluded; what is farther away is another thing."""

OUTLINE_REACH = 3
"""Distance (pixels) from an object's outline up to which the background holds a trace of it."""

DISCONTINUITY = 1.2
"""Ratio of the far to the near depth at a hole from which on they count as two surfaces."""


def background_side(depth: Float32Array, hole: Mask) -> Mask:
    """(H, W) bool: known pixels that may continue into the hole next to them.

    depth: (H, W) float32 along +z in metres; values that are not finite or not positive are unknown, and unknown
        pixels may always continue. hole: (H, W) bool.

    Around every part of a hole the known depths are compared. Where they span two surfaces, pixels nearer than the
    geometric mean of the far and the near one are foreground and excluded, up to `OBJECT_REACH` from that part; but an
    object that only the border of an earlier picture cut off continues. What of a hole reaches into the foreground
    sees no second surface there, and goes by the rest of the hole. At least one pixel at every hole with known depths
    remains.
    """
    known = ~hole & np.isfinite(depth) & (depth > 0)
    if not (known.any() and hole.any()):
        return np.asarray(~hole)
    threshold = _threshold(np.where(known, depth, 0.0).astype(np.float32), known, hole)
    distance, nearest_hole = _nearest(hole)
    foreground = known & (depth < threshold.ravel()[nearest_hole]) & (distance <= OBJECT_REACH)
    return np.asarray(~hole & ~(foreground & ~_cut_off(foreground, known & ~foreground, hole)))


def clear_of_silhouettes(depth: Float32Array, hole: Mask) -> Mask:
    """(H, W) bool: the background side without the pixels beside its foreground.

    Next to an outline the background holds a trace of the object: copied into a hole it becomes dark dots at the rim.
    The whole background side when nothing else would be left; arguments as in `background_side`.
    """
    background = background_side(depth, hole)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * OUTLINE_REACH + 1, 2 * OUTLINE_REACH + 1))
    beside = cv2.dilate((~hole & ~background).astype(np.uint8), window) > 0
    clear = background & ~beside
    return np.asarray(clear if clear.any() else background)


def _cut_off(foreground: Mask, background: Mask, hole: Mask) -> Mask:
    """(H, W) bool: pixels beside which `foreground` continues into the hole.

    Straight across a hole that a moved camera uncovers, from the foreground, lies the background that was beside the
    object. Across one that no picture has shown yet, only the border of the picture follows.
    """
    uncovered, unseen = np.zeros_like(hole), np.zeros_like(hole)
    for turns in range(4):
        meets_background, meets_border = _hole_borders(np.rot90(background, turns), np.rot90(hole, turns))
        uncovered |= np.rot90(meets_background, -turns)
        unseen |= np.rot90(meets_border, -turns)
    uncovered &= foreground
    unseen &= foreground & ~uncovered
    if not unseen.any():
        return unseen
    _, nearest = _nearest(uncovered | unseen)
    return np.asarray(unseen.ravel()[nearest])


def _hole_borders(background: Mask, hole: Mask) -> tuple[Mask, Mask]:
    """(H, W) bool each: known pixels with hole on their left and behind it background, or the end of the row."""
    last_known = np.maximum.accumulate(np.where(hole, -1, np.arange(hole.shape[1])), axis=1)
    beside = ~hole[:, 1:] & hole[:, :-1]
    last_known = last_known[:, :-1]
    meets = beside & (last_known >= 0) & np.take_along_axis(background, np.maximum(last_known, 0), axis=1)
    first_column = ((0, 0), (1, 0))
    return np.pad(meets, first_column), np.pad(beside & (last_known < 0), first_column)


def _threshold(depth: Float32Array, known: Mask, hole: Mask) -> Float32Array:
    """(H, W) float32 depth that separates foreground from background, 0 where there is only one surface."""
    bits = hole.astype(np.uint8)
    border = known & (cv2.dilate(bits, np.ones((2 * BORDER + 1, 2 * BORDER + 1), np.uint8)) > 0)
    thickness = 2.0 * float(cv2.distanceTransform(bits, cv2.DIST_L2, 5).max())
    reach = min(int(np.ceil(thickness)) + BORDER, LARGEST_REACH)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    far = cv2.dilate(np.where(border, depth, 0.0).astype(np.float32), window)
    inverse_near = cv2.dilate(np.where(border, 1.0 / np.maximum(depth, 1e-9), 0.0).astype(np.float32), window)
    separated = far * inverse_near > DISCONTINUITY
    between = np.where(separated, np.sqrt(far / np.maximum(inverse_near, 1e-9)), 0.0).astype(np.float32)
    return _continued(between, hole)


def _continued(threshold: Float32Array, hole: Mask) -> Float32Array:
    """The threshold (H, W), where a hole has none taken from the nearest place of the same hole, up to `LARGEST_REACH`.

    A hole that reaches into an object, between its roofs, sees nothing but the object there.
    """
    separated = hole & (threshold > 0)
    if not separated.any():
        return threshold
    distance, nearest = _nearest(separated)
    _, part = cv2.connectedComponents(hole.astype(np.uint8), connectivity=8)
    same = (part == part.ravel()[nearest]) & (distance <= LARGEST_REACH)
    return np.where(hole & ~separated & same, threshold.ravel()[nearest], threshold).astype(np.float32)


def _nearest(mask: Mask) -> tuple[Float32Array, NDArray[np.int64]]:
    """(H, W) distance (pixels) to the true pixel of `mask` nearest to each pixel, and its flat index."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros(int(labels.max()) + 1, np.int64)
    places[labels[mask]] = np.flatnonzero(mask)
    return np.asarray(distance, np.float32), np.asarray(places[labels])
