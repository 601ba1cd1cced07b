"""CLIP from transformers, with its published resizing, cropping and normalisation on tensors."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel
from scenewright_stages.backends.runtime.tensors import normalised
from scenewright_stages.vision.types import Float32Array

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_BATCH = 32


class ClipSimilarity(TransformerModel):
    """A ``SimilarityModel`` around CLIP and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, record: BackendRecord, device: str) -> None:
        super().__init__(model, record, device)
        self._tokenizer = tokenizer

    @torch.no_grad()
    def pictures(self, srgb: Sequence[Float32Array]) -> NDArray[np.float32]:
        """See ``SimilarityModel.pictures``."""
        side = int(self.model.config.vision_config.image_size)
        found = []
        for first in range(0, len(srgb), _BATCH):
            batch = torch.cat([_prepared(each, side) for each in srgb[first : first + _BATCH]]).to(self.device)
            seen = self.model.vision_model(pixel_values=normalised(batch, MEAN, DEVIATION))
            found.append(self.model.visual_projection(seen.pooler_output))
        return _unit(torch.cat(found))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See ``SimilarityModel.texts``."""
        longest = int(self.model.config.text_config.max_position_embeddings)
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        read = self.model.text_model(**{name: values.to(self.device) for name, values in tokens.items()})
        return _unit(self.model.text_projection(read.pooler_output))


def _prepared(srgb: Float32Array, side: int) -> torch.Tensor:
    """(1, 3, side, side) centre crop after resizing the shorter side."""
    height, width = srgb.shape[:2]
    factor = side / min(height, width)
    size = (max(side, round(height * factor)), max(side, round(width * factor)))
    picture = torch.from_numpy(np.ascontiguousarray(srgb)).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return small[..., top : top + side, left : left + side].clamp(0, 1)


def _unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return found


def load_clip(request: LoadRequest) -> ClipSimilarity:
    """Load model and tokenizer from the folder of the weights.

    Raises:
        ModuleNotFoundError: transformers is not installed.
    """
    transformers: Any = importlib.import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True}
    # transformers opens a .bin with torch.load(weights_only=True): tensors and plain values, never code.
    model = transformers.CLIPModel.from_pretrained(request.folder, use_safetensors=False, **options)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(request.folder, **options)
    return ClipSimilarity(model.to(request.context.device).eval(), tokenizer, request.record, request.context.device)
