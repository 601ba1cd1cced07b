"""Backends of ``fix``."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_PIPELINE = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/*",
)
_SD_TURBO = Weights(
    id="stabilityai/sd-turbo",
    licence="sai-nc-community",
    licence_url="https://huggingface.co/stabilityai/sd-turbo/blob/main/LICENSE.md",
    approximate_bytes=5_200_000_000,
    required_files=_PIPELINE,
    non_commercial=True,
)


def _released(name: str) -> tuple[Weights, ...]:
    """A fixer by NVIDIA, fine-tuned from SD-Turbo, whose licence also applies."""
    weights = Weights(
        id=f"nvidia/{name}",
        licence="nvidia-difix",
        licence_url=f"https://huggingface.co/nvidia/{name}/blob/main/LICENSE.txt",
        approximate_bytes=5_200_000_000,
        required_files=_PIPELINE,
        non_commercial=True,
    )
    return (weights,)


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
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.fix.difix:load_difix",
        notes="SD-Turbo that a TuningRun tuned in the manner of DiFix, or DiFix as released: it may invent what "
        "neither picture shows.",
        weights={"sd-turbo": (_SD_TURBO,), "difix": _released("difix"), "difix_ref": _released("difix_ref")},
        device="cuda",
        gpu_memory_gib=40.0,
        image="diffusion",
        extra="diffusion",
        options={"checkpoint": ()},
    ),
)
