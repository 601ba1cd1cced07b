"""The backends without weights, as the same interfaces: texture completion, the depth prior, provided depth.

The algorithms live in :mod:`scenewright_stages.vision`; they are imported when a backend is made, so that the
registry stays light.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.models.errors import BackendContractError, UnsupportedOption
from scenewright_stages.models.interfaces import (
    BackendRecord,
    DepthEstimate,
    FillGuide,
    FloatImage,
    Mask,
    ProvidedDepthSource,
    check_depth_estimate,
    check_fill_request,
    paste_known,
)
from scenewright_stages.models.loading import LoadRequest


class ClassicInpainter:
    """Fills holes with texture from the same image (PatchMatch); prompts are not understood."""

    def __init__(self, request: LoadRequest) -> None:
        from scenewright_stages.vision import inpainting

        self.record: BackendRecord = request.record
        self._inpainting = inpainting

    def fill(
        self, srgb: FloatImage, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> FloatImage:
        """See ``Inpainter.fill``; a guide restricts what may be copied.

        Raises:
            BackendContractError: the hole cannot be filled from what may be copied.
        """
        check_fill_request(srgb, hole)
        guide = guide or FillGuide()
        try:
            filled = self._inpainting.complete(
                srgb, hole, seed=seed, allowed_source=guide.allowed_source, depth_guide=guide.depth
            )
        except self._inpainting.FillError as error:
            raise BackendContractError(f"the hole could not be filled: {error}") from error
        return paste_known(filled, srgb, hole)

    def release(self) -> None:
        """Nothing is held."""


class ClassicDepth:
    """The depth prior: how photographs are usually laid out, not a measurement of this one.

    Raises:
        UnsupportedOption: a range of depths that is none.
    """

    def __init__(self, request: LoadRequest) -> None:
        from scenewright_stages.vision.depth import prior

        self.record: BackendRecord = request.record
        self._prior = prior
        ratio = float(request.context.option("far_near_ratio", prior.PriorSettings.far_near_ratio))
        near = float(request.context.option("near_metres", prior.PriorSettings.near_metres))
        try:
            self._settings = prior.PriorSettings(ratio, near)
        except ValueError as error:
            raise UnsupportedOption("depth.farNearRatio, depth.nearMetres", (ratio, near), [str(error)]) from error

    def estimate(
        self,
        srgb: FloatImage,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``; without a field of view one is assumed and noted."""
        assumed = self._prior.estimate_prior(srgb, self._settings, field_of_view_degrees)
        estimate = DepthEstimate(
            depth=assumed.depth,
            confidence=assumed.confidence,
            intrinsics=np.array(assumed.camera.intrinsics),
            is_metric=False,
            notes=assumed.notes,
        )
        return check_depth_estimate(estimate, *srgb.shape[:2])

    def release(self) -> None:
        """Nothing is held."""


class ProvidedDepth:
    """A measured map beside the image, cut and resampled as the image was."""

    def __init__(self, request: LoadRequest) -> None:
        self.record: BackendRecord = request.record

    def estimate(
        self,
        srgb: FloatImage,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``; intrinsics from the camera file, else from the field of view.

        Raises:
            SampleError: no map is given (ProvidedDepthMissing), or it cannot be used (ProvidedDepthInvalid).
        """
        if provided is None:
            raise SampleError("ProvidedDepthMissing", "the backend provided needs a map beside the image")
        depth, intrinsics, notes = _window_of(provided, srgb.shape[1], srgb.shape[0])
        if intrinsics is None and field_of_view_degrees is not None:
            intrinsics = _intrinsics(field_of_view_degrees, srgb.shape[1], srgb.shape[0])
        confidence = np.isfinite(depth).astype(np.float32)
        estimate = DepthEstimate(depth, confidence, intrinsics, is_metric=True, notes=notes)
        return check_depth_estimate(estimate, *srgb.shape[:2])

    def release(self) -> None:
        """Nothing is held."""


def _window_of(
    source: ProvidedDepthSource, width: int, height: int
) -> tuple[FloatImage, NDArray[np.float64] | None, tuple[str, ...]]:
    """Depth, intrinsics and notes of the part of a map that an image of that size shows."""
    from scenewright_stages.vision.depth import provided
    from scenewright_stages.vision.depth.maps import ProvidedDepthError
    from scenewright_stages.vision.images import PixelWindow

    whole = PixelWindow(left=0.0, top=0.0, scale=1.0, width=width, height=height)
    try:
        found = provided.read_provided(source.path, source.kind, source.scale, source.camera_file)
        shown = provided.window_depth(found, source.source_size or (width, height), source.window or whole)
    except ProvidedDepthError as error:
        raise SampleError("ProvidedDepthInvalid", str(error)) from error
    intrinsics = None if shown.camera is None else np.array(shown.camera.intrinsics)
    return shown.depth, intrinsics, found.notes


def _intrinsics(degrees: float, width: int, height: int) -> NDArray[np.float64]:
    from scenewright_stages.vision.cameras import Camera

    return np.array(Camera.from_field_of_view(width, height, degrees).intrinsics)
