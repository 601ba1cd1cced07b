"""Normals from the relative depth of MiDaS vision transformers (Ranftl et al. 2021) from transformers.

The model predicts inverse depth up to an unknown scale and shift. It is interpreted as a relief whose height, from the
subject's farthest to its nearest part, is assumed to be ``relief`` times the root of the subject's area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.normals.interface import check_normals
from scenewright_stages.backends.runtime.batching import Batcher
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel, batch_size, load_transformer
from scenewright_stages.backends.runtime.tensors import Returning, device_batch, normalised, resized, returning, staged
from scenewright_stages.vision.types import Float32Array

_MEAN = _DEVIATION = (0.5, 0.5, 0.5)
_RELIEF = 0.6
_RANGE = (0.02, 0.98)  # quantiles of the subject's inverse depth between which the relief lies


@dataclass(frozen=True)
class _Question:
    image: Tensor
    alpha: Tensor


class DptNormals(TransformerModel):
    """A ``NormalEstimator`` around a ``DPTForDepthEstimation``."""

    def __init__(
        self, model: Any, record: BackendRecord, device: str, batch: int = 16, relief: float = _RELIEF
    ) -> None:
        super().__init__(model, record, device)
        self._relief = relief
        self._ask: Batcher[_Question, Returning] = Batcher(
            self._answer, lambda question: tuple(question.image.shape), batch if device != "cpu" else 1
        )

    def estimate(self, srgb: Float32Array, alpha: Float32Array) -> Float32Array:
        """See ``NormalEstimator.estimate``; (0, 0, -1) where alpha is 0."""
        answer = self._ask(_Question(staged(srgb, self.device), staged(alpha[..., None], self.device)))
        return check_normals(answer.array(), srgb)

    def release(self) -> None:
        """Free the model's memory."""
        self._ask.close()
        super().release()

    @torch.inference_mode()
    def _answer(self, questions: list[_Question]) -> list[Returning]:
        model = self.model
        images = device_batch([question.image for question in questions], self.device)
        alpha = device_batch([question.alpha for question in questions], self.device)[:, 0]
        side = int(model.config.image_size)
        pixels = normalised(resized(images, side, side, "bicubic"), _MEAN, _DEVIATION).to(model.dtype)
        inverse = model(pixel_values=pixels).predicted_depth.float()
        return returning(normals_of_relief(inverse, alpha, self._relief).permute(0, 2, 3, 1).contiguous())


def normals_of_relief(inverse: Tensor, alpha: Tensor, relief: float) -> Tensor:
    """Unit normals of the height that inverse depth describes.

    Args:
        inverse: (N, h, w) inverse depth, any scale and shift.
        alpha: (N, H, W) the subject's matte.
        relief: height between the subject's ends over the root of its area.

    Returns:
        (N, 3, H, W) in the camera's frame; (0, 0, -1) where alpha is 0 or the subject has no depth.
    """
    height, width = alpha.shape[-2:]
    cover = resized(alpha[:, None], *inverse.shape[-2:])[:, 0]
    scales = torch.stack([_span(one, weight) for one, weight in zip(inverse, cover, strict=True)])
    extent = alpha.flatten(1).sum(1).sqrt().clamp(min=1.0)
    rise = inverse * (relief * extent / scales)[:, None, None]
    full = functional.interpolate(rise[:, None], (height, width), mode="bicubic", align_corners=False)
    padded = functional.pad(full, (1, 1, 1, 1), mode="replicate")
    to_right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    to_bottom = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    slopes = -torch.cat([to_right, to_bottom], dim=1) * alpha[:, None]
    normals = torch.cat([slopes, torch.full_like(to_right, -1.0)], dim=1)
    return functional.normalize(normals, dim=1)


def _span(inverse: Tensor, cover: Tensor) -> Tensor:
    """The subject's range of inverse depth; infinite if it has none, which gives a flat relief."""
    # Sort with weights to keep the number of values fixed, which avoids a device synchronisation.
    values, order = inverse.flatten().sort()
    reached = cover.flatten()[order].cumsum(0)
    share = reached / reached[-1].clamp(min=1e-6)
    low, high = (
        values[torch.searchsorted(share, share.new_tensor([edge])).clamp(max=len(values) - 1)] for edge in _RANGE
    )
    span = (high - low)[0]
    return torch.where(span > 1e-6, span, torch.inf)


def load_dpt(request: LoadRequest) -> DptNormals:
    """Load the published weights from their folder.

    Raises:
        UnsupportedOption: a batch below 1 or a relief that is not positive.
    """
    relief = float(request.context.option("relief", _RELIEF))
    if not 0 < relief < 10:
        raise UnsupportedOption("dpt.relief", relief, ["above 0, below 10"])
    model, record = load_transformer("DPTForDepthEstimation", request)
    return DptNormals(model, record, request.context.device, batch_size(request, 16), relief)
