"""Depth Anything 3 as a depth backend.

The main series (``small``, ``base``, ``large``) gives depth up to one factor, and the field of view. ``metric-large``
gives metres once the focal length is known: from the given field of view, else from ``base``, loaded beside it.
``mono-large`` gives depth up to scale and shift, which is spread over an assumed range. The last two mark the sky.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.depth.da3.checkpoint import load_network
from scenewright_stages.backends.depth.da3.network import Da3Network
from scenewright_stages.backends.depth.depth_anything import AssumedRange
from scenewright_stages.backends.depth.interface import DepthEstimate, ProvidedDepthSource, check_depth_estimate
from scenewright_stages.backends.depth.maps import estimate_of, field_of_view_intrinsics, image_batch, resized_map
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.types import Float32Array, Mask

# Statistics of ImageNet, with which the transformer was trained.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LONGER_SIDE = 504
"""Of the published preprocessing, in pixels."""
CANONICAL_FOCAL = 300.0
"""Focal length in pixels for which the metric network's answer is in metres."""
_SKY = 0.3
_FEWEST_PIXELS = 10
"""With fewer pixels that are no sky, the sky is not believed, as in the published code."""
_PERCENTAGES = (1.0, 99.0)
_LIMITS_DEGREES = (1.0, 170.0)


class Da3Estimator:
    """Depth from one picture.

    Args:
        network: of the variant.
        cameras: a network of the main series that estimates the field of view; None if `network` does.
        record: of the backend; its precision is the transformers' arithmetic.
        device: where the networks run.
        assumed: range of relative depth; None if the depth is metric or known up to one factor.
        longer_side: of what the networks see, in pixels.
    """

    def __init__(
        self,
        network: Da3Network,
        cameras: Da3Network | None,
        record: BackendRecord,
        device: str,
        assumed: AssumedRange | None,
        longer_side: int = LONGER_SIDE,
    ) -> None:
        self._networks: tuple[Da3Network, Da3Network | None] | None = (network, cameras)
        self._device, self._assumed, self._longer_side = device, assumed, longer_side
        self.record = record

    @torch.inference_mode()
    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``.

        Raises:
            BackendContractError: the estimate or its field of view cannot be.
        """
        if self._networks is None:
            raise RuntimeError("depth-anything-3 was released")
        network, cameras = self._networks
        height, width = srgb.shape[:2]
        fitted = fitted_picture(srgb, self._longer_side, network.shape.patch)
        picture = image_batch(fitted, _MEAN, _DEVIATION, self._device, torch.float32)
        dtype = torch_dtype(self.record.precision)
        arithmetic = None if dtype == torch.float32 else dtype
        answer = network(picture, arithmetic)
        depth = resized_map(answer.depth, height, width)
        sky = np.zeros((height, width), np.bool_)
        if answer.sky is not None:
            sky = believed_sky(resized_map(answer.sky, height, width))
        intrinsics = self._intrinsics(answer.fields, cameras, picture, field_of_view_degrees, (width, height))
        notes: tuple[str, ...] = ()
        if self._assumed is not None:
            far = self._assumed.near_metres * self._assumed.far_near_ratio
            depth = spread(depth, ~sky, self._assumed)
            notes = (f"relative depth, spread over an assumed {self._assumed.near_metres:g} to {far:g} m",)
        elif network.shape.alternates is None:
            assert intrinsics is not None
            # The focal length of the picture that the network saw.
            focal = (intrinsics[0, 0] * fitted.shape[1] / width + intrinsics[1, 1] * fitted.shape[0] / height) / 2
            depth = (depth * np.float32(focal / CANONICAL_FOCAL)).astype(np.float32)
            if field_of_view_degrees is None:
                notes = ("the scale follows from a focal length that the model estimated",)
        else:
            notes = ("the scale is unknown: depth is up to one factor",)
        is_metric = network.shape.alternates is None and self._assumed is None
        depth[sky] = np.inf
        return check_depth_estimate(estimate_of(depth, intrinsics, is_metric, notes), height, width)

    def release(self) -> None:
        """Frees the model's memory."""
        self._networks = None
        free_memory()

    def _intrinsics(
        self,
        fields: torch.Tensor | None,
        cameras: Da3Network | None,
        picture: torch.Tensor,
        given_degrees: float | None,
        size: tuple[int, int],
    ) -> NDArray[np.float64] | None:
        """Intrinsics of a picture of the size (width, height); None without anything that knows them."""
        if given_degrees is not None:
            return field_of_view_intrinsics(given_degrees, *size)
        if fields is None and cameras is not None:
            dtype = torch_dtype(self.record.precision)
            fields = cameras(picture, None if dtype == torch.float32 else dtype).fields
        return None if fields is None else intrinsics_of(fields[0].double().cpu().numpy(), *size)


