"""MoGe as a ``DepthEstimator``."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scenewright_stages.backends.depth.interface import DepthEstimate, ProvidedDepthSource, check_depth_estimate
from scenewright_stages.backends.depth.moge.geometry import fit_perspective, focal_from_field_of_view, pixel_intrinsics
from scenewright_stages.backends.depth.moge.networks import MogeV1, MogeV2, RawGeometry, build_network
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory, torch_dtype
from scenewright_stages.vision.types import Float32Array

_FINEST_LEVEL = 9
_MASK_THRESHOLD = 0.5


class MogeEstimator:
    """Depth and focal length from one image. Pixels outside the model's mask (sky) get infinite depth."""

    def __init__(self, network: MogeV1 | MogeV2, record: BackendRecord, device: str, level: int) -> None:
        self._network: MogeV1 | MogeV2 | None = network
        self._device = device
        self._level = level
        self.record = record

    @torch.inference_mode()
    def estimate(
        self,
        srgb: Float32Array,
        field_of_view_degrees: float | None = None,
        provided: ProvidedDepthSource | None = None,
    ) -> DepthEstimate:
        """See ``DepthEstimator.estimate``; the confidence is the model's own mask, clipped to [0, 1].

        Raises:
            BackendContractError: no valid pixel, or points that no camera can see.
        """
        image = torch.from_numpy(srgb).permute(2, 0, 1)[None].to(self._device)
        estimate = _estimate_from(self._run(image), field_of_view_degrees)
        return check_depth_estimate(estimate, *srgb.shape[:2])

    def release(self) -> None:
        """Frees the model's memory."""
        self._network = None
        free_memory()

    def _run(self, image: torch.Tensor) -> RawGeometry:
        if self._network is None:
            raise RuntimeError("this model was released")
        low, high = self._network.tokens_range
        tokens = int(low + self._level / _FINEST_LEVEL * (high - low))
        dtype = torch_dtype(self.record.precision)
        with torch.autocast(torch.device(self._device).type, dtype=dtype, enabled=dtype != torch.float32):
            geometry: RawGeometry = self._network(image, tokens)
        return geometry


def _estimate_from(geometry: RawGeometry, field_of_view_degrees: float | None) -> DepthEstimate:
    points = geometry.points[0].float().cpu().numpy()
    mask = geometry.mask[0].float().cpu().numpy()
    height, width = mask.shape
    valid = (mask > _MASK_THRESHOLD) & np.isfinite(points).all(axis=-1)
    focal = None
    if field_of_view_degrees is not None:
        focal = focal_from_field_of_view(field_of_view_degrees, width, height)
    try:
        fit = fit_perspective(points, valid, focal)
    except ValueError as error:
        raise BackendContractError(f"MoGe found no geometry in the image: {error}") from error
    scale = 1.0 if geometry.metric_scale is None else float(geometry.metric_scale[0])
    depth = (points[..., 2] + np.float32(fit.shift)) * np.float32(scale)
    valid &= depth > 0
    return DepthEstimate(
        depth=np.where(valid, depth, np.float32(np.inf)),
        confidence=np.where(valid, np.clip(mask, 0, 1), np.float32(0)).astype(np.float32),
        intrinsics=pixel_intrinsics(fit.focal, width, height),
        is_metric=geometry.metric_scale is not None,
        notes=() if geometry.metric_scale is not None else ("the scale is unknown: depth is up to one factor",),
    )


def load_moge(request: LoadRequest) -> MogeEstimator:
    """Load a published checkpoint ``model.pt``.

    Raises:
        BrokenWeights: the file is no MoGe checkpoint, or its tensors do not fit its configuration.
    """
    device = request.context.device
    try:
        network = read_checkpoint(request.folder / "model.pt").to(device).eval()
    except ValueError as error:
        raise BrokenWeights(request.record.weights_id, request.folder, str(error)) from error
    precision = str(request.context.option("precision", "fp32" if device == "cpu" else "fp16"))
    level = int(request.context.option("resolution_level", _FINEST_LEVEL))
    return MogeEstimator(network, replace(request.record, precision=precision), device, level)


def read_checkpoint(path: Path) -> MogeV1 | MogeV2:
    """The network of a checkpoint: a dictionary of ``model_config`` and ``model``, read without running code.

    Raises:
        ValueError: the file is no MoGe checkpoint, or its tensors do not fit its configuration.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path.name} is not a file of plain tensors: {error}") from error
    if not isinstance(checkpoint, Mapping) or not {"model_config", "model"} <= checkpoint.keys():
        raise ValueError(f"{path.name} is not a MoGe checkpoint: it lacks model_config or model")
    try:
        network = build_network(checkpoint["model_config"])
        # A missing or unexpected tensor means another network, so never load partially.
        network.load_state_dict(checkpoint["model"], strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path.name} does not fit the network of its configuration: {error}") from error
    return network
