"""Backends of ``text-to-image``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.backends.inpaint.facts import KLEIN_4B, KLEIN_BF16, KLEIN_MEMORY
from scenewright_stages.contract.backends import BackendFacts, Weights

_HUB = "https://huggingface.co"

FLUX = Weights(
    id="black-forest-labs/FLUX.1-dev",
    licence="flux-1-dev-non-commercial",
    licence_url=f"{_HUB}/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    approximate_bytes=34_000_000_000,
    required_files=(
        "model_index.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/*.safetensors",
        "vae/config.json",
        "vae/*.safetensors",
        "text_encoder/*",
        "text_encoder_2/*",
        "tokenizer/*",
        "tokenizer_2/*",
    ),
    non_commercial=True,
    gated=True,
)

BACKENDS = (
    BackendFacts(
        name="flux",
        capability="text-to-image",
        rank=2,
        family="model",
        implementation="scenewright_stages.backends.text_to_image.flux:load_flux",
        notes="The picture is invented by FLUX.1 [dev], a generative model, from its text alone.",
        weights={"dev": (FLUX,)},
        device="cuda",
        # 22.4 GiB of weights, plus both text encoders (9.5 GiB) while a text is encoded.
        gpu_memory_gib=34.0,
        gpu_memory_by={"fp32": 68.0},
        precisions=("bf16", "fp32"),
        image="diffusion",
        extra="diffusion",
        options={"steps": (), "guidance": ()},
    ),
    BackendFacts(
        name="flux2-klein",
        capability="text-to-image",
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.text_to_image.flux2_klein:load_flux2_klein",
        notes="The picture is invented by FLUX.2 klein, a generative model, from its text alone.",
        weights={"4b": (KLEIN_4B,)},
        device="cuda",
        gpu_memory_gib=KLEIN_BF16,
        gpu_memory_by={"fp32": KLEIN_MEMORY["fp32"]},
        precisions=("bf16", "fp32"),
        image="diffusion",
        extra="diffusion",
        options={"steps": ()},
    ),
)
