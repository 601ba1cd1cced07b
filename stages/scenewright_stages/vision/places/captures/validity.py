"""The validity mask of one photograph: alpha channel, mask file, and pixels that undistortion invents.

`pictures` calls this while it loads a photograph. Colours of invalid pixels are replaced by those of the nearest valid
pixel, so whatever is masked cannot reach a result through a blur, a window or a resampling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.places.captures.errors import CaptureError
from scenewright_stages.vision.places.captures.lens import Lens
from scenewright_stages.vision.places.captures.masks import MaskFile
from scenewright_stages.vision.types import Mask, Uint8Array

WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")
"""Endings of pictures whose alpha channel OpenCV reads."""
_SHAPE_TOLERANCE = 0.01
"""A mask may have another size than its photograph, as long as the shape is the same."""
_RADII = 4096
"""Radii at which a lens is checked for folding back."""


def alpha_validity(path: Path) -> Mask | None:
    """(H, W) bool: pixels that are at least half opaque; None if all are, or the file has no alpha channel."""
    if path.suffix.lower() not in WITH_ALPHA:
        return None
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    valid = pixels[..., 3] >= _brightest(pixels) / 2
    return None if valid.all() else np.asarray(valid, np.bool_)


def mask_validity(mask: MaskFile, path: Path, size: tuple[int, int], photograph: str) -> Mask:
    """(H, W) bool: the pixels that a mask file does not ignore.

    A file of labels (0 and 1, say) ignores 0; one that uses the full range ignores what is below half.

    Args:
        path: the local file.
        size: width and height of the photograph.
        photograph: its name, for messages.

    Raises:
        CaptureError: the mask cannot be read, or has another shape than its photograph.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise CaptureError("Mask", f"{mask.path}, the mask of {photograph}, cannot be read as a picture")
    levels = _levels(pixels)
    height, width = levels.shape
    if abs(width / height / (size[0] / size[1]) - 1) > _SHAPE_TOLERANCE:
        raise CaptureError(
            "Mask", f"{mask.path} has {width}x{height} pixels, its photograph {photograph} {size[0]}x{size[1]}"
        )
    brightest = _brightest(pixels)
    full = float(levels.max(initial=0)) > brightest / 2
    light = levels > brightest / 2 if full else levels > 0
    valid = light if mask.ignored == "black" else ~light
    if (width, height) != size:
        valid = cv2.resize(valid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return np.asarray(valid, np.bool_)


def _brightest(pixels: NDArray[Any]) -> float:
    """The largest level that pixels of this type can have."""
    return float(np.iinfo(pixels.dtype.name).max) if pixels.dtype.kind == "u" else 1.0


def _levels(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """(H, W) brightness of a mask. Where its colours say nothing, its alpha channel is the mask."""
    if pixels.ndim == 2:
        return pixels.astype(np.float64)
    if pixels.shape[2] in (2, 4):
        colour, alpha = pixels[..., :-1].astype(np.float64).max(axis=-1), pixels[..., -1].astype(np.float64)
        return alpha if colour.min() == colour.max() else np.minimum(colour, alpha)
    return np.asarray(pixels.astype(np.float64).max(axis=-1))


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