def intrinsics_of(fields: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """(3, 3) intrinsics in pixels from the vertical and horizontal field of view in radians.

    Raises:
        BackendContractError: a field of view is not between 1 and 170 degrees.
    """
    low, high = _LIMITS_DEGREES
    degrees = np.degrees(fields)
    if not (np.isfinite(degrees).all() and (degrees >= low).all() and (degrees <= high).all()):
        raise BackendContractError(f"the model answered a field of view of {degrees.round(1).tolist()} degrees")
    fy, fx = np.array([height, width]) / 2 / np.tan(fields / 2)
    return np.array([[fx, 0.0, width / 2], [0.0, fy, height / 2], [0.0, 0.0, 1.0]])


def fitted_picture(srgb: Float32Array, longer_side: int, patch: int) -> Float32Array:
    """What the network sees: the longer side first, then both sides in whole patches, resized as in the published code.

    That code resizes bytes, so this does too.
    """
    height, width = srgb.shape[:2]
    picture = np.rint(np.clip(srgb, 0, 1) * 255).astype(np.uint8)
    scale = longer_side / max(width, height)
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA))
    height, width = picture.shape[:2]
    whole = whole_patches(width, patch), whole_patches(height, patch)
    if whole != (width, height):
        grows = whole[0] > width or whole[1] > height
        picture = np.asarray(cv2.resize(picture, whole, interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA))
    return picture.astype(np.float32) / np.float32(255)


def whole_patches(side: int, patch: int) -> int:
    """The nearest multiple of a patch, the larger one of two; at least one patch."""
    return max(patch, (side + patch // 2) // patch * patch)


def believed_sky(sky: Float32Array) -> Mask:
    """(H, W) where the network sees sky, unless hardly anything else is left."""
    found = sky >= _SKY
    return found if np.count_nonzero(~found) > _FEWEST_PIXELS else np.zeros_like(found)


def spread(depth: Float32Array, counts: Mask, assumed: AssumedRange) -> Float32Array:
    """Depth from depth of unknown scale and shift: linear from near at the first percentile to far at the last.

    Args:
        depth: (H, W) larger = farther.
        counts: (H, W) pixels that decide the range.
        assumed: the range.

    Returns:
        (H, W) float32 in metres, at most far.

    Raises:
        BackendContractError: not finite, or all the same.
    """
    if not np.isfinite(depth).all():
        raise BackendContractError("the model answered a depth that is not finite")
    low, high = np.percentile(depth[counts].astype(np.float64), _PERCENTAGES)
    if high <= low:
        raise BackendContractError("the model answered one depth for all pixels")
    share = np.clip((depth.astype(np.float64) - low) / (high - low), 0, 1)
    near, far = assumed.near_metres, assumed.near_metres * assumed.far_near_ratio
    metres: Float32Array = (near + share * (far - near)).astype(np.float32)
    return metres


def load_depth_anything_3(request: LoadRequest) -> Da3Estimator:
    """Loads the published weights from their folders.

    Raises:
        BrokenWeights: a checkpoint does not hold the published network.
        UnsupportedOption: the resolution is less than a patch, or the assumed range is empty or not positive.
    """
    context, facts = request.context, request.facts
    precision = str(context.option("precision", "fp32" if context.device == "cpu" else "bf16"))
    longer_side = int(context.option("resolution", LONGER_SIDE))
    variant = request.record.variant
    sets = facts.weights_of(variant)
    networks = [
        load_network(folder, weights.id, context.device) for folder, weights in zip(request.folders, sets, strict=True)
    ]
    if longer_side < networks[0].shape.patch:
        raise UnsupportedOption("depth-anything-3.resolution", longer_side, [f"{networks[0].shape.patch} and above"])
    traits = facts.depth_traits(variant)
    assumed = AssumedRange.from_context(context) if traits is not None and traits.scale == "relative" else None
    record = replace(request.record, precision=precision)
    cameras = networks[1] if len(networks) > 1 else None
    return Da3Estimator(networks[0], cameras, record, context.device, assumed, longer_side)
