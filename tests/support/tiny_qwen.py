"""A Qwen2.5-VL model with few, random weights and byte tokens, saved in the published repository's own format."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2TokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip


def save_tiny_qwen(folder: Path) -> Path:
    """Model, tokenizer and image processor as in Qwen/Qwen2.5-VL-7B-Instruct."""
    tokenizer = Qwen2TokenizerFast(
        vocab={letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[],
        unk_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=SPECIAL,
    )  # fmt: skip
    places = {word: tokenizer.convert_tokens_to_ids(word) for word in SPECIAL}
    ends = {"bos_token_id": places["<|endoftext|>"], "eos_token_id": places["<|im_end|>"]}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}, **ends,
            "pad_token_id": places["<|endoftext|>"],
        },
        vision_config={
            "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
            "fullatt_block_indexes": [0], "window_size": 56,
        },
        image_token_id=places["<|image_pad|>"],
        video_token_id=places["<|video_pad|>"],
        vision_start_token_id=places["<|vision_start|>"],
        vision_end_token_id=places["<|vision_end|>"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = places["<|im_end|>"]
    model.generation_config.pad_token_id = places["<|endoftext|>"]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=112 * 112).save_pretrained(folder)
    settings = folder / "preprocessor_config.json"
    # The published file names the processor without its library.
    published = {**json.loads(settings.read_text()), "image_processor_type": "Qwen2VLImageProcessor"}
    settings.write_text(json.dumps(published))
    return folder
