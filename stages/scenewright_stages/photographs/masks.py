"""Reads the masks that people supply, for every pipeline over photographs, and makes mattes of them.

A mask is a file beside the photo, or the transparency of the photo itself. It is turned upright like the photo, read by
its alpha channel where that varies and else by its colours, and has to have the photo's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.photographs.pictures import Photograph
from scenewright_stages.vision.imaging.images.loading import DEFAULT_LIMITS, orientation_of, oriented
from scenewright_stages.vision.imaging.images.opening import open_header
from scenewright_stages.vision.imaging.masks import MaskCover, MaskPlane, MaskReading, cover_of
from scenewright_stages.vision.imaging.matting import refine_matte
from scenewright_stages.vision.imaging.regions import bounding_box, overlap
from scenewright_stages.vision.subjects.lines import lines_of, share_kept
from scenewright_stages.vision.types import Float32Array, Mask

LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF"})
_LEAST_AGREEMENT = 0.98
"""Overlap of a refined matte with its mask below which the photo's edges are not those of the object: glass, patterns
behind it, white on white, lines of a few pixels.
"""
_LEAST_CONTRAST, _NOISE = 0.5, 6 * (2 / 255) ** 2
"""Distance of the colours on both sides of an outline over their spread, from which the photo shows that outline."""
_LEAST_SEEN = 0.5
"""Share of a mask's outline that the photo has to show; below it the object is as clear as glass."""
_GREY_SPREAD = 8
_MOST_CLASSES = 32
"""Colours of a palette from which it is one of a picture, not of class numbers."""
_CLEARER = 1.5
"""How much sharper the photo is along one outline than along another before it decides between them."""


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
    plane, turn = _plane_of(path, reading)
    return cover_of(_upright(plane, turn, photo), reading)


def mask_of_transparency(photo: Photograph, reading: MaskReading) -> MaskCover | None:
    """The object as the photo's own transparency shows it; None for an opaque photo."""
    if photo.alpha is None or not _varies(photo.alpha):
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


def _plane_of(path: Path, reading: MaskReading) -> tuple[MaskPlane, int]:
    """The values of a mask file, and the orientation that its EXIF data names.

    Raises:
        SampleError: it cannot be read.
    """
    try:
        if path.stat().st_size > DEFAULT_LIMITS.max_bytes:
            raise OSError("the file is too large")
        with open_header(path) as image:
            if image.width * image.height > DEFAULT_LIMITS.max_pixels:
                raise OSError(f"it has {image.width}x{image.height} pixels")
            image.load()
            # Pillow turns the pixels of a TIFF itself.
            turn = 1 if image.format == "TIFF" else orientation_of(image)
            lossy = image.format in LOSSY or (image.format == "WEBP" and b"VP8 " in path.read_bytes()[:64])
            return MaskPlane(path.name, *_channel(image, path.name, reading, lossy)), turn
    except SampleError:
        raise
    except Exception as problem:  # Pillow raises many types on damaged files
        raise SampleError("MaskUnreadable", f"{path.name} cannot be read as an image: {problem}") from problem


def _channel(image: Image.Image, name: str, reading: MaskReading, lossy: bool) -> tuple[NDArray[Any], Any, bool]:
    """The channel that says what the object is, its kind, and whether its values are inexact."""
    if image.mode == "P":
        indices = np.asarray(image)
        if reading.number is None and "transparency" in image.info and len(np.unique(indices)) > _MOST_CLASSES:
            # A picture of the object in few colours, cut out.
            alpha = np.asarray(image.convert("RGBA").getchannel("A"))
            if _varies(alpha):
                return alpha, "alpha", False
        if reading.number is not None or not _is_grey_ramp(image, indices):
            return indices, "index", lossy
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if reading.number is None and _varies(alpha):
            return alpha, "alpha", False
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image), "grey", lossy
    if image.mode in ("LA", "La"):
        return np.asarray(image.convert("LA").getchannel("L")), "grey", lossy
    return _grey_of(np.asarray(image.convert("RGB")), name, lossy), "grey", lossy


def _varies(alpha: NDArray[Any]) -> bool:
    """Whether an alpha channel says anything."""
    return bool(alpha.min() < 128 <= alpha.max())


