"""Loads images from untrusted sources.

Bad images are refused from the header where possible, before decoding, so a decompression bomb costs no memory.
Accepted images always have the same form, regardless of the file.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.imaging.images.decoding import Decoded, ImageError, bits_per_channel, decode
from scenewright_stages.vision.imaging.images.opening import FORMAT_NAMES, open_header
from scenewright_stages.vision.types import Float32Array

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8")
_BRANDS = (b"ftypheic", b"ftypheix", b"ftypheim", b"ftypheis", b"ftypmif1", b"ftypmsf1", b"ftypavif", b"ftypavis")
"""What HEIC and AVIF files have at byte 4."""
_ORIENTATION, _EXIF_IFD, _FOCAL_LENGTH_35MM = 0x0112, 0x8769, 0xA405
_INVERSE = {6: 8, 8: 6}
"""Orientations whose inverse is another one."""
_FILM_DIAGONAL_MM = 43.2666  # of the 36 x 24 mm frame that 35 mm equivalents refer to
_FOCAL_PER_DIAGONAL = (0.15, 12.0)  # fisheye to long telephoto; anything else is a broken tag


@dataclass(frozen=True)
class ImageLimits:
    """Limits: side lengths in pixels, total pixels, and file size in bytes."""

    min_side: int = 16
    max_pixels: int = 80_000_000
    max_bytes: int = 512 * 2**20


DEFAULT_LIMITS = ImageLimits()


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A loaded photograph.

    Attributes:
        srgb: (H, W, 3) float32 in [0, 1], upright; transparent parts composited on white (in sRGB, as viewers do).
        alpha: (H, W) float32 in [0, 1] if the file has transparency.
        focal_pixels: focal length in pixels, from EXIF's 35 mm equivalent; None if not given.
        source_format, source_mode: Pillow's names of the file format and the pixel format.
        bits: bits per channel in the file.
        notes: conversions that a user may want to know about.
        orientation: EXIF's, by which the pixels were turned upright; 1 if they lay so in the file.
    """

    srgb: Float32Array
    alpha: Float32Array | None
    focal_pixels: float | None
    source_format: str
    source_mode: str
    bits: int
    notes: tuple[str, ...]
    orientation: int = 1

    @property
    def width(self) -> int:
        return int(self.srgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.srgb.shape[0])

    @property
    def horizontal_degrees(self) -> float | None:
        """Horizontal field of view from EXIF, degrees."""
        if self.focal_pixels is None:
            return None
        return float(np.degrees(2 * np.arctan(self.width / 2 / self.focal_pixels)))


