"""Backends of ``object-views``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.backends.edit.facts import (
    QWEN_2511,
    QWEN_2511_4BIT,
    QWEN_BF16,
    QWEN_MEMORY,
    QWEN_PRECISIONS,
)
from scenewright_stages.contract.backends import BackendFacts, Weights

_PACKAGE = "scenewright_stages.backends.object_views"

ANGLES_LORA = Weights(
    id="fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA",
    licence="apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    approximate_bytes=300_000_000,
    required_files=("qwen-image-edit-2511-multiple-angles-lora.safetensors",),
)
ZERO123 = Weights(
    id="sudo-ai/zero123plus-v1.2",
    licence="cc-by-nc-4.0",
    licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
    approximate_bytes=7_200_000_000,
    required_files=(
        "model_index.json",
        "feature_extractor_clip/preprocessor_config.json",
        "feature_extractor_vae/preprocessor_config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/*.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        "unet/*.safetensors",
        "vae/config.json",
        "vae/*.safetensors",
        "vision_encoder/config.json",
        "vision_encoder/*.safetensors",
    ),
    optional_files=("tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json"),
    non_commercial=True,
)

BACKENDS = (
    BackendFacts(
        name="qwen-multicamera",
        capability="object-views",
        rank=2,
        family="model",
        implementation=f"{_PACKAGE}.qwen_multicamera:load_qwen_multicamera",
        notes="Painted by Qwen-Image-Edit-2511 with weights for camera angles: sides that the photo does not show are "
        "invented.",
        weights={"2511": (QWEN_2511, ANGLES_LORA), "2511-4bit": (QWEN_2511_4BIT, ANGLES_LORA)},
        device="cuda",
        gpu_memory_gib=QWEN_BF16,
        gpu_memory_by={name: memory for name, memory in QWEN_MEMORY.items() if name != "4bit"},
        precisions=QWEN_PRECISIONS,
        offload_modes=("none", "model"),
        image="diffusion",
        extra="diffusion",
        options={
            "compile": ("none", "blocks"),
            "begin": ("eager", "compiled"),
            "steps": (),
            "guidance": (),
            "strength": (),
        },
    ),
    BackendFacts(
        name="zero123",
        capability="object-views",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.zero123:load_zero123",
        notes="Painted by Zero123++ 1.2, six sides at once at 320 pixels: sides that the photo does not show are "
        "invented.",
        weights={"v1.2": (ZERO123,)},
        device="cuda",
        gpu_memory_gib=8.0,
        gpu_memory_by={"fp32": 14.0},
        precisions=("fp16", "bf16", "fp32"),
        image="diffusion",
        extra="diffusion",
        options={"steps": (), "guidance": ()},
    ),
)
