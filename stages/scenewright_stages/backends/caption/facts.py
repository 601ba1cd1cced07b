"""Backends of ``caption``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_PACKAGE = "scenewright_stages.backends.caption"


def _qwen_vl(name: str, size: int) -> tuple[Weights, ...]:
    weights = Weights(
        id=f"Qwen/{name}",
        licence="apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        approximate_bytes=size,
        required_files=("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json"),
        optional_files=("preprocessor_config.json", "generation_config.json", "chat_template.json", "vocab.json"),
    )
    return (weights,)


BACKENDS = (
    BackendFacts(
        name="classic",
        capability="caption",
        family="classic",
        implementation=f"{_PACKAGE}.interface:KnownLightCaption",
        notes="Said from the light that was put on, not seen in the picture.",
        evidence="prior",
    ),
    BackendFacts(
        name="qwen-vl",
        capability="caption",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.qwen_vl:load_qwen_vl",
        notes="Written by a vision-language model that looks at the picture; it may be wrong about the light.",
        weights={
            "7b": _qwen_vl("Qwen2.5-VL-7B-Instruct", 16_600_000_000),
            "4b": _qwen_vl("Qwen3-VL-4B-Instruct", 8_900_000_000),
        },
        device="cuda",
        # The repositories have 2 bytes per weight, like bf16 (the default); fp32 needs 4. The rest is for an image and
        # its answer.
        gpu_memory_gib=24.0,
        gpu_memory_by={"7b fp32": 36.0, "4b fp32": 22.0, "4b": 14.0},
        precisions=("fp32", "fp16", "bf16"),
        image="perception",
        extra="diffusion",
        options={"tokens": ()},
    ),
)
