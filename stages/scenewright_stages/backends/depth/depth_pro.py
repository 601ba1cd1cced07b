"""Depth Pro (Bochkovskii et al. 2024, "Sharp Monocular Metric Depth in Less Than a Second") from transformers.

The network sees the image resized to a fixed square and predicts *canonical inverse depth*: inverse metric depth times
focal length over image width. With the field of view, which it also estimates, this becomes metres.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from scenewright_stages.backends.depth.interface import DepthEstimate, ProvidedDepthSource, check_depth_estimate
from scenewright_stages.backends.depth.maps import estimate_of, field_of_view_intrinsics, image_batch, resized_map
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel, load_transformer
from scenewright_stages.vision.types import Float32Array

# Statistics and limits of the published preprocessing and postprocessing.
_MEAN = (0.5, 0.5, 0.5)
_DEVIATION = (0.5, 0.5, 0.5)
_FARTHEST_METRES = 1e4
_NEAREST_METRES = 1e-4


class DepthProEstimator(TransformerModel):
    """Metric depth and field of view from one image."""

    @torch.inference_mode()
    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``. Depth beyond 10 km (sky) becomes infinite, hence invalid.

        Raises:
            BackendContractError: no valid pixel, or an impossible field of view.
        """
        height, width = srgb.shape[:2]
        side = model_side(self.model.config)
        image = image_batch(srgb, _MEAN, _DEVIATION, self.device, torch.float32)
        square = functional.interpolate(image, (side, side), mode="bilinear", align_corners=False)
        answer = self.model(pixel_values=square.to(self.model.dtype))
        canonical = resized_map(answer.predicted_depth, height, width)
        degrees, notes = _field_of_view(answer.field_of_view, field_of_view_degrees)
        estimate = estimate_of(
            metric_depth(canonical, degrees), field_of_view_intrinsics(degrees, width, height), True, notes
        )
        return check_depth_estimate(estimate, height, width)


def model_side(config: Any) -> int:
    """The side of the network's input square, which the patches of its coarsest scale must cover (1536)."""
    side: float = config.patch_size / min(config.scaled_images_ratios)
    return round(side)


def metric_depth(canonical_inverse: Float32Array, field_of_view_degrees: float) -> Float32Array:
    """Depth in metres: ``1 / depth = canonical * width / focal = canonical * 2 tan(field of view / 2)``.

    Args:
        canonical_inverse: (H, W) the network's output.
        field_of_view_degrees: horizontal.

    Returns:
        (H, W) float32; infinite beyond 10 km and where the output is not finite.
    """
    inverse = canonical_inverse * np.float32(2 * math.tan(math.radians(field_of_view_degrees) / 2))
    seen = np.isfinite(inverse) & (inverse > 1 / _FARTHEST_METRES)
    depth = np.full_like(inverse, np.inf)
    np.divide(np.float32(1.0), np.minimum(inverse, 1 / _NEAREST_METRES), out=depth, where=seen)
    return depth


def _field_of_view(answer: torch.Tensor | None, given: float | None) -> tuple[float, tuple[str, ...]]:
    """The field of view to use, in degrees, and notes about it."""
    if given is not None:
        return given, ()
    if answer is None:
        raise BackendContractError("these Depth Pro weights estimate no field of view, and none is given")
    degrees = float(answer.float().reshape(-1)[0])
    if not 1.0 <= degrees <= 170.0:
        raise BackendContractError(f"Depth Pro answers a field of view of {degrees:.1f} degrees")
    return degrees, (f"field of view {degrees:.1f} degrees as estimated by the model",)


def load_depth_pro(request: LoadRequest) -> DepthProEstimator:
    """Load the published weights from their folder."""
    model, record = load_transformer("DepthProForDepthEstimation", request)
    return DepthProEstimator(model, record, request.context.device)