def _is_grey_ramp(image: Image.Image, indices: NDArray[Any]) -> bool:
    """Whether a palette is one of greys from black to white, as a converted grey image has it."""
    palette = np.array(image.getpalette("RGB"), np.int32).reshape(-1, 3)
    used = palette[np.unique(indices[indices < len(palette)])]
    return bool((np.ptp(used, axis=1) == 0).all() and used.min() <= 8 and used.max() >= 247)


def _grey_of(rgb: NDArray[np.uint8], name: str, lossy: bool) -> NDArray[np.uint8]:
    """(H, W) of a mask in colours: their grey, or how much of the second of two colours a pixel has.

    Raises:
        SampleError: it has more than two colours.
    """
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    if float(np.quantile(spread, 0.999)) <= (5 * _GREY_SPREAD if lossy else _GREY_SPREAD):
        return np.ascontiguousarray(rgb[..., 1])
    coarse = rgb >> 5 if lossy else rgb
    packed = (coarse[..., 0].astype(np.int32) << 16) | (coarse[..., 1].astype(np.int32) << 8) | coarse[..., 2]
    colours, counts = np.unique(packed, return_counts=True)
    if len(colours) == 1:
        return np.ascontiguousarray(rgb[..., 1])
    border = np.concatenate([packed[0], packed[-1], packed[:, 0], packed[:, -1]])
    two = sorted(colours[np.argsort(-counts, kind="stable")[:2]], key=lambda each: -int((border == each).sum()))
    rest, thing = (np.median(rgb[packed == each], axis=0).astype(np.float32) for each in two)
    line = thing - rest
    share = (rgb.astype(np.float32) - rest) @ line / max(float(line @ line), 1.0)
    far = np.linalg.norm(rgb.astype(np.float32) - rest - np.clip(share, 0, 1)[..., None] * line, axis=2)
    if float((far > (64 if lossy else 24)).mean()) > 0.005:
        raise SampleError(
            "MaskUnclear",
            f"{name}: it holds {len(colours)} colours; save class numbers and say maskClass, or give the object one "
            "colour",
        )
    return np.asarray(np.clip(np.rint(share * 255), 0, 255), np.uint8)


def _upright(plane: MaskPlane, turn: int, photo: Photograph) -> MaskPlane:
    """The mask as the upright photo shows it.

    A mask without an orientation of its own was drawn on the upright photo, or on the photo as it is stored. Their
    sizes say which, or else the photo's edges do.

    Raises:
        SampleError: the size fits neither, or the photo does not decide.
    """
    shape = photo.pixels.shape[:2]
    found = [oriented(plane.values, turn)]
    if turn == 1 and photo.orientation != 1:
        found.append(oriented(plane.values, photo.orientation))
    fitting = [np.ascontiguousarray(each) for each in found if each.shape == shape]
    if not fitting:
        has, wanted = found[0].shape[::-1], shape[::-1]
        raise SampleError("MaskSizeDiffers", f"{plane.name} has {has} pixels, the upright photo {wanted}")
    values = fitting[0]
    if len(fitting) == 2 and not np.array_equal(fitting[0], fitting[1]):
        values = fitting[_sharper(plane.name, photo, fitting)]
    return MaskPlane(plane.name, values, plane.kind, plane.lossy)


def _sharper(name: str, photo: Photograph, found: list[NDArray[Any]]) -> int:
    """Which of two masks has its outline on the photo's edges.

    Raises:
        SampleError: the photo does not decide (reason ``MaskUnclear``).
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(photo.pixels, cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
    steps = np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))))
    strengths = []
    for values in found:
        inside = (values > (float(values.min()) + float(values.max())) / 2).astype(np.uint8)
        outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        strengths.append(float(steps[outline].mean()) if outline.any() else 0.0)
    best = int(np.argmax(strengths))
    if strengths[best] <= _CLEARER * strengths[1 - best]:
        raise SampleError(
            "MaskUnclear",
            f"{name} fits the photo both upright and as it is stored (EXIF orientation {photo.orientation}); save the "
            "photo upright, or the mask with the photo's orientation",
        )
    return best
