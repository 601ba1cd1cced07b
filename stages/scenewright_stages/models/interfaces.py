"""What a stage may ask of a backend, whatever stands behind it.

Images are float32 sRGB in [0, 1], shape (H, W, 3); depth is z-depth along the camera's forward axis (OpenCV:
x right, y down, z forward); pixel centres lie at +0.5.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.stage import BackendUse
from scenewright_stages.models.errors import BackendContractError

if TYPE_CHECKING:
    from scenewright_stages.vision.images import PixelWindow

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class BackendRecord:
    """What made an output: goes into every sample's record.

    Attributes:
        capability, backend, family, variant: the backend as the spec chose it.
        weights_id: Hugging Face repository of the weights, empty without weights.
        revision: the resolved commit; ``local-<hash>`` for a plain folder; empty without weights.
        licence, licence_url, non_commercial: the weights' licence, for filtering data sets later.
        device, precision: where and how it ran.
        notes: what is prior, extrapolated or invented.
    """

    capability: str
    backend: str
    family: str
    variant: str = ""
    weights_id: str = ""
    revision: str = ""
    licence: str = ""
    licence_url: str = ""
    non_commercial: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    notes: str = ""

    def as_dict(self) -> dict[str, str | bool]:
        """The same as plain JSON values."""
        return asdict(self)

    def use(self, capability: str | None = None) -> BackendUse:
        """The entry of a sample's record.

        Args:
            capability: what it served just now, when one instance serves several (outpaint and inpaint).
        """
        model = f"{self.weights_id} ({self.precision} on {self.device})" if self.weights_id else ""
        return BackendUse(capability or self.capability, self.backend, model, self.revision, self.licence, self.notes)


@dataclass(frozen=True)
class DepthEstimate:
    """Depth of one image.

    Attributes:
        depth: (H, W) float32; metres if ``is_metric``, else in an unknown unit; NaN or infinity = invalid.
        confidence: (H, W) float32 in [0, 1]; 0 wherever the depth is invalid.
        intrinsics: (3, 3) float64 in pixels of this image, or None if the backend knows none.
        is_metric: the unit really is the metre.
        notes: what is assumed or extrapolated in this very estimate.
    """

    depth: FloatImage
    confidence: FloatImage
    intrinsics: NDArray[np.float64] | None
    is_metric: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def valid(self) -> Mask:
        """(H, W) bool: where the depth is finite and positive."""
        return np.isfinite(self.depth) & (self.depth > 0)


@dataclass(frozen=True)
class ProvidedDepthSource:
    """A depth map that came with the photograph, and how the image was cut out of that photograph.

    Attributes:
        path: the depth or disparity file.
        source_size: (width, height) of the upright photograph in pixels; None: the image is the photograph.
        window: what the image shows of the photograph; None: all of it, at its own size.
        kind: what the file holds; None: as its name says.
        scale: metres (depth) or pixels (disparity) per unit of the file.
        camera_file: intrinsics and stereo geometry; None: ``<stem>.camera.json`` beside the map, if there.
    """

    path: Path
    source_size: tuple[int, int] | None = None
    window: PixelWindow | None = None
    kind: Literal["depth", "disparity"] | None = None
    scale: float = 1.0
    camera_file: Path | None = None


@dataclass(frozen=True)
class FillGuide:
    """Knowledge about the place of a hole, for backends that copy texture.

    Attributes:
        allowed_source: (H, W) bool, pixels that may be copied (the background side of a disocclusion).
        depth: (H, W) float32 z-depth of the image; holes may be NaN.
    """

    allowed_source: Mask | None = None
    depth: FloatImage | None = None


@runtime_checkable
class Backend(Protocol):
    """What all backends share."""

    @property
    def record(self) -> BackendRecord:
        """What goes into the records of the samples it makes."""

    def release(self) -> None:
        """Free its memory; it must not be used afterwards."""


@runtime_checkable
class Inpainter(Backend, Protocol):
    """Fills holes, inside an image or around it."""

    def fill(
        self, srgb: FloatImage, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> FloatImage:
        """Fill the pixels where ``hole`` is set.

        Args:
            srgb: (H, W, 3) float32 in [0, 1]; what lies under the hole is ignored.
            hole: (H, W) bool, True = to be filled.
            prompt: what to show there; backends without text understanding ignore it.
            seed: same image, hole, prompt and seed give the same result.
            guide: what is known about the place; backends that cannot use it ignore it.

        Returns:
            (H, W, 3) float32 in [0, 1]; pixels outside the hole are bit-identical to the input's.

        Raises:
            BackendContractError: the result is not finite, out of range or of another shape.
        """


@runtime_checkable
class DepthEstimator(Backend, Protocol):
    """Gives an image its depth."""

    def estimate(
        self,
        srgb: FloatImage,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """Estimate z-depth at the image's own resolution.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            field_of_view_degrees: horizontal field of view if known; None lets the backend find or assume it.
            provided: the map beside the image; only the backend ``provided`` reads it.

        Raises:
            BackendContractError: the estimate breaks :class:`DepthEstimate`.
        """


def check_fill_request(srgb: FloatImage, hole: Mask) -> None:
    """Refuse what no inpainter can fill.

    Raises:
        ValueError: wrong shapes or types, values not finite or outside [0, 1], or nothing known at all.
    """
    if srgb.ndim != 3 or srgb.shape[2] != 3 or srgb.dtype != np.float32:
        raise ValueError(f"srgb must be float32 (H, W, 3), not {srgb.dtype} {srgb.shape}")
    if hole.shape != srgb.shape[:2] or hole.dtype != np.bool_:
        raise ValueError(f"hole must be bool {srgb.shape[:2]}, not {hole.dtype} {hole.shape}")
    if hole.all():
        raise ValueError("every pixel is a hole: nothing is known to continue from")
    # A GPU may be waiting: the whole picture is looked at sixty times faster than its known pixels are picked.
    if not _in_range(srgb) and not _in_range(srgb[~hole]):
        raise ValueError("known pixels must be finite and inside [0, 1]")


def _in_range(values: FloatImage) -> bool:
    """No value is NaN, below 0 or above 1."""
    return bool(values.min() >= 0 and values.max() <= 1)


def paste_known(filled: FloatImage, srgb: FloatImage, hole: Mask) -> FloatImage:
    """The fill inside the hole, the input's very bits outside of it.

    Args:
        filled: (H, W, 3) a backend's answer; clipped to [0, 1] inside the hole.
        srgb: (H, W, 3) float32 the input.
        hole: (H, W) bool.

    Raises:
        BackendContractError: the answer has another shape, or is not finite somewhere in the hole.
    """
    if filled.shape != srgb.shape:
        raise BackendContractError(f"the backend answered {filled.shape} to an image of {srgb.shape}")
    inside = np.flatnonzero(hole)
    values = filled.reshape(-1, filled.shape[2])[inside]
    if not np.isfinite(values).all():
        raise BackendContractError("the backend left values in the hole that are not finite")
    pasted = srgb.copy()
    pasted.reshape(-1, filled.shape[2])[inside] = np.clip(values, 0.0, 1.0)
    return pasted


def check_depth_estimate(estimate: DepthEstimate, height: int, width: int) -> DepthEstimate:
    """Pass an estimate on only if it keeps its promises.

    Raises:
        BackendContractError: another shape or type, no valid pixel, a confidence outside [0, 1] or above 0
            at an invalid pixel, or intrinsics that are not a finite 3x3 matrix with positive focal lengths.
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
