"""Backends of ``fix``."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_SD_TURBO = Weights(
    id="stabilityai/sd-turbo",
    licence="sai-nc-community",
    licence_url="https://huggingface.co/stabilityai/sd-turbo/blob/main/LICENSE.md",
    approximate_bytes=5_200_000_000,
    required_files=(
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/*",
    ),
    non_commercial=True,
)

BACKENDS = (
    BackendFacts(
        name="classic",
        capability="fix",
        family="classic",
        implementation="scenewright_stages.backends.fix.classic:ClassicFixer",
        notes="A small network that a TuningRun trained from scratch on pairs of artefact and photograph; it invents "
        "nothing that neither the render nor the reference shows.",
        options={"checkpoint": ()},
    ),
    BackendFacts(
        name="difix",
        capability="fix",
        family="model",
        implementation="scenewright_stages.backends.fix.difix:load_difix",
        notes="SD-Turbo that a TuningRun tuned in the manner of DiFix: it may invent what neither picture shows.",
        weights={"sd-turbo": (_SD_TURBO,)},
        device="cuda",
        gpu_memory_gib=40.0,
        extra="diffusion",
        options={"checkpoint": ()},
    ),
)
