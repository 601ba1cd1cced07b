"""Encodes an instruction and its image with Qwen-Image-Edit's text encoder, a vision-language model.

Builds the prompt as the pipelines do, from their template with one placeholder per square of patches. The library's own
processor would need video packages.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_KEPT = 64
"""Pairs of picture and instruction whose embeddings are kept; a few megabytes each."""
AREA = 1024 * 1024
"""Pixels of the pictures that the model was trained on."""
_SEEN_AREA = 384 * 384
"""Pixels at which the newer pipeline's encoder sees the picture; the first one's sees it at `AREA`."""
_MULTIPLE = 32
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"


class Instructions:
    """Encodes instructions, with a cache per pair of image and instruction.

    Args:
        folder: of the pipeline, with its processor's settings.
    """

    def __init__(self, folder: Path) -> None:
        transformers: Any = importlib.import_module("transformers")
        # Load it by name: with torchvision installed, the default is another implementation with different pixels.
        self._images = transformers.AutoImageProcessor.from_pretrained(
            folder / "processor", local_files_only=True, backend="pil"
        )
        self._known: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def read(self, pipeline: Any, picture: Any, instruction: str) -> tuple[Tensor, Tensor]:
        """(1, L, C) embeddings and (1, L) mask, on the device of the pipeline.

        Args:
            pipeline: one of diffusers' Qwen-Image-Edit pipelines.
            picture: a Pillow image.
            instruction: what to change.
        """
        digest = hashlib.blake2b(picture.tobytes(), digest_size=16).hexdigest()
        key = f"{picture.size} {digest} {instruction}"
        if key in self._known:
            self._known.move_to_end(key)
        else:
            self._known[key] = self._encoded(pipeline, picture, instruction)
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        embeddings, mask = self._known[key]
        return embeddings.to(pipeline._execution_device), mask.to(pipeline._execution_device)

    def release(self) -> None:
        """Clears the cache."""
        self._known.clear()

    def _encoded(self, pipeline: Any, picture: Any, instruction: str) -> tuple[Tensor, Tensor]:
        encoder, device = pipeline.text_encoder, pipeline._execution_device
        # The first pipeline's template contains the image; the newer one's numbers its images.
        first = _PICTURE in pipeline.prompt_template_encode
        width, height = sides_of(picture.width / picture.height, AREA if first else _SEEN_AREA)
        resized = pipeline.image_processor.resize(picture, height, width)
        seen = self._images(images=[resized], return_tensors="pt")
        squares = int(seen["image_grid_thw"].prod()) // int(self._images.merge_size) ** 2
        text = pipeline.prompt_template_encode.format(("" if first else f"Picture 1: {_PICTURE}") + instruction)
        text = text.replace("<|image_pad|>", "<|image_pad|>" * squares, 1)
        asked = pipeline.tokenizer(text, return_tensors="pt", add_special_tokens=False)
        inputs = {name: values.to(device) for name, values in {**asked, **seen}.items()}
        inputs["pixel_values"] = inputs["pixel_values"].to(encoder.dtype)
        # The encoder needs to know which tokens are image patches, to give them 2D positions.
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == encoder.config.image_token_id).to(torch.int32)
        hidden = encoder(**inputs, output_hidden_states=True, logits_to_keep=1).hidden_states[-1]
        embeddings = hidden[:, pipeline.prompt_template_encode_start_idx :].cpu()
        return embeddings, torch.ones(embeddings.shape[:2], dtype=torch.long)


def sides_of(ratio: float, area: int) -> tuple[int, int]:
    """Width and height in multiples of 32 with about that area, in the given ratio of width to height."""
    width = math.sqrt(area * ratio)
    sides = [max(1, round(side / _MULTIPLE)) * _MULTIPLE for side in (width, width / ratio)]
    return sides[0], sides[1]
