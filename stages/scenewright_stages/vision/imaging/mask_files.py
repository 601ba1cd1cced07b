"""Reads mask files: the channel that holds the mask, and where it lies on its photograph.

The one reader for all who bring masks: data sets ask what the object is, captures which pixels count. What the values
mean is decided by :mod:`scenewright_stages.vision.imaging.masks`. A mask without an orientation of its own was drawn on
the upright photograph or on the photograph as it is stored; their shapes say which, or else the photograph's edges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.imaging.images.loading import (
    DEFAULT_LIMITS,
    as_stored,
    load_pixels,
    orientation_of,
    oriented,
)
from scenewright_stages.vision.imaging.images.opening import open_header
from scenewright_stages.vision.imaging.masks import MaskPlane, MaskReading
from scenewright_stages.vision.types import Mask, Uint8Array

_LOSSY = frozenset({"JPEG", "MPO", "HEIF", "AVIF"})
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_GREY_SPREAD = 8
_MOST_CLASSES = 32
"""Colours of a palette from which it is one of a picture, not of class numbers."""
_CLEARER = 1.5
"""How much sharper the photo is along one outline than along another before it decides between them."""
_BLACK = 24
"""Levels up to which a colour counts as black."""
_SHAPE_TOLERANCE = 0.01
"""A mask of a capture may have another size than its photograph, as long as the shape is the same."""


def upright_plane(path: Path, photo: Uint8Array, orientation: int, reading: MaskReading) -> MaskPlane:
    """The values of a mask file as they lie on the upright photograph.

    Args:
        path: of the mask.
        photo: (H, W, 3), upright.
        orientation: EXIF's, by which the photograph was turned.
        reading: how the mask shall be read.

    Raises:
        SampleError: it cannot be read (``MaskUnreadable``), has another size than the photograph
            (``MaskSizeDiffers``), or may lie on it in two ways (``MaskUnclear``).
    """
    plane, turn = _plane_of(path, path.name, reading)
    found = _upright(plane.values, turn, orientation)
    shape = photo.shape[:2]
    fitting = [np.ascontiguousarray(each) for each in found if each.shape == shape]
    if not fitting:
        has, wanted = found[0].shape[::-1], shape[::-1]
        raise SampleError("MaskSizeDiffers", f"{plane.name} has {has} pixels, the upright photo {wanted}")
    values = fitting[0]
    if len(fitting) == 2 and not np.array_equal(fitting[0], fitting[1]):
        best = _sharper(photo, fitting)
        if best is None:
            raise SampleError(
                "MaskUnclear",
                f"{plane.name} fits the photo both upright and as it is stored (EXIF orientation {orientation}); save "
                "the photo upright, or the mask with the photo's orientation",
            )
        values = fitting[best]
    return plane.of(values)


def stored_plane(
    path: Path, names: tuple[str, str], photo: Uint8Array, orientation: int, reading: MaskReading
) -> MaskPlane:
    """The values of a mask file, at its own size, as they lie on the photograph as it is stored.

    Programs that calibrate draw masks on the stored photograph. So does one that fits both ways, unless the photo's
    edges say that it was drawn upright.

    Args:
        path: of the mask.
        names: of mask and photograph, for messages.
        photo: (H, W, 3), as stored.
        orientation: EXIF's, by which a viewer turns it.
        reading: how the mask shall be read.

    Raises:
        SampleError: it cannot be read (``MaskUnreadable``), or has another shape (``MaskSizeDiffers``).
    """
    name, photograph = names
    plane, turn = _plane_of(path, name, reading)
    found = [as_stored(each, orientation) for each in _upright(plane.values, turn, orientation)]
    height, width = photo.shape[:2]
    # Drawn on the stored photograph comes first.
    fitting = [np.ascontiguousarray(each) for each in reversed(found) if _same_shape(each, photo)]
    if not fitting:
        across, down = plane.values.shape[::-1]
        raise SampleError(
            "MaskSizeDiffers", f"{name} has {across}x{down} pixels, its photograph {photograph} {width}x{height}"
        )
    values = fitting[0]
    if len(fitting) == 2 and not np.array_equal(fitting[0], fitting[1]):
        values = fitting[_sharper(photo, fitting) or 0]
    return plane.of(values)


def opacity_of(path: Path) -> Uint8Array | None:
    """(H, W) transparency of a picture as it is stored, 255 is opaque; None if it has none.

    Raises:
        OSError: it cannot be read (Pillow's own errors).
    """
    with open_header(path) as image:
        if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
            return None
        # Decoders turn a TIFF themselves, and forget by how much.
        turned = orientation_of(image) if image.format == "TIFF" else 1
        load_pixels(image)
        return np.ascontiguousarray(as_stored(np.asarray(image.convert("RGBA").getchannel("A")), turned))


def varies(alpha: NDArray[Any]) -> bool:
    """Whether an alpha channel says anything."""
    return bool(alpha.min() < 128 <= alpha.max())


def _plane_of(path: Path, name: str, reading: MaskReading) -> tuple[MaskPlane, int]:
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
            turn = load_pixels(image)
            lossy = image.format in _LOSSY or (image.format == "WEBP" and b"VP8 " in path.read_bytes()[:64])
            return MaskPlane(name, *_channel(image, name, reading, lossy)), turn
    except SampleError:
        raise
    except Exception as problem:  # Pillow raises many types on damaged files
        raise SampleError("MaskUnreadable", f"{name} cannot be read as an image: {problem}") from problem


def _channel(image: Image.Image, name: str, reading: MaskReading, lossy: bool) -> tuple[NDArray[Any], Any, bool]:
    """The channel that says what the object is, its kind, and whether its values are inexact."""
    if image.mode == "P" and (found := _indexed(image, reading)) is not None:
        return *found, lossy
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if reading.number is None and varies(alpha):
            return alpha, "alpha", False
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image), "grey", lossy
    if image.mode in ("LA", "La"):
        return np.asarray(image.convert("LA").getchannel("L")), "grey", lossy
    return _grey_of(np.asarray(image.convert("RGB")), name, reading, lossy), "grey", lossy


def _indexed(image: Image.Image, reading: MaskReading) -> tuple[NDArray[Any], Any] | None:
    """Values of a picture with a palette, and their kind; None if its colours are the mask."""
    indices = np.asarray(image)
    if reading.number is None and "transparency" in image.info and len(np.unique(indices)) > _MOST_CLASSES:
        # A picture of the object in few colours, cut out.
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if varies(alpha):
            return alpha, "alpha"
    by_colour = _is_grey_ramp(image, indices) or (reading.leaves_out and _palette(image)[0].max() > _BLACK)
    return None if by_colour and reading.number is None else (indices, "index")


def _palette(image: Image.Image) -> NDArray[np.int32]:
    """(N, 3) colours of a palette."""
    return np.array(image.getpalette("RGB"), np.int32).reshape(-1, 3)


def _is_grey_ramp(image: Image.Image, indices: NDArray[Any]) -> bool:
    """Whether a palette is one of greys from black to white, as a converted grey image has it."""
    palette = _palette(image)
    used = palette[np.unique(indices[indices < len(palette)])]
    return bool((np.ptp(used, axis=1) == 0).all() and used.min() <= 8 and used.max() >= 247)


def _grey_of(rgb: NDArray[np.uint8], name: str, reading: MaskReading, lossy: bool) -> NDArray[np.uint8]:
    """(H, W) of a mask in colours: their grey, or how much of the second of two colours a pixel has.

    The first of two colours is that of the border, or black where masks leave out what is black.

    Raises:
        SampleError: it has more than two colours, or none is black where one has to be.
    """
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    if float(np.quantile(spread, 0.999)) <= (5 * _GREY_SPREAD if lossy else _GREY_SPREAD):
        return np.ascontiguousarray(rgb[..., 1])
    coarse = rgb >> 5 if lossy else rgb
    packed = (coarse[..., 0].astype(np.int32) << 16) | (coarse[..., 1].astype(np.int32) << 8) | coarse[..., 2]
    colours, counts = np.unique(packed, return_counts=True)
    if len(colours) == 1:
        return np.ascontiguousarray(rgb.max(axis=2))
    border = np.concatenate([packed[0], packed[-1], packed[:, 0], packed[:, -1]])
    two = sorted(colours[np.argsort(-counts, kind="stable")[:2]], key=lambda each: -int((border == each).sum()))
    pair = [np.median(rgb[packed == each], axis=0).astype(np.float32) for each in two]
    if reading.leaves_out:
        pair.sort(key=lambda colour: float(colour.max()))
        if float(pair[0].max()) > _BLACK:
            raise SampleError("MaskUnclear", f"{name}: none of its colours is black; {reading.remedy}")
    rest, thing = pair
    line = thing - rest
    share = (rgb.astype(np.float32) - rest) @ line / max(float(line @ line), 1.0)
    far = np.linalg.norm(rgb.astype(np.float32) - rest - np.clip(share, 0, 1)[..., None] * line, axis=2)
    if float((far > (64 if lossy else 24)).mean()) > 0.005:
        remedy = "save class numbers and say maskClass, or give the object one colour"
        raise SampleError(
            "MaskUnclear",
            f"{name}: it holds {len(colours)} colours; {reading.remedy if reading.leaves_out else remedy}",
        )
    return np.asarray(np.clip(np.rint(share * 255), 0, 255), np.uint8)


def _upright(values: NDArray[Any], turn: int, orientation: int) -> list[NDArray[Any]]:
    """The mask as it may lie on the upright photograph: as the mask's own orientation says, or as the photograph's."""
    found = [oriented(values, turn)]
    if turn == 1 and orientation != 1:
        found.append(oriented(values, orientation))
    return found


def _same_shape(values: NDArray[Any], photo: Uint8Array) -> bool:
    (height, width), (tall, wide) = values.shape, photo.shape[:2]
    return bool(abs(width / height / (wide / tall) - 1) <= _SHAPE_TOLERANCE)


def _sharper(photo: Uint8Array, found: list[NDArray[Any]]) -> int | None:
    """Which of two masks has its outline on the photo's edges; None if the photo does not decide.

    Args:
        photo: (H, W, 3).
        found: of any sizes of its shape.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
    steps = np.hypot(*(cv2.Sobel(grey, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))))
    strengths = []
    for values in found:
        inside = _brighter(values).astype(np.uint8)
        if inside.shape != steps.shape:
            inside = np.asarray(cv2.resize(inside, steps.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        outline = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        strengths.append(float(steps[outline].mean()) if outline.any() else 0.0)
    best = int(np.argmax(strengths))
    return None if strengths[best] <= _CLEARER * strengths[1 - best] else best


def _brighter(values: NDArray[Any]) -> Mask:
    return np.asarray(values > (float(values.min()) + float(values.max())) / 2)
