"""The camera file beside an image: ``<stem>.camera.json``.

For ``motorcycle.png`` it is ``motorcycle.camera.json``::

    {
      "width": 741, "height": 500,
      "focalPixels": 994.978,
      "principalPoint": [311.193, 254.877],
      "pixelCentres": 0.0,
      "baselineMetres": 0.193001,
      "disparityOffsetPixels": 31.086
    }

All numbers hold for an image of width x height pixels and are scaled to images of other sizes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from scenewright_stages.vision.geometry.cameras import Camera, intrinsics_matrix
from scenewright_stages.vision.geometry.depth.maps import ProvidedDepthError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class CameraSidecar(BaseModel):
    """Intrinsics and, for disparity, the stereo geometry of an image."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, frozen=True)

    width: Annotated[int, Field(ge=1)] = Field(description="Width of the image that the numbers refer to, pixels.")
    height: Annotated[int, Field(ge=1)] = Field(description="Its height, pixels.")
    focal_pixels: Positive | tuple[Positive, Positive] | None = Field(
        default=None, description="Focal length, pixels; one number or [fx, fy]."
    )
    horizontal_degrees: Annotated[float, Field(gt=0, lt=180)] | None = Field(
        default=None, description="Horizontal field of view, degrees; instead of focalPixels."
    )
    principal_point: tuple[Finite, Finite] | None = Field(
        default=None, description="[cx, cy], pixels; the middle of the image if left out."
    )
    pixel_centres: float = Field(
        default=0.5,
        ge=0,
        le=0.5,
        description="Coordinate of the first pixel's centre in principalPoint: 0.5, or 0 (Middlebury, OpenCV).",
    )
    baseline_metres: Positive | None = Field(default=None, description="Distance of the stereo cameras, metres.")
    disparity_offset_pixels: Finite = Field(
        default=0.0, description="Difference of the principal points of right and left (Middlebury's doffs), pixels."
    )

    @model_validator(mode="after")
    def _one_focal_length(self) -> CameraSidecar:
        if (self.focal_pixels is None) == (self.horizontal_degrees is None):
            raise ValueError("give either focalPixels or horizontalDegrees")
        return self


@dataclass(frozen=True)
class StereoGeometry:
    """What turns disparity into depth: focal length (pixels), baseline (metres), offset (pixels)."""

    focal: float
    baseline: float
    offset: float


def sidecar_path(image: Path) -> Path:
    """``<stem>.camera.json`` beside an image or beside a map such as ``<stem>.disparity.npz``."""
    inner = Path(image.stem)
    stem = inner.stem if inner.suffix in (".depth", ".disparity") else image.stem
    return image.with_name(f"{stem}.camera.json")


def read_sidecar(path: Path) -> CameraSidecar:
    """The camera file.

    Raises:
        ProvidedDepthError: if it is not there, no JSON, or a field is missing, unknown or out of range.
    """
    try:
        return CameraSidecar.model_validate(json.loads(path.read_text()))
    except OSError as error:
        raise ProvidedDepthError(path.name, f"cannot be read: {error}", "Check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or path.name
        message = f"{first['msg']} (given: {first['input']!r})"
        raise ProvidedDepthError(field, message, f"Correct it in {path.name}") from error
    except ValueError as error:
        raise ProvidedDepthError(path.name, f"is not valid JSON: {error}", "Correct the file") from error


def sidecar_camera(sidecar: CameraSidecar, width: int, height: int) -> Camera:
    """The camera for an image of width x height pixels, at the origin.

    Raises:
        ProvidedDepthError: if the shape of the image differs by more than 1 %.
    """
    check_same_shape("width and height", (sidecar.width, sidecar.height), (width, height))
    camera = _own_camera(sidecar)
    return camera.scaled(width, height)


def stereo_geometry(sidecar: CameraSidecar, width: int) -> StereoGeometry:
    """For disparities in pixels of an image width pixels wide.

    Raises:
        ProvidedDepthError: if the baseline is not given.
    """
    if sidecar.baseline_metres is None:
        raise ProvidedDepthError(
            "baselineMetres", "is missing, and disparity has no depth without it", "Add it to the camera file"
        )
    factor = width / sidecar.width
    focal = _own_camera(sidecar).focal[0]
    return StereoGeometry(focal * factor, sidecar.baseline_metres, sidecar.disparity_offset_pixels * factor)


def check_same_shape(field: str, first: tuple[int, int], second: tuple[int, int]) -> None:
    """Raises ProvidedDepthError if the aspect ratios of two (width, height) differ by more than 1 %."""
    ratio = (first[0] / first[1]) / (second[0] / second[1])
    if abs(ratio - 1) > 0.01:
        raise ProvidedDepthError(
            field,
            f"{first[0]}x{first[1]} has another shape than the image's {second[0]}x{second[1]}",
            "Give the map and the camera file of this very image, uncropped",
        )


def _own_camera(sidecar: CameraSidecar) -> Camera:
    width, height = sidecar.width, sidecar.height
    if sidecar.horizontal_degrees is not None:
        focal = Camera.from_field_of_view(width, height, sidecar.horizontal_degrees).focal
    else:
        given = sidecar.focal_pixels
        focal = given if isinstance(given, tuple) else (float(given or 0), float(given or 0))
    shift = 0.5 - sidecar.pixel_centres
    cx, cy = sidecar.principal_point or (width / 2 - shift, height / 2 - shift)
    return Camera(intrinsics_matrix(*focal, cx + shift, cy + shift), width, height)
