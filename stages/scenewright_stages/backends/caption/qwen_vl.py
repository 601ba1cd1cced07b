"""Captions by a Qwen vision-language model from transformers; greedy decoding, so equal images get equal captions."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import torch

from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.pretrained import TransformerModel, load_transformer
from scenewright_stages.vision.types import Float32Array

_TOKENS = 120
_LONGEST_SIDE = 1024  # larger images need more memory and show no more of the light


class QwenCaptioner(TransformerModel):
    """A ``Captioner`` that handles one image at a time, from any thread.

    Builds the prompt itself, in the models' training format (ChatML, one placeholder per square of patches), because
    the library's processor would need video packages.

    Args:
        model: an image-text-to-text model.
        tokenizer, image_processor: its own.
        record: for sample records.
        device: where it runs.
        tokens: maximum length of the answer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_processor: Any,
        record: BackendRecord,
        device: str,
        tokens: int = _TOKENS,
    ) -> None:
        super().__init__(model, record, device)
        self._tokenizer, self._image_processor, self._tokens = tokenizer, image_processor, tokens
        self._lock = threading.Lock()

    def caption(self, srgb: Float32Array, instruction: str) -> str:
        """See ``Captioner.caption``."""
        from PIL import Image

        from scenewright_stages.vision.imaging.colour import uint8_from_unit

        picture = Image.fromarray(uint8_from_unit(srgb))
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        seen = self._image_processor(images=[picture], return_tensors="pt")
        squares = int(seen["image_grid_thw"].prod()) // int(self._image_processor.merge_size) ** 2
        question = self._tokenizer(chat_text(instruction, squares), return_tensors="pt", add_special_tokens=False)
        places = (question["input_ids"] == self.model.config.image_token_id).to(torch.int32)
        answer = " ".join(self._answer({**question, **seen, "mm_token_type_ids": places}).split())
        if not answer:
            raise BackendContractError("the model answered nothing")
        return answer

    @torch.inference_mode()
    def _answer(self, inputs: dict[str, Any]) -> str:
        with self._lock:
            model = self.model
            on_device = {name: values.to(self.device) for name, values in inputs.items()}
            on_device["pixel_values"] = on_device["pixel_values"].to(model.dtype)
            made = model.generate(**on_device, max_new_tokens=self._tokens, do_sample=False)
            asked = inputs["input_ids"].shape[1]
            text: str = self._tokenizer.batch_decode(made[:, asked:].cpu(), skip_special_tokens=True)[0]
            return text


def chat_text(instruction: str, squares: int) -> str:
    """The prompt for a question about one image with that many squares of patches."""
    picture = f"<|vision_start|>{'<|image_pad|>' * squares}<|vision_end|>"
    return f"<|im_start|>user\n{picture}{instruction}<|im_end|>\n<|im_start|>assistant\n"


def load_qwen_vl(request: LoadRequest) -> QwenCaptioner:
    """Load the published weights, tokenizer and image processor from their folder.

    Raises:
        UnsupportedOption: the maximum answer is below one token.
    """
    tokens = int(request.context.option("tokens", _TOKENS))
    if tokens < 1:
        raise UnsupportedOption("qwen-vl.tokens", tokens, ["1 and above"])
    model, record = load_transformer("AutoModelForImageTextToText", request, on_gpu="bf16")
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(request.folder, local_files_only=True)
    # Load it by name: with torchvision installed, the default is another implementation with different pixels.
    images = transformers.AutoImageProcessor.from_pretrained(request.folder, local_files_only=True, backend="pil")
    return QwenCaptioner(model, tokenizer, images, record, request.context.device, tokens)
