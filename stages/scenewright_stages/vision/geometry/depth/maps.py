"""Reading the arrays of depth and disparity files, with their size checked before they are read."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.vision.types import Float32Array

MAP_SUFFIXES = (".npy", ".npz", ".pfm", ".png")
MAX_MAP_PIXELS = 80_000_000

_ARRAY_NAMES = ("depth", "disparity")
_PFM_HEADER = re.compile(rb"^(Pf)\s+(\d+)\s+(\d+)\s+(-?[\d.eE+-]+)\s")


class ProvidedDepthError(ValueError):
    """A depth map or its camera file cannot be used.

    Attributes:
        field: the file, or the field in the camera file, that is wrong.
        message: what is wrong, with the offending value.
        remedy: what the user can do.
    """

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(field, message, remedy)
        self.field = field
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.field}: {self.message}. {self.remedy}"


def read_map(path: Path) -> Float32Array:
    """(H, W) float32 values of a ``.npy``, ``.npz``, ``.pfm`` or 16-bit grey ``.png`` file, unscaled.

    In a PNG 0 means "no value" and becomes NaN. An ``.npz`` holds one array, or one named ``depth`` or
    ``disparity``.

    Raises:
        ProvidedDepthError: if the file is missing, of another kind, damaged, too large or not
            two-dimensional.
    """
    if not path.is_file():
        raise ProvidedDepthError(path.name, "does not exist", f"Put the map at {path}")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".pfm": _read_pfm, ".png": _read_png}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        allowed = ", ".join(MAP_SUFFIXES)
        raise ProvidedDepthError(path.name, f"has an unknown depth format ({path.suffix})", f"Use one of {allowed}")
    try:
        values = reader(path)
    except ProvidedDepthError:
        raise
    except Exception as error:  # numpy, zipfile, Pillow and OpenCV raise many types on damaged files
        raise ProvidedDepthError(path.name, f"cannot be read: {error}", "Export the map again") from error
    return values


def _read_npy(path: Path) -> Float32Array:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return _plane(array, path.name)


def _read_npz(path: Path) -> Float32Array:
    with zipfile.ZipFile(path) as archive:
        largest = max((entry.file_size for entry in archive.infolist()), default=0)
    if largest > 8 * MAX_MAP_PIXELS:
        raise _too_large(path.name, f"{largest} bytes uncompressed")
    with np.load(path, allow_pickle=False) as arrays:
        names = [name for name in _ARRAY_NAMES if name in arrays] or list(arrays)
        if len(names) != 1:
            raise ProvidedDepthError(
                path.name,
                f"holds {len(arrays.files)} arrays ({', '.join(arrays.files)})",
                "Name one 'depth' or 'disparity'",
            )
        return _plane(arrays[names[0]], path.name)


def _read_pfm(path: Path) -> Float32Array:
    """Portable float map: one channel, rows from bottom to top, byte order by the sign of the scale."""
    data = path.read_bytes() if path.stat().st_size <= 5 * MAX_MAP_PIXELS else b""
    header = _PFM_HEADER.match(data)
    if header is None:
        raise ProvidedDepthError(path.name, "is not a one-channel PFM file", "Export it as PFM type 'Pf'")
    width, height, scale = int(header[2]), int(header[3]), float(header[4])
    _check_pixels(path.name, width, height)
    order = "<" if scale < 0 else ">"
    values = np.frombuffer(data, f"{order}f4", count=width * height, offset=header.end())
    return np.ascontiguousarray(values.reshape(height, width)[::-1], np.float32)


def _read_png(path: Path) -> Float32Array:
    with Image.open(path, formats=("PNG",)) as image:
        _check_pixels(path.name, *image.size)
        image.load()
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 2 or values.dtype != np.uint16:
        kind = "unreadable" if values is None else f"{values.dtype} with shape {values.shape}"
        raise ProvidedDepthError(path.name, f"is {kind}", "Export the map as 16-bit grey PNG")
    return np.where(values == 0, np.nan, values).astype(np.float32)


def _plane(array: NDArray[np.generic], name: str) -> Float32Array:
    shape = array.shape[:2] if array.ndim == 3 and array.shape[2] == 1 else array.shape
    if len(shape) != 2 or min(shape) < 1:
        raise ProvidedDepthError(name, f"has shape {array.shape}", "Give one plane (height, width)")
    if array.dtype.kind not in "fiu":
        raise ProvidedDepthError(name, f"has type {array.dtype}", "Give floating point or integer values")
    _check_pixels(name, shape[1], shape[0])
    return np.array(array, np.float32).reshape(shape)


def _check_pixels(name: str, width: int, height: int) -> None:
    if width * height > MAX_MAP_PIXELS:
        raise _too_large(name, f"{width}x{height} pixels")


def _too_large(name: str, size: str) -> ProvidedDepthError:
    return ProvidedDepthError(name, f"has {size}, more than {MAX_MAP_PIXELS} pixels", "Scale it down")
