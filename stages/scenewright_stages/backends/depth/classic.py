"""Depth without weights: a prior, and depth maps supplied beside the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.depth.interface import DepthEstimate, ProvidedDepthSource, check_depth_estimate
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.depth.maps import ProvidedDepthError
from scenewright_stages.vision.geometry.depth.prior import PriorSettings, estimate_prior
from scenewright_stages.vision.geometry.depth.provided import read_provided, window_depth
from scenewright_stages.vision.geometry.framing import PixelWindow
from scenewright_stages.vision.types import Float32Array


class ClassicDepth(WeightlessBackend):
    """A depth prior based on the typical layout of photographs, not a measurement of this one.

    Raises:
        UnsupportedOption: the far/near ratio or the nearest depth is out of range.
    """

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        ratio = float(request.context.option("far_near_ratio", PriorSettings.far_near_ratio))
        near = float(request.context.option("near_metres", PriorSettings.near_metres))
        try:
            self._settings = PriorSettings(ratio, near)
        except ValueError as error:
            raise UnsupportedOption("depth.farNearRatio, depth.nearMetres", (ratio, near), [str(error)]) from error

    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``; without a field of view one is assumed and noted."""
        assumed = estimate_prior(srgb, self._settings, field_of_view_degrees)
        estimate = DepthEstimate(
            depth=assumed.depth,
            confidence=assumed.confidence,
            intrinsics=np.array(assumed.camera.intrinsics),
            is_metric=False,
            notes=assumed.notes,
        )
        return check_depth_estimate(estimate, *srgb.shape[:2])


class ProvidedDepth(WeightlessBackend):
    """A measured depth map beside the image, cropped and resampled like the image."""

    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``; intrinsics come from the camera file, or else the field of view.

        Raises:
            SampleError: no map is given (ProvidedDepthMissing), or it is unusable (ProvidedDepthInvalid).
        """
        if provided is None:
            raise SampleError("ProvidedDepthMissing", "the backend provided needs a map beside the image")
        depth, intrinsics, notes = _window_of(provided, srgb.shape[1], srgb.shape[0])
        if intrinsics is None and field_of_view_degrees is not None:
            camera = Camera.from_field_of_view(srgb.shape[1], srgb.shape[0], field_of_view_degrees)
            intrinsics = np.array(camera.intrinsics)
        confidence = np.isfinite(depth).astype(np.float32)
        estimate = DepthEstimate(depth, confidence, intrinsics, is_metric=True, notes=notes)
        return check_depth_estimate(estimate, *srgb.shape[:2])


def _window_of(
    source: ProvidedDepthSource, width: int, height: int
) -> tuple[Float32Array, NDArray[np.float64] | None, tuple[str, ...]]:
    """Depth, intrinsics and notes for the part of a map that the image shows, at the image's size."""
    whole = PixelWindow(left=0.0, top=0.0, scale=1.0, width=width, height=height)
    try:
        found = read_provided(source.path, source.kind, source.scale, source.camera_file)
        shown = window_depth(found, source.source_size or (width, height), source.window or whole)
    except ProvidedDepthError as error:
        raise SampleError("ProvidedDepthInvalid", str(error)) from error
    intrinsics = None if shown.camera is None else np.array(shown.camera.intrinsics)
    return shown.depth, intrinsics, found.notes
