"""Working sizes: multiples of 32 without distortion, and canvases for outpainting.

Images are never stretched: an image is scaled uniformly and centre-cropped to the nearest shape whose sides are
multiples of 32. The exact source window is kept, so that cameras and depth maps can be adjusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.vision.geometry.cameras import Camera, intrinsics_matrix
from scenewright_stages.vision.types import Float32Array

Box = tuple[float, float, float, float]

SIZE_MULTIPLE = 32


@dataclass(frozen=True)
class PixelWindow:
    """A window of a source image and the size it is resampled to.

    Attributes:
        left, top: corner in source pixels, possibly fractional.
        scale: target pixels per source pixel, equal in both directions.
        width, height: size in target pixels.
    """

    left: float
    top: float
    scale: float
    width: int
    height: int

    @property
    def box(self) -> Box:
        """(left, top, right, bottom) in source pixels."""
        return (
            self.left,
            self.top,
            self.left + self.width / self.scale,
            self.top + self.height / self.scale,
        )

    def camera(self, source: Camera) -> Camera:
        """The camera of the window, from the camera of the source image."""
        (fx, fy), (cx, cy) = source.focal, source.principal_point
        intrinsics = intrinsics_matrix(
            fx * self.scale,
            fy * self.scale,
            (cx - self.left) * self.scale,
            (cy - self.top) * self.scale,
        )
        return Camera(intrinsics, self.width, self.height, source.camera_from_world)

    def source_coordinates(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Source coordinates (columns (width,), rows (height,)) of the target's pixel centres."""
        columns = self.left + (np.arange(self.width, dtype=np.float64) + 0.5) / self.scale
        rows = self.top + (np.arange(self.height, dtype=np.float64) + 0.5) / self.scale
        return columns.astype(np.float64), rows.astype(np.float64)


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """srgb (H, W, 3) float32 in [0, 1], sides multiples of 32, and the window it shows."""

    srgb: Float32Array
    window: PixelWindow

    @property
    def scale(self) -> float:
        """Exact prepared pixels per source pixel."""
        return self.window.scale


@dataclass(frozen=True)
class Canvas:
    """An outpainting canvas: its size, and where the image lies on it (whole pixels)."""

    width: int
    height: int
    left: int
    top: int
    inner_width: int
    inner_height: int

    @property
    def inner(self) -> tuple[slice, slice]:
        """(rows, columns) of the image on the canvas."""
        return (
            slice(self.top, self.top + self.inner_height),
            slice(self.left, self.left + self.inner_width),
        )

    def hole(self) -> NDArray[np.bool_]:
        """(height, width) bool: true outside the image."""
        hole = np.ones((self.height, self.width), np.bool_)
        hole[self.inner] = False
        return hole

    def paste(self, srgb: Float32Array) -> Float32Array:
        """(height, width, 3) float32: the image in its place, zero elsewhere.

        Raises:
            ValueError: the image's size differs from the canvas's inner size.
        """
        expected = (self.inner_height, self.inner_width, 3)
        if srgb.shape != expected:
            raise ValueError(f"image has shape {srgb.shape}, the canvas was made for {expected}")
        canvas = np.zeros((self.height, self.width, 3), np.float32)
        canvas[self.inner] = srgb
        return canvas

    def camera(self, inner: Camera) -> Camera:
        """The camera of the canvas, from that of the image."""
        return inner.cropped(-self.left, -self.top, self.width, self.height)

    def inner_camera(self, outer: Camera) -> Camera:
        """The camera of the image, from that of the canvas."""
        return outer.cropped(self.left, self.top, self.inner_width, self.inner_height)


def prepare(srgb: Float32Array, max_resolution: int) -> PreparedImage:
    """An image at working size; see `prepared_window`.

    srgb is (H, W, 3) float32 in [0, 1]. Resamples sRGB values with Lanczos-3, antialiased when shrinking, and clips to
    [0, 1].

    Raises:
        ValueError: if max_resolution is below 32.
    """
    window = prepared_window(srgb.shape[1], srgb.shape[0], max_resolution)
    return PreparedImage(resample(srgb, window), window)


