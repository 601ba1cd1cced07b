"""Turns a photograph into the working image of a scene pipeline, on a canvas with an optional border.

`Layout` tells later stages how the working image was cropped and where it lies on the canvas.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.framing import Canvas, PixelWindow, outpaint_canvas, prepare
from scenewright_stages.vision.imaging.colour import uint8_from_unit, unit_from_uint8
from scenewright_stages.vision.imaging.images import load_sample


@dataclass(frozen=True)
class Layout:
    """How the working image was cropped from the photograph, and where it lies on the canvas.

    Attributes:
        mode: the pipeline's mode.
        source_width, source_height: of the upright photograph in pixels.
        horizontal_degrees: field of view of the whole photograph from EXIF; None if unknown.
        crop: window of the photograph that the working image shows.
        canvas: size of the outpainted image and the exact position of the working image on it.
    """

    mode: str
    source_width: int
    source_height: int
    horizontal_degrees: float | None
    crop: PixelWindow
    canvas: Canvas

    def save(self, path: Path) -> None:
        """Writes the layout as JSON."""
        path.write_text(json.dumps(asdict(self) | {"scale": self.crop.scale}, indent=1, sort_keys=True))

    @classmethod
    def load(cls, path: Path) -> Layout:
        """The inverse of :meth:`save`."""
        data: dict[str, Any] = json.loads(path.read_text())
        data.pop("scale")
        return cls(**data | {"crop": PixelWindow(**data["crop"]), "canvas": Canvas(**data["canvas"])})

    def canvas_camera(self, photograph_degrees: float) -> Camera:
        """Camera of the canvas at the world's origin, from the field of view of the whole photograph."""
        source = Camera.from_field_of_view(self.source_width, self.source_height, photograph_degrees)
        return self.canvas.camera(self.crop.camera(source))


@dataclass(frozen=True, eq=False)
class PreparedPhotograph:
    """The working image, (H, W, 3) float32 sRGB in [0, 1], its layout, and notes on the conversions."""

    srgb: NDArray[np.float32]
    layout: Layout
    notes: tuple[str, ...]


def prepare_photograph(path: Path, max_resolution: int, border: float, mode: str) -> PreparedPhotograph:
    """Reads a photograph and resizes it.

    Args:
        path: of the photograph.
        max_resolution: longest side of the working image, pixels.
        border: total border of the canvas relative to the image's sides, half of it on each side; 0 for none.
        mode: of the pipeline, stored in the layout.

    Raises:
        SampleError: the photograph is unusable; the reason is the reader's, such as ``ImageTruncated``.
    """
    photograph = load_sample(path)
    prepared = prepare(photograph.srgb, max_resolution)
    height, width = prepared.srgb.shape[:2]
    layout = Layout(
        mode=mode,
        source_width=photograph.width,
        source_height=photograph.height,
        horizontal_degrees=photograph.horizontal_degrees,
        crop=prepared.window,
        canvas=outpaint_canvas(width, height, border),
    )
    return PreparedPhotograph(prepared.srgb, layout, photograph.notes)


def stored_precision(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounds to the values of an 8-bit file, so that all stages see the same pixels."""
    return unit_from_uint8(uint8_from_unit(srgb))


def write_png(path: Path, values: NDArray[np.float32]) -> None:
    """Writes (H, W, 3) sRGB or (H, W) values in [0, 1] as an 8-bit PNG."""
    pixels = uint8_from_unit(values)
    if not cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels):
        raise OSError(f"could not write {path.name}")


def read_png(path: Path) -> NDArray[np.float32]:
    """(H, W, 3) float32 sRGB in [0, 1] of a colour PNG that a stage wrote."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"could not read {path.name}")
    return unit_from_uint8(np.asarray(pixels[..., ::-1], np.uint8))
