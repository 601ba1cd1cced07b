"""Interface of depth backends, and the contract of an estimate.

Images are float32 sRGB in [0, 1], shape (H, W, 3). Depth is z-depth along the camera's forward axis (OpenCV: x right,
y down, z forward); pixel centres lie at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.vision.types import Float32Array, Mask

if TYPE_CHECKING:
    from scenewright_stages.vision.geometry.framing import PixelWindow


@dataclass(frozen=True)
class DepthEstimate:
    """Depth of one image.

    Attributes:
        depth: (H, W) float32; metres if ``is_metric``, else in an unknown unit; NaN or infinity = invalid.
        confidence: (H, W) float32 in [0, 1]; 0 wherever the depth is invalid.
        intrinsics: (3, 3) float64 in pixels of this image, or None if unknown.
        is_metric: whether the unit really is the metre.
        notes: assumptions and extrapolations in this estimate.
    """

    depth: Float32Array
    confidence: Float32Array
    intrinsics: NDArray[np.float64] | None
    is_metric: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def valid(self) -> Mask:
        """(H, W) bool: where the depth is finite and positive."""
        return np.isfinite(self.depth) & (self.depth > 0)


@dataclass(frozen=True)
class ProvidedDepthSource:
    """A depth map supplied with the photograph, and how the image was cropped from that photograph.

    Attributes:
        path: the depth or disparity file.
        source_size: (width, height) of the upright photograph in pixels; None: the image is the photograph.
        window: the part of the photograph that the image shows; None: all of it, at its own size.
        kind: depth or disparity; None: derived from the file name.
        scale: metres (depth) or pixels (disparity) per unit of the file.
        camera_file: intrinsics and stereo geometry; None: ``<stem>.camera.json`` beside the map, if present.
    """

    path: Path
    source_size: tuple[int, int] | None = None
    window: PixelWindow | None = None
    kind: Literal["depth", "disparity"] | None = None
    scale: float = 1.0
    camera_file: Path | None = None


@runtime_checkable
class DepthEstimator(Backend, Protocol):
    """Estimates the depth of an image."""

    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """Estimates z-depth at the image's own resolution.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            field_of_view_degrees: horizontal field of view if known; None lets the backend estimate or assume it.
            provided: the map beside the image; only the backend ``provided`` reads it.

        Raises:
            BackendContractError: the estimate violates :class:`DepthEstimate`.
        """


DEPTH = Capability("depth", DepthEstimator)


def check_depth_estimate(estimate: DepthEstimate, height: int, width: int) -> DepthEstimate:
    """Returns the estimate if it meets its contract.

    Raises:
        BackendContractError: wrong shape or dtype, no valid pixel, a confidence outside [0, 1] or above 0 at an invalid
            pixel, or intrinsics that are not a finite 3x3 matrix with positive focal lengths.
    """
    problems = [*_depth_problems(estimate, (height, width)), *_intrinsics_problems(estimate.intrinsics)]
    if problems:
        raise BackendContractError("the depth estimate breaks its contract: " + "; ".join(problems))
    return estimate


def _depth_problems(estimate: DepthEstimate, shape: tuple[int, int]) -> list[str]:
    for name, values in (("depth", estimate.depth), ("confidence", estimate.confidence)):
        if values.shape != shape or values.dtype != np.float32:
            return [f"{name} is {values.dtype} {values.shape}, not float32 {shape}"]
    problems = []
    confidence, valid = estimate.confidence, estimate.valid
    if not valid.any():
        problems.append("no pixel has a valid depth")
    if not np.isfinite(confidence).all() or confidence.min() < 0 or confidence.max() > 1:
        problems.append("confidence leaves [0, 1]")
    elif (confidence[~valid] > 0).any():
        problems.append("confidence is above 0 where the depth is invalid")
    return problems


def _intrinsics_problems(intrinsics: NDArray[np.float64] | None) -> list[str]:
    if intrinsics is None:
        return []
    if intrinsics.shape != (3, 3) or not np.isfinite(intrinsics).all():
        return ["intrinsics are not a finite 3x3 matrix"]
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
        return ["a focal length is not positive"]
    return []