def prepared_window(width: int, height: int, max_resolution: int) -> PixelWindow:
    """The central window of a width x height image that becomes the working image.

    Both sides of the result are multiples of 32 and at most max_resolution. Images are never enlarged, except to the
    minimum side of 32. Of the candidate shapes, the one that crops least wins.
    """
    if max_resolution < SIZE_MULTIPLE:
        raise ValueError(f"max_resolution {max_resolution} must be at least {SIZE_MULTIPLE}")
    fit = min(1.0, max_resolution / max(width, height))
    sizes = product(_multiples(width * fit, max_resolution), _multiples(height * fit, max_resolution))
    candidates = [_window(width, height, *size) for size in sizes]
    shrinking = [window for window in candidates if window.scale <= 1]
    return max(
        shrinking or candidates, key=lambda window: (_kept_share(window, width, height), window.width * window.height)
    )


def outpaint_canvas(width: int, height: int, expansion_percent: float) -> Canvas:
    """The canvas that enlarges a width x height image by expansion_percent along each axis.

    expansion_percent is a fraction (0.3 adds 15 % on each side). Sides are rounded to the nearest multiple of 32 that
    is not smaller than the image, and grow by at least one multiple if the expansion is not zero. The image is centred
    after rounding.

    Raises:
        ValueError: if expansion_percent is negative or not finite.
    """
    if not (np.isfinite(expansion_percent) and expansion_percent >= 0):
        raise ValueError(f"expansion {expansion_percent} must be 0 or more")
    outer_width = _expanded(width, expansion_percent)
    outer_height = _expanded(height, expansion_percent)
    left, top = (outer_width - width) // 2, (outer_height - height) // 2
    return Canvas(outer_width, outer_height, left, top, width, height)


def resample(srgb: Float32Array, window: PixelWindow) -> Float32Array:
    """(height, width, 3) float32 content of the window, Lanczos-3, clipped to [0, 1]."""
    size, box = (window.width, window.height), _inside(window.box, srgb.shape[1], srgb.shape[0])
    channels = []
    for channel in np.moveaxis(srgb, -1, 0):
        plane = Image.fromarray(np.ascontiguousarray(channel))
        channels.append(np.asarray(plane.resize(size, Image.Resampling.LANCZOS, box=box)))
    resampled: Float32Array = np.clip(np.stack(channels, axis=-1), 0, 1, dtype=np.float32)
    return resampled


def _inside(box: Box, width: int, height: int) -> Box:
    """The box clamped to the image, which it may exceed by a rounding error."""
    left, top, right, bottom = box
    return left, top, min(right, width), min(bottom, height)


def _multiples(length: float, limit: int) -> set[int]:
    """The multiples of 32 below and above length, within 32 and limit."""
    below = int(length // SIZE_MULTIPLE) * SIZE_MULTIPLE
    largest = limit // SIZE_MULTIPLE * SIZE_MULTIPLE
    return {min(max(side, SIZE_MULTIPLE), largest) for side in (below, below + SIZE_MULTIPLE)}


def _window(width: int, height: int, target_width: int, target_height: int) -> PixelWindow:
    scale = max(target_width / width, target_height / height)
    left = (width - target_width / scale) / 2
    top = (height - target_height / scale) / 2
    return PixelWindow(max(left, 0.0), max(top, 0.0), scale, target_width, target_height)


def _kept_share(window: PixelWindow, width: int, height: int) -> float:
    """Fraction of the source area that the window keeps, rounded so that equal fractions compare equal."""
    return round(window.width * window.height / window.scale**2 / (width * height), 9)


def _expanded(length: int, expansion: float) -> int:
    wanted = length * (1 + expansion)
    nearest = int(np.floor(wanted / SIZE_MULTIPLE + 0.5)) * SIZE_MULTIPLE
    least = -(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE
    if expansion > 0 and least == length:
        least += SIZE_MULTIPLE
    return max(nearest, least)
