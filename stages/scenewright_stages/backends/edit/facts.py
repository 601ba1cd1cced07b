"""Backends of ``edit``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.backends.inpaint.facts import KLEIN_4B, KLEIN_BF16, KLEIN_MEMORY
from scenewright_stages.contract.backends import BackendFacts, Weights

_FILES = (
    "model_index.json",
    "processor/preprocessor_config.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/*.safetensors",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "transformer/*.safetensors",
    "vae/config.json",
    "vae/*.safetensors",
)
_OPTIONAL = (
    "processor/tokenizer*.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer.json",
    "tokenizer/added_tokens.json",
    "tokenizer/special_tokens_map.json",
)


def qwen_image(repository: str, size: int) -> Weights:
    """A Qwen-Image-Edit pipeline, original or quantised."""
    return Weights(
        id=repository,
        licence="apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        approximate_bytes=size,
        required_files=_FILES,
        optional_files=_OPTIONAL,
    )


QWEN_2511 = qwen_image("Qwen/Qwen-Image-Edit-2511", 57_700_000_000)
QWEN_2511_4BIT = qwen_image("ovedrive/Qwen-Image-Edit-2511-4bit", 17_700_000_000)
QWEN_PRECISIONS = ("bf16", "fp8", "fp32")
QWEN_MEMORY = {"4bit": 28.0, "2511-4bit": 28.0, "fp8": 46.0, "fp32": 124.0}
"""By variant and precision; 66 GiB in bf16. Of that 38.1 are the transformer, 15.4 the text encoder that sees the
picture, and the rest is room for a picture of a megapixel, its reference, and the autoencoder."""
QWEN_BF16 = 66.0

BACKENDS = (
    BackendFacts(
        name="qwen-edit",
        capability="edit",
        rank=2,
        family="model",
        implementation="scenewright_stages.backends.edit.qwen_edit:load_qwen_edit",
        notes="Painted by Qwen-Image-Edit, a generative model: every pixel is invented, also those of the object.",
        weights={
            "2511": (QWEN_2511,),
            "2509": (qwen_image("Qwen/Qwen-Image-Edit-2509", 57_700_000_000),),
            "first": (qwen_image("Qwen/Qwen-Image-Edit", 57_700_000_000),),
            "4bit": (qwen_image("ovedrive/qwen-image-edit-4bit", 17_700_000_000),),
            "2511-4bit": (QWEN_2511_4BIT,),
        },
        device="cuda",
        measured="3.2 s an edit of 8 steps in fp8",
        gpu_memory_gib=QWEN_BF16,
        gpu_memory_by=QWEN_MEMORY,
        precisions=QWEN_PRECISIONS,
        offload_modes=("none", "model"),
        image="diffusion",
        extra="diffusion",
        options={"compile": ("none", "blocks"), "begin": ("eager", "compiled"), "steps": (), "guidance": ()},
    ),
    BackendFacts(
        name="klein-edit",
        capability="edit",
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.edit.klein_edit:load_klein_edit",
        notes="Painted by FLUX.2 klein, a generative model: every pixel is invented, also those of the object.",
        weights={"4b": (KLEIN_4B,)},
        device="cuda",
        gpu_memory_gib=KLEIN_BF16,
        gpu_memory_by=KLEIN_MEMORY,
        precisions=("bf16", "fp8", "fp32"),
        offload_modes=("none", "model"),
        image="diffusion",
        extra="diffusion",
        options={"compile": ("none", "blocks"), "begin": ("eager", "compiled"), "steps": ()},
    ),
)
