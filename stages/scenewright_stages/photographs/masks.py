"""Makes mattes of the masks that people supply, for every pipeline over photographs.

A mask is a file beside the photo, or the transparency of the photo itself. Files are read by
:mod:`scenewright_stages.vision.imaging.mask_files`, as those of captures are, and have to have the photo's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scenewright_stages.photographs.pictures import Photograph
from scenewright_stages.vision.imaging.mask_files import upright_plane, varies
from scenewright_stages.vision.imaging.masks import MaskCover, MaskPlane, MaskReading, cover_of
from scenewright_stages.vision.imaging.matting import refine_matte
from scenewright_stages.vision.imaging.regions import bounding_box, overlap
from scenewright_stages.vision.subjects.lines import lines_of, share_kept
from scenewright_stages.vision.types import Float32Array, Mask

_LEAST_AGREEMENT = 0.98
"""Overlap of a refined matte with its mask below which the photo's edges are not those of the object: glass, patterns
behind it, white on white, lines of a few pixels.
"""
_LEAST_CONTRAST, _NOISE = 0.5, 6 * (2 / 255) ** 2
"""Distance of the colours on both sides of an outline over their spread, from which the photo shows that outline."""
_LEAST_SEEN = 0.5
"""Share of a mask's outline that the photo has to show; below it the object is as clear as glass."""


@dataclass(frozen=True, eq=False)
class Matte:
    """A soft matte: (H, W) float32 alpha, and notes for the user."""

    alpha: Float32Array
    notes: tuple[str, ...] = ()


def read_mask(path: Path, photo: Photograph, reading: MaskReading) -> MaskCover:
    """The object as a supplied mask shows it, upright and as large as the photo.

    Raises:
        SampleError: the mask cannot be read (``MaskUnreadable``), has another size (``MaskSizeDiffers``), or does not
            say what the object is; see :func:`scenewright_stages.vision.imaging.masks.cover_of`.
    """
    return cover_of(upright_plane(path, photo.pixels, photo.orientation, reading), reading)


def mask_of_transparency(photo: Photograph, reading: MaskReading) -> MaskCover | None:
    """The object as the photo's own transparency shows it; None for an opaque photo."""
    if photo.alpha is None or not varies(photo.alpha):
        return None
    return cover_of(MaskPlane("the photo's transparency", photo.alpha, "alpha"), reading)


def matte_of_mask(srgb: Float32Array, mask: MaskCover, share: float) -> Matte:
    """The matte of a supplied mask.

    A soft mask is a matte already. A binary one gets an edge that follows the photo, unless that would change what it
    marks: then it stays as it is, and a note says so.

    Args:
        srgb: (H, W, 3) float32, the photo.
        mask: of its size.
        share: width of the edge, as a share of the object's longer side; 0 keeps every mask as it is.
    """
    given = mask.cover.astype(np.float32) / np.float32(255)
    inside = mask.cover >= 128
    if mask.soft or share <= 0 or not inside.any() or inside.all():
        return Matte(given)
    shows = _outline_shows(srgb, inside, share)
    outline = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    if (seen := float(shows[outline].mean())) < _LEAST_SEEN:
        note = f"the photo shows {seen:.0%} of the mask's outline only: it is used as it is"
        return Matte(given, (note,))
    alpha = np.where(shows, matte_around(srgb, inside, share), given)
    agreement = min(overlap(alpha >= 0.5, inside), share_kept(lines_of(inside), alpha >= 0.5, 2.0))
    if agreement >= _LEAST_AGREEMENT:
        return Matte(alpha)
    note = f"the photo has other edges than the mask (overlap {agreement:.1%}): the mask's own outline is used"
    return Matte(given, (note,))


def matte_around(srgb: Float32Array, inside: Mask, share: float, least: int = 1) -> Float32Array:
    """(H, W) float32 matte of a binary cut, refined in the window around it only.

    Args:
        srgb: (H, W, 3) float32.
        inside: (H, W) bool, not empty.
        share: width of the soft edge, as a share of the object's longer side.
        least: smallest width, pixels: how far the outline may be off.
    """
    left, top, right, bottom = bounding_box(inside)
    radius = max(round(share * max(right - left, bottom - top)), least)
    # Windows of the refinement reach three radii beyond the outline, on a grid of up to a radius.
    room = 8 * radius + 8
    window = np.s_[max(0, top - room) : bottom + room, max(0, left - room) : right + room]
    alpha = np.zeros(inside.shape, np.float32)
    alpha[window] = refine_matte(np.ascontiguousarray(srgb[window]), np.ascontiguousarray(inside[window]), radius)
    return alpha


def _outline_shows(srgb: Float32Array, inside: Mask, share: float) -> Mask:
    """(H, W) bool: where the photo tells the object from what lies beside it, so that its edges can be followed.

    Glass, chrome and patterns do not: the colours on one side of the outline differ as much among themselves as from
    those on the other side (Fisher's criterion, in windows along the outline).
    """
    left, top, right, bottom = bounding_box(inside)
    radius = max(round(share * max(right - left, bottom - top)), 1)
    reach = 6 * radius + 4
    window = np.s_[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach]
    factor = max(1, round(radius / 2))
    height, width = inside[window].shape
    size = (max(1, width // factor), max(1, height // factor))
    colours = cv2.resize(srgb[window], size, interpolation=cv2.INTER_AREA)
    near = cv2.resize(inside[window].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    kernel = 2 * max(2, round(reach / factor)) + 1
    means, spreads = [], []
    for side in (near, 1 - near):
        weight = np.maximum(cv2.blur(side, (kernel, kernel)), 1e-4)[..., None]
        mean = cv2.blur(colours * side[..., None], (kernel, kernel)) / weight
        square = cv2.blur(colours * colours * side[..., None], (kernel, kernel)) / weight
        means.append(mean)
        spreads.append(np.maximum(square - mean * mean, 0).sum(axis=2))
    contrast = ((means[0] - means[1]) ** 2).sum(axis=2) / (spreads[0] + spreads[1] + _NOISE)
    shows = np.zeros(inside.shape, bool)
    shows[window] = cv2.resize(contrast, (width, height), interpolation=cv2.INTER_LINEAR) >= _LEAST_CONTRAST
    return shows