def load_srgb(
    source: bytes | str | os.PathLike[str], limits: ImageLimits = DEFAULT_LIMITS, name: str | None = None
) -> LoadedImage:
    """Reads an image from a file or from its bytes; name is used in errors.

    Raises:
        ImageError: the image is unusable; has a reason, a message and a remedy.
    """
    label = name or ("image" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else _read(Path(source), label, limits)
    _check_bytes(data, label, limits)
    with _opened(data, label) as image:
        _check_size(image.size, label, limits)
        return _loaded(image, data, label)


def load_sample(path: Path) -> LoadedImage:
    """`load_srgb` for stages: an unusable file fails its sample, not the shard.

    Raises:
        SampleError: with the reader's reason, such as ``ImageTruncated``.
    """
    try:
        return load_srgb(path, name=path.name)
    except ImageError as error:
        raise SampleError(error.sample_reason, str(error)) from error


def _read(path: Path, label: str, limits: ImageLimits) -> bytes:
    if not path.exists():
        raise ImageError("missing", f"{label} does not exist", "Check the path")
    if not path.is_file():
        raise ImageError("unreadable", f"{label} is not a regular file", "Give the path of an image file")
    if path.stat().st_size > limits.max_bytes:
        raise _too_many_bytes(label, path.stat().st_size, limits)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError("unreadable", f"{label} cannot be read: {error}", "Check its permissions") from error


def _check_bytes(data: bytes, label: str, limits: ImageLimits) -> None:
    if not data:
        raise ImageError("empty", f"{label} is empty (0 bytes)", "Copy or download it again")
    if len(data) > limits.max_bytes:
        raise _too_many_bytes(label, len(data), limits)


def _too_many_bytes(label: str, size: int, limits: ImageLimits) -> ImageError:
    message = f"{label} has {size} bytes, more than the limit of {limits.max_bytes}"
    return ImageError("too-large", message, "Scale it down or compress it")


def _opened(data: bytes, label: str) -> Image.Image:
    """Opens the image and reads only its header."""
    try:
        return open_header(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        count = pixels.group() if pixels else "too many"
        raise ImageError("too-large", f"{label} has {count} pixels", "Scale it down before using it") from error
    except UnidentifiedImageError as error:
        if data.startswith(_SIGNATURES) or data[4:].startswith(_BRANDS):
            raise _corrupt(label, "its header cannot be read") from error
        raise ImageError(
            "not-an-image", f"{label} is not a {FORMAT_NAMES} file", f"Convert it to {FORMAT_NAMES}"
        ) from error
    except Exception as error:  # Pillow's plugins raise many types on hostile bytes
        raise _corrupt(label, str(error)) from error


def _check_size(size: tuple[int, int], label: str, limits: ImageLimits) -> None:
    width, height = size
    if min(size) < limits.min_side:
        message = f"{label} has {width}x{height} pixels; each side needs at least {limits.min_side}"
        raise ImageError("too-small", message, "Use a larger image")
    if width * height > limits.max_pixels:
        message = f"{label} has {width}x{height} pixels, more than the limit of {limits.max_pixels}"
        raise ImageError("too-large", message, "Scale it down before using it")


def _loaded(image: Image.Image, data: bytes, label: str) -> LoadedImage:
    source_mode, source_format, bits = image.mode, str(image.format), bits_per_channel(image, data)
    several = bool(getattr(image, "is_animated", False))
    orientation, focal_35mm = _exif(image)
    decoded = _decoded(image, data, label)
    turn = 1 if source_format == "TIFF" else orientation  # its decoders turn the pixels
    srgb = oriented(decoded.srgb, turn)
    alpha = None if decoded.alpha is None else oriented(decoded.alpha, turn)
    focal, focal_notes = _focal_pixels(focal_35mm, srgb.shape[1], srgb.shape[0])
    notes = [*decoded.notes, *focal_notes]
    if several:
        notes.append("the file holds several frames: the first is used")
    if orientation != 1:
        notes.append(f"turned upright by EXIF orientation {orientation}")
    if alpha is not None:
        srgb = srgb * alpha[..., None] + (1 - alpha[..., None])
        notes.append("transparency composited on white")
    srgb = np.ascontiguousarray(srgb, np.float32)
    return LoadedImage(srgb, alpha, focal, source_format, source_mode, bits, tuple(notes), orientation)


def _decoded(image: Image.Image, data: bytes, label: str) -> Decoded:
    """Decodes the image; Pillow always decodes the whole file, which detects truncation that OpenCV ignores."""
    try:
        _check_png_checksums(image, data)
        load_pixels(image)
        return decode(image, data)
    except ImageError as error:
        raise ImageError(error.reason, f"{label}: {error.message}", error.remedy) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise many types on hostile bytes
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            message = f"{label} is truncated: {error}"
            raise ImageError("truncated", message, "Copy or download it again") from error
        raise _corrupt(label, str(error)) from error


def _check_png_checksums(image: Image.Image, data: bytes) -> None:
    """Verifies the checksums of pixel data, which Pillow skips when decoding."""
    if image.format == "PNG":
        with Image.open(io.BytesIO(data), formats=("PNG",)) as copy:
            copy.verify()


def _corrupt(label: str, detail: str) -> ImageError:
    return ImageError("corrupt", f"{label} is corrupt: {detail}", "Copy, download or export it again")


def _exif(image: Image.Image) -> tuple[int, float | None]:
    """(orientation 1..8, 35 mm equivalent focal length in mm or None); broken EXIF counts as absent."""
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        focal = exif.get_ifd(_EXIF_IFD).get(_FOCAL_LENGTH_35MM)
        valid = orientation if orientation in range(1, 9) else 1
        return int(valid), float(focal) if focal else None
    except Exception:
        return 1, None


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 if there is none."""
    return _exif(image)[0]


def oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels turned upright; the eight cases of EXIF 2.32, tag 0x0112."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def as_stored(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The inverse of :func:`oriented`: upright pixels as the file stores them."""
    return oriented(pixels, _INVERSE.get(orientation, orientation))


def load_pixels(image: Image.Image) -> int:
    """Decodes a picture; the orientation by which its pixels still have to be turned.

    Pillow turns a TIFF itself, unless it maps the file into memory.
    """
    image.filename = ""  # type: ignore[attr-defined]
    image.load()
    return 1 if image.format == "TIFF" else orientation_of(image)


def _focal_pixels(focal_35mm: float | None, width: int, height: int) -> tuple[float | None, tuple[str, ...]]:
    if focal_35mm is None or not np.isfinite(focal_35mm):
        return None, ()
    ratio = focal_35mm / _FILM_DIAGONAL_MM
    if not _FOCAL_PER_DIAGONAL[0] < ratio < _FOCAL_PER_DIAGONAL[1]:
        return None, (f"implausible EXIF focal length {focal_35mm:g} mm ignored",)
    return float(ratio * np.hypot(width, height)), ()
