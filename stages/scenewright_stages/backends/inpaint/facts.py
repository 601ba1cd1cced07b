"""Backends of ``inpaint`` and ``outpaint``.

Licences, sizes and file names as the model cards and repositories state them; sizes are those of the required files.
"""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_HUB = "https://huggingface.co"
_PACKAGE = "scenewright_stages.backends.inpaint"

FLUX_FILL = Weights(
    id="black-forest-labs/FLUX.1-Fill-dev",
    licence="flux-1-dev-non-commercial",
    licence_url=f"{_HUB}/black-forest-labs/FLUX.1-Fill-dev/blob/main/LICENSE.md",
    approximate_bytes=24_000_000_000,
    required_files=(
        "model_index.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        "transformer/*.safetensors",
        "vae/config.json",
        "vae/*.safetensors",
    ),
    optional_files=("text_encoder/*", "text_encoder_2/*", "tokenizer/*", "tokenizer_2/*"),
    non_commercial=True,
    gated=True,
)

KLEIN_4B = Weights(
    # The 9B model is under a non-commercial licence and is not offered.
    id="black-forest-labs/FLUX.2-klein-4B",
    licence="apache-2.0",
    licence_url=f"{_HUB}/black-forest-labs/FLUX.2-klein-4B/blob/main/LICENSE.md",
    approximate_bytes=16_000_000_000,
    required_files=(
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/*.safetensors",
        "tokenizer/tokenizer_config.json",
        "tokenizer/*",
        "transformer/config.json",
        "transformer/*.safetensors",
        "vae/config.json",
        "vae/*.safetensors",
    ),
)

KLEIN_BF16 = 20.0
"""An estimate: 7.4 GiB of weights in bf16, 7.5 more while the text encoder encodes a new prompt, and working memory for
a megapixel with its reference."""
KLEIN_MEMORY = {"fp8": 16.0, "fp32": 40.0}

SD2_INPAINTING = Weights(
    # A mirror, because the authors' repository was withdrawn in November 2025.
    id="sd2-community/stable-diffusion-2-inpainting",
    licence="openrail++",
    licence_url=f"{_HUB}/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
    approximate_bytes=5_200_000_000,
    required_files=(
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/*",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ),
)


def _classic_fill(capability: str) -> BackendFacts:
    return BackendFacts(
        name="classic",
        capability=capability,
        family="classic",
        implementation=f"{_PACKAGE}.interface:ClassicInpainter",
        notes="Texture is copied from the same image by PatchMatch and blended; no new content is invented.",
        evidence="prior",
    )


def _flux_fill(capability: str) -> BackendFacts:
    return BackendFacts(
        name="flux-fill",
        capability=capability,
        rank=3,
        family="model",
        implementation=f"{_PACKAGE}.flux_fill:load_flux_fill",
        notes="Filled pixels are invented by a generative model; known pixels are the input's own.",
        weights={"dev": (FLUX_FILL,)},
        device="cuda",
        # Measured peaks of a fill (docs/benchmarks.md) are 24 GiB in bf16 and 15 in fp8, without text encoders. A new
        # prompt puts both encoders (9.5 GiB, bf16) beside the resident weights (22.4 and 11.4 GiB) for a moment.
        measured="2.4 s a fill of 800²",
        gpu_memory_gib=34.0,
        gpu_memory_by={"fp8": 24.0, "fp32": 68.0},
        precisions=("bf16", "fp8", "fp32"),
        offload_modes=("none", "model"),
        image="diffusion",
        extra="diffusion",
        options={"compile": ("none", "blocks"), "begin": ("eager", "compiled"), "steps": (), "guidance": ()},
    )


def _flux2_klein(capability: str) -> BackendFacts:
    return BackendFacts(
        name="flux2-klein",
        capability=capability,
        rank=2,
        family="model",
        implementation=f"{_PACKAGE}.flux2_klein:load_flux2_klein",
        notes="Filled pixels are invented by FLUX.2 klein, a generative model, at a megapixel at most; known pixels "
        "are the input's own.",
        weights={"4b": (KLEIN_4B,)},
        device="cuda",
        measured="0.54 s a fill of 800²",
        gpu_memory_gib=KLEIN_BF16,
        gpu_memory_by=KLEIN_MEMORY,
        precisions=("bf16", "fp8", "fp32"),
        offload_modes=("none", "model"),
        image="diffusion",
        extra="diffusion",
        options={"compile": ("none", "blocks"), "begin": ("eager", "compiled"), "steps": ()},
    )


def _sd2_inpaint() -> BackendFacts:
    return BackendFacts(
        name="sd2-inpaint",
        capability="inpaint",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.sd2:load_sd2",
        notes="Filled pixels are invented by Stable Diffusion 2 Inpainting; known pixels are the input's own.",
        weights={"2": (SD2_INPAINTING,)},
        device="cuda",
        gpu_memory_gib=6.0,
        gpu_memory_by={"fp32": 10.0},
        precisions=("fp16", "fp32"),
        image="diffusion",
        extra="diffusion",
        options={"steps": (), "guidance": (), "negative": ()},
    )


BACKENDS = (
    _classic_fill("inpaint"),
    _flux_fill("inpaint"),
    _flux2_klein("inpaint"),
    _sd2_inpaint(),
    _classic_fill("outpaint"),
    _flux_fill("outpaint"),
    _flux2_klein("outpaint"),
)
