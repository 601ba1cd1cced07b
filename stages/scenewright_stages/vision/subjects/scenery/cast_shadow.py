"""Finds the shadow that an object casts in its own photo, so that it can be removed and restored.

Scenes on the photo's own background use it: an empty scene must not show the shadow, and a scene with the object keeps
the photo's light. A shadow is darker than the ground around it, has the same colour, and starts at the object.
"""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.vision.types import Float32Array, Mask

_WORK_SIDE = 320
_DARKER = 0.35
"""Of the logarithm of luminance: almost a third darker than the ground."""
_OTHER_COLOUR = 0.09
"""Largest difference of chromaticity that a light shadow makes."""
_REACH = 0.5
"""How far from the object a shadow is looked for, as a share of the object's longer side."""
_TEXTURE = 0.012
"""Of the longer side: smaller things are the ground's texture and no shadow."""
_FITS = 8
_LEAST_AREA = 0.012
"""Of the object's area: smaller dark places are knots and stains of the ground."""
_LEAST_LIGHT = 0.05


def cast_shadow(linear: Float32Array, thing: Mask) -> Mask:
    """(H, W) bool of the object's shadow beside the object.

    Args:
        linear: (H, W, 3) float32 linear colours of the photo.
        thing: (H, W) bool of the object.
    """
    factor = min(1.0, _WORK_SIDE / max(thing.shape))
    size = (max(8, round(thing.shape[1] * factor)), max(8, round(thing.shape[0] * factor)))
    small = np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), np.float32)
    inside = cv2.resize(thing.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.02
    found = _shadow_beside(small, inside)
    enlarged = cv2.resize(found.astype(np.float32), thing.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.3
    return np.asarray(enlarged & ~thing)


def _shadow_beside(linear: Float32Array, thing: Mask) -> Mask:
    ground = ~cv2.dilate(thing.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    smooth = _smoothed(linear, ground.astype(np.float32), _TEXTURE * max(thing.shape))
    luminance = np.log(np.maximum(smooth.mean(axis=2), 1e-4))
    colour = smooth / np.maximum(smooth.sum(axis=2, keepdims=True), 1e-4)
    rows, columns = np.nonzero(thing)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    distance = cv2.distanceTransform((~thing).astype(np.uint8), cv2.DIST_L2, 5)
    # Behind the upper part of an object is the background beyond the table, which receives no shadow.
    standing = np.arange(thing.shape[0])[:, None] >= np.quantile(rows, 0.35)
    near = ~thing & standing & (distance < _REACH * extent)
    around = near & ground & (distance > 0.1 * extent)
    if not around.any():
        return np.zeros_like(thing)
    usual = _usual_light(luminance, around)
    dark = luminance < usual - _DARKER
    lit = around & (luminance > usual - 0.5 * _DARKER)
    if not lit.any():
        return np.zeros_like(thing)
    hue = np.median(colour[lit], axis=0)
    # Indirect light tints deep shadows, so allow a larger colour difference there.
    depth = np.maximum(usual - luminance, 0)
    alike = np.abs(colour - hue).max(axis=2) < _OTHER_COLOUR * (1 + 3 * depth)
    # Include the object, so that a strip between it and the photo's border is not removed as a speck.
    opened = cv2.morphologyEx(
        ((near & dark & alike) | thing).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    found = opened * (1 - thing.astype(np.uint8))
    touching = cv2.dilate(thing.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    begun = np.unique(labels[touching])
    large = [number for number in range(1, count) if stats[number, cv2.CC_STAT_AREA] >= _LEAST_AREA * len(rows)]
    shadow = np.isin(labels, np.intersect1d(begun, large)).astype(np.uint8)
    # Include the soft edge.
    return np.asarray(cv2.dilate(shadow, np.ones((7, 7), np.uint8)) > 0)


def _usual_light(luminance: Float32Array, ground: Mask) -> Float32Array:
    """(h, w) log luminance of lit ground: a plane fitted robustly against darker pixels."""
    height, width = luminance.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y], axis=-1)
    weight = np.ones(int(ground.sum()))
    plane = np.full(luminance.shape, float(luminance[ground].max()))
    for _ in range(_FITS):
        root = np.sqrt(weight)
        solved = np.linalg.lstsq(terms[ground] * root[:, None], luminance[ground] * root, rcond=None)[0]
        plane = terms @ solved
        weight = 1 / (1 + ((luminance[ground] - plane[ground]) / _DARKER) ** 2)
    return np.asarray(plane, np.float32)


def light_left(photo: Float32Array, empty: Float32Array, shadow: Mask, thing: Mask) -> Float32Array:
    """(H, W) float32 in (0, 1]: the share of light that the shadow leaves, extended below the object.

    Args:
        photo: (H, W, 3) float32 linear colours with the object and its shadow.
        empty: the same without both.
        shadow: (H, W) bool of the shadow beside the object.
        thing: (H, W) bool of the object.
    """
    if not shadow.any():
        return np.ones(thing.shape, np.float32)
    width = _TEXTURE * max(thing.shape)
    visible = (~thing).astype(np.float32)
    before = _smoothed(photo, visible, width).mean(axis=2)
    after = _smoothed(empty, visible, width).mean(axis=2)
    share = np.clip(before / np.maximum(after, 1e-4), _LEAST_LIGHT, 1.0)
    share = np.where(shadow, share, 1.0).astype(np.float32)
    # A rotated view may uncover ground at the object's edge, which lies in the shadow.
    _, nearest = cv2.distanceTransformWithLabels(thing.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    beside = np.ones(int(nearest.max()) + 1, np.float32)
    beside[nearest[~thing]] = share[~thing]
    continued = cv2.GaussianBlur(beside[nearest], (0, 0), 2 * width)
    left = cv2.GaussianBlur(np.where(thing, continued, share), (0, 0), 0.5 * width)
    # Blurring full light may round to slightly more than 1.
    return np.minimum(left, 1.0).astype(np.float32)


def _smoothed(values: Float32Array, weight: Float32Array, width: float) -> Float32Array:
    """(H, W, C) weighted blur; falls back to the mean far from any weight."""
    blurred = cv2.GaussianBlur(values * weight[..., None], (0, 0), width).reshape(values.shape)
    cover = cv2.GaussianBlur(weight, (0, 0), width)[..., None]
    mean = (values * weight[..., None]).sum(axis=(0, 1)) / max(float(weight.sum()), 1.0)
    return np.asarray((blurred + 1e-4 * mean) / (cover + 1e-4), np.float32)
