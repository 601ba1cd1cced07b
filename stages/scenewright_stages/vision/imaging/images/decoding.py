"""Decodes an opened Pillow image to float sRGB and alpha, in the file's orientation; defines the error for bad images.

Each source mode has one documented path. OpenCV decodes images with 16 bits per channel, because Pillow reduces 16-bit
colour to its high byte.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from scenewright_stages.vision.types import Float32Array

ImageProblem = Literal[
    "missing",
    "unreadable",
    "empty",
    "not-an-image",
    "corrupt",
    "truncated",
    "too-small",
    "too-large",
    "unsupported",
]


_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO = 0
_PNG_BIT_DEPTH_OFFSET = 24
_GREY_PROFILE, _CMYK_PROFILE = "GRAY", "CMYK"
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_COLOUR_MODES = {"1", "L", "P", "RGB", "RGBX", "YCbCr", "LAB", "HSV"} | _ALPHA_MODES


class ImageError(ValueError):
    """An image is unusable; the text names the image, the problem and the remedy.

    Attributes:
        reason: stable, machine-readable kind of problem.
        message: what is wrong, with the offending value.
        remedy: what the user can do.
    """

    def __init__(self, reason: ImageProblem, message: str, remedy: str) -> None:
        super().__init__(reason, message, remedy)
        self.reason: ImageProblem = reason
        self.message = message
        self.remedy = remedy

    @property
    def sample_reason(self) -> str:
        """The reason in a record's form, such as ``ImageTruncated``."""
        return "Image" + "".join(part.capitalize() for part in self.reason.split("-"))

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}"


@dataclass(frozen=True, eq=False)
class Decoded:
    """srgb (H, W, 3) and alpha (H, W) or None, float32 in [0, 1]; notes on conversions."""

    srgb: Float32Array
    alpha: Float32Array | None
    notes: tuple[str, ...] = ()


def decode(image: Image.Image, data: bytes) -> Decoded:
    """Pixels of the (loaded) first frame of image; data is the whole file.

    Raises:
        ImageError: "unsupported" for 32-bit integer and floating point images, whose white is unknown.
        OSError: if OpenCV cannot decode a 16-bit file.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        return _from_cmyk(image, profile)
    deep = bits_per_channel(image, data) == 16 or image.mode.startswith("I;16")
    if deep and not (profile and not _is_srgb(profile)):
        return _from_16_bit(image, data)
    if deep and image.mode.startswith("I;16"):
        decoded = _from_16_bit(image, data)
        return Decoded(decoded.srgb, decoded.alpha, (*decoded.notes, "ICC profile of 16-bit grey ignored"))
    if image.mode not in _COLOUR_MODES:
        raise ImageError(
            "unsupported",
            f"pixel format {image.mode!r} has no defined white level",
            "Convert the image to 8 or 16 bits a channel",
        )
    return _from_8_bit(image, profile, ("16 bits reduced to 8 to apply the ICC profile",) if deep else ())


def bits_per_channel(image: Image.Image, data: bytes) -> int:
    """Bits per channel in the file, from its header; 8 if the format cannot hold more."""
    if image.format == "PNG":
        return data[_PNG_BIT_DEPTH_OFFSET]
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return int(max(bits) if isinstance(bits, tuple) else bits)
    return 8


def _from_8_bit(image: Image.Image, profile: bytes | None, notes: tuple[str, ...]) -> Decoded:
    alpha = None
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = _unit(np.asarray(image.getchannel("A")), 255)
    if profile and not _is_srgb(profile):
        image, note = _to_srgb(image, profile)
        notes = (*notes, note)
    return Decoded(_unit(np.asarray(image.convert("RGB")), 255), alpha, notes)


def _from_cmyk(image: Image.Image, profile: bytes | None) -> Decoded:
    """Converts by the embedded press profile, or by (1 - ink) * (1 - black) without one."""
    if profile:
        converted, note = _to_srgb(image, profile)
    else:
        converted, note = image, "CMYK without ICC profile: converted by (1 - ink) * (1 - black)"
    return Decoded(_unit(np.asarray(converted.convert("RGB")), 255), None, (note,))


def _from_16_bit(image: Image.Image, data: bytes) -> Decoded:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16:
        raise OSError("16-bit pixels cannot be decoded")
    values = _unit(pixels, 65535)
    if values.ndim == 2:
        return Decoded(_grey(_inverted_if_white_is_zero(image, values)), None)
    alpha = np.ascontiguousarray(values[..., -1]) if values.shape[2] in (2, 4) else None
    colour = values[..., 2::-1] if values.shape[2] >= 3 else np.repeat(values[..., :1], 3, axis=2)
    return Decoded(np.ascontiguousarray(colour), alpha)


def _inverted_if_white_is_zero(image: Image.Image, grey: Float32Array) -> Float32Array:
    tags = getattr(image, "tag_v2", {})
    return 1 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey


def _to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """The image in sRGB, and a note; ignores an unusable profile and notes that."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _profile_mode(source.profile.xcolor_space.strip(), image)
        converted = ImageCms.profileToProfile(
            image.convert(mode), source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        return image, f"ICC profile ignored: {error}"
    assert converted is not None
    return converted, f"converted to sRGB from ICC profile {_profile_name(source)!r}"


def _profile_mode(colour_space: str, image: Image.Image) -> str:
    if colour_space == _GREY_PROFILE:
        return "L"
    if colour_space == _CMYK_PROFILE and image.mode != "CMYK":
        raise ValueError("a CMYK profile on an image without CMYK")
    return "CMYK" if image.mode == "CMYK" else "RGB"


def _is_srgb(profile: bytes) -> bool:
    try:
        return "srgb" in _profile_name(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()
    except (ImageCms.PyCMSError, OSError):
        return False


def _profile_name(profile: ImageCms.ImageCmsProfile) -> str:
    return (profile.profile.profile_description or "unnamed").strip()


def _unit(values: NDArray[np.generic], white: int) -> Float32Array:
    unit: Float32Array = values.astype(np.float32) / np.float32(white)
    return unit


def _grey(values: Float32Array) -> Float32Array:
    return np.repeat(values[..., None], 3, axis=2)
