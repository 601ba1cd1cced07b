"""The validity mask of one photograph: alpha channel, mask file, and pixels that undistortion invents.

`pictures` calls this while it loads a photograph. Colours of invalid pixels are replaced by those of the nearest valid
pixel, so whatever is masked cannot reach a result through a blur, a window or a resampling.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.imaging.mask_files import opacity_of, stored_plane
from scenewright_stages.vision.imaging.masks import WHAT_COUNTS, cover_of
from scenewright_stages.vision.places.captures.errors import CaptureError
from scenewright_stages.vision.places.captures.lens import Lens
from scenewright_stages.vision.types import Mask, Uint8Array

_HALF = 128
"""Level of a mask or of opacity from which a pixel counts."""
_RADII = 4096
"""Radii at which a lens is checked for folding back."""


def alpha_validity(path: Path) -> Mask | None:
    """(H, W) bool: pixels that are at least half opaque, as stored; None if all are.

    Raises:
        OSError: the file cannot be read.
    """
    alpha = opacity_of(path)
    if alpha is None:
        return None
    valid = alpha >= _HALF
    return None if valid.all() else valid


def mask_validity(
    names: tuple[str, str], path: Path, photograph: Uint8Array, orientation: int
) -> tuple[Mask, tuple[str, ...]]:
    """(H, W) bool: the pixels of a photograph, as stored, that a mask file does not leave out; and notes.

    Args:
        names: of mask and photograph, for messages.
        path: local file of the mask.
        photograph: (H, W, 3), as stored.
        orientation: EXIF's, by which a viewer turns the photograph.

    Raises:
        CaptureError: the mask cannot be read, has another shape than its photograph, or does not say what counts.
    """
    try:
        cover = cover_of(stored_plane(path, names, photograph, orientation, WHAT_COUNTS), WHAT_COUNTS)
    except SampleError as problem:
        raise CaptureError(problem.reason, problem.message) from problem
    valid = (cover.cover >= _HALF).astype(np.uint8)
    size = photograph.shape[1], photograph.shape[0]
    if valid.shape != photograph.shape[:2]:
        valid = np.asarray(cv2.resize(valid, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return valid > 0, cover.notes


def filled(srgb: Uint8Array, valid: Mask) -> Uint8Array:
    """The picture with the colour of the nearest valid pixel in each invalid one; black if there is no valid one."""
    if not valid.any():
        return np.zeros_like(srgb)
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    colours[labels[valid]] = srgb[valid]
    return np.where(valid[..., None], srgb, colours[labels])


def undistorted(srgb: Uint8Array, valid: Mask | None, lens: Lens) -> tuple[Uint8Array, Mask | None]:
    """The picture as a pinhole camera with the same intrinsics takes it, and which of its pixels the photograph shows.

    Args:
        srgb: (H, W, 3), already `filled` where it is not valid.
        valid: (H, W); None if all pixels are.
    """
    distortion = lens.distortion
    if not distortion.size:
        return srgb, valid
    # OpenCV puts pixel centres at whole numbers, this project at +0.5.
    matrix = lens.intrinsics
    matrix[:2, 2] -= 0.5
    size = (lens.width, lens.height)
    undistort = cv2.fisheye.initUndistortRectifyMap if lens.fisheye else cv2.initUndistortRectifyMap
    columns, rows = undistort(matrix, distortion, np.eye(3), matrix, size, cv2.CV_32FC1)
    remapped = cv2.remap(srgb, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    with np.errstate(invalid="ignore"):
        shown = (columns >= -0.5) & (columns <= lens.width - 0.5) & (rows >= -0.5) & (rows <= lens.height - 0.5)
    shown &= _unfolded(lens)
    if valid is not None:
        share = cv2.remap(valid.astype(np.float32), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        shown &= share > 0.999
    return np.asarray(remapped, np.uint8), None if shown.all() else np.asarray(shown, np.bool_)


def _unfolded(lens: Lens) -> Mask:
    """(H, W) bool: pixels whose ray the lens maps one to one.

    A distortion polynomial holds for the rays that the calibration saw. Beyond its first maximum it folds back, and
    rays from far outside land inside the photograph a second time.
    """
    columns, rows = np.meshgrid(np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5)
    (fx, fy), matrix = lens.focal, lens.intrinsics
    radius = np.hypot((columns - matrix[0, 2]) / fx, (rows - matrix[1, 2]) / fy)
    radii = np.linspace(0, float(radius.max()), _RADII)
    # Tangential terms, prism and tilt shift a picture and do not fold it.
    if lens.fisheye:
        angle = np.arctan(radii)
        powers = angle[:, None] ** (2 * np.arange(1, 5))
        seen = angle * (1 + powers @ lens.distortion)
    else:
        k = np.zeros(14)
        k[: lens.distortion.size] = lens.distortion
        above = 1 + k[0] * radii**2 + k[1] * radii**4 + k[4] * radii**6
        below = 1 + k[5] * radii**2 + k[6] * radii**4 + k[7] * radii**6
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = radii * above / below
            seen[np.minimum.accumulate(below) <= 0] = -1
    folding = np.flatnonzero(~(np.diff(seen) > 0))
    limit = radii[folding[0]] if len(folding) else np.inf
    return np.asarray(radius <= limit, np.bool_)
