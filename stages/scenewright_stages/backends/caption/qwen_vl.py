"""Captions by a Qwen vision-language model through transformers; greedy, so the same picture gets the same words."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import torch

from scenewright_stages.backends.capability import BackendRecord, FloatImage
from scenewright_stages.backends.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.loading import LoadRequest
from scenewright_stages.backends.pretrained import TransformerModel, load_transformer

_TOKENS = 120
_LONGEST_SIDE = 1024  # larger pictures cost memory and tell no more about the light


class QwenCaptioner(TransformerModel):
    """A ``Captioner``; one picture at a time, from whichever thread.

    Picture and question are put together here, in the form that the models were trained with (ChatML, one
    placeholder for each square of patches), as the library's own processor would need packages for video.

    Args:
        model: a model that answers text to pictures and text.
        tokenizer, image_processor: its own.
        record: goes into the samples' records.
        device: where it runs.
        tokens: longest answer.
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

    def caption(self, srgb: FloatImage, instruction: str) -> str:
        """See ``Captioner.caption``."""
        from PIL import Image

        from scenewright_stages.vision.colour import uint8_from_unit

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
    """A question about one picture that has so many squares of patches, ready for the answer."""
    picture = f"<|vision_start|>{'<|image_pad|>' * squares}<|vision_end|>"
    return f"<|im_start|>user\n{picture}{instruction}<|im_end|>\n<|im_start|>assistant\n"


def load_qwen_vl(request: LoadRequest) -> QwenCaptioner:
    """Load the published weights, tokenizer and image processor from their folder.

    Raises:
        UnsupportedOption: an answer of less than one token.
    """
    tokens = int(request.context.option("tokens", _TOKENS))
    if tokens < 1:
        raise UnsupportedOption("qwen-vl.tokens", tokens, ["1 and above"])
    model, record = load_transformer("AutoModelForImageTextToText", request, on_gpu="bf16")
    transformers: Any = importlib.import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(request.folder, local_files_only=True)
    # By name: with torchvision installed, another implementation would make other pixels.
    images = transformers.AutoImageProcessor.from_pretrained(request.folder, local_files_only=True, backend="pil")
    return QwenCaptioner(model, tokenizer, images, record, request.context.device, tokens)
