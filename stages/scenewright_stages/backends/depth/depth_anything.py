"""Depth Anything V2 (Yang et al. 2024) from transformers, relative and metric.

The relative weights give inverse depth up to an unknown scale and shift. It is mapped to an assumed range: near pixels
are at ``near_metres``, the farthest ``far_near_ratio`` times as far away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from scenewright_stages.backends.depth.interface import DepthEstimate, ProvidedDepthSource, check_depth_estimate
from scenewright_stages.backends.depth.maps import estimate_of, field_of_view_intrinsics, image_batch, resized_map
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, ModelContext
from scenewright_stages.backends.runtime.pretrained import TransformerModel, load_transformer
from scenewright_stages.vision.types import Float32Array

# Statistics of ImageNet, with which the DINOv2 backbone was trained.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

_PERCENTAGES = (1.0, 99.0)


@dataclass(frozen=True)
class AssumedRange:
    """The assumed range for relative depth: the distance of near pixels in metres, and the far/near ratio.

    Both refer to percentiles of the image, so that a single stray pixel does not set the scale.
    """

    near_metres: float = 1.0
    far_near_ratio: float = 3.0

    @classmethod
    def from_context(cls, context: ModelContext) -> AssumedRange:
        """The backend's options. Raises UnsupportedOption unless the range is finite, positive and not empty."""
        chosen = cls(float(context.option("near_metres", 1.0)), float(context.option("far_near_ratio", 3.0)))
        if not (0 < chosen.near_metres < np.inf and 1 < chosen.far_near_ratio < np.inf):
            values = (chosen.near_metres, chosen.far_near_ratio)
            raise UnsupportedOption("depth.nearMetres, depth.farNearRatio", values, ["near > 0, ratio > 1"])
        return chosen


class DepthAnythingEstimator(TransformerModel):
    """Depth from one image. It estimates no camera: intrinsics come from a given field of view, or are None."""

    def __init__(self, model: Any, record: BackendRecord, device: str, assumed: AssumedRange) -> None:
        super().__init__(model, record, device)
        self._assumed = assumed

    @torch.inference_mode()
    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``.

        Raises:
            BackendContractError: the output has no valid pixel, or is constant.
        """
        height, width = srgb.shape[:2]
        config = self.model.config
        image = image_batch(srgb, _MEAN, _DEVIATION, self.device, torch.float32)
        size = model_size(height, width, config.backbone_config.image_size, config.patch_size)
        fitted = functional.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True)
        answer = self.model(pixel_values=fitted.to(self.model.dtype)).predicted_depth
        is_metric = config.depth_estimation_type == "metric"
        # The published code resamples with aligned corners, as the network's own head does.
        depth, notes = self._to_depth(resized_map(answer, height, width, align_corners=True), is_metric)
        intrinsics = None
        if field_of_view_degrees is not None:
            intrinsics = field_of_view_intrinsics(field_of_view_degrees, width, height)
        return check_depth_estimate(estimate_of(depth, intrinsics, is_metric, notes), height, width)

    def _to_depth(self, answer: Float32Array, is_metric: bool) -> tuple[Float32Array, tuple[str, ...]]:
        if is_metric:
            return answer, ()
        assumed = self._assumed
        far = assumed.near_metres * assumed.far_near_ratio
        note = f"relative depth, spread over an assumed {assumed.near_metres:g} to {far:g} m"
        return depth_from_relative(answer, assumed), (note,)


def model_size(height: int, width: int, short_side: int, patch: int) -> tuple[int, int]:
    """Input height and width of the network: the short side as in training (518), both in whole patches."""
    scale = short_side / min(height, width)
    return max(patch, round(height * scale / patch) * patch), max(patch, round(width * scale / patch) * patch)


def depth_from_relative(inverse: Float32Array, assumed: AssumedRange) -> Float32Array:
    """Depth from inverse depth of unknown scale and shift.

    ``1 / depth`` is linear through ``1 / far`` at the first percentile of the values and ``1 / near`` at the last;
    smaller values are clamped to far.

    Args:
        inverse: (H, W) larger = nearer; non-finite values become NaN.
        assumed: the range.

    Returns:
        (H, W) float32 in metres; at most far, and nearer than near for the last percent.

    Raises:
        BackendContractError: no finite value, or all the same.
    """
    finite = np.isfinite(inverse)
    if not finite.any():
        raise BackendContractError("the model answered no finite depth")
    values = inverse.astype(np.float64)
    low, high = np.percentile(values[finite], _PERCENTAGES)
    if high <= low:
        raise BackendContractError("the model answered one depth for all pixels")
    share = np.where(finite, np.maximum(values - low, 0) / (high - low), np.nan)
    nearest = 1 / assumed.near_metres
    farthest = nearest / assumed.far_near_ratio
    depth: Float32Array = (1 / (farthest + share * (nearest - farthest))).astype(np.float32)
    return depth


def load_depth_anything(request: LoadRequest) -> DepthAnythingEstimator:
    """Load the published weights from their folder.

    Raises:
        UnsupportedOption: the assumed range is empty or not positive.
    """
    assumed = AssumedRange.from_context(request.context)
    model, record = load_transformer("DepthAnythingForDepthEstimation", request)
    return DepthAnythingEstimator(model, record, request.context.device, assumed)
