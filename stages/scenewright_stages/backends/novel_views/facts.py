"""Backends of ``novel-views``. Licences, sizes and file names as the model cards and repositories state them.

SEVA runs with the autoencoder of Stable Diffusion 2.1 base, whose own repository was withdrawn, and with CLIP ViT-H.
"""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_HUB = "https://huggingface.co"

SEVA = Weights(
    id="stabilityai/stable-virtual-camera",
    licence="stabilityai-ai-non-commercial",
    licence_url=f"{_HUB}/stabilityai/stable-virtual-camera/blob/main/LICENSE",
    approximate_bytes=2_500_000_000,
    required_files=("modelv1.1.safetensors",),
    non_commercial=True,
    gated=True,
)
AUTOENCODER = Weights(
    id="Manojb/stable-diffusion-2-1-base",
    licence="openrail++",
    licence_url=f"{_HUB}/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
    approximate_bytes=330_000_000,
    required_files=("vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
)
CLIP = Weights(
    id="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    licence="mit",
    licence_url=f"{_HUB}/laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    approximate_bytes=3_900_000_000,
    required_files=("config.json", "model.safetensors"),
)

BACKENDS = (
    BackendFacts(
        name="seva",
        capability="novel-views",
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.novel_views.seva.engine:load_seva",
        notes="Drawn by SEVA 1.1 (Stable Virtual Camera), a generative model: what no input shows is invented.",
        weights={"1.1": (SEVA, AUTOENCODER, CLIP)},
        device="cuda",
        measured="0.23 s a step of 21 frames",
        gpu_memory_gib=24.0,
        precisions=("fp16", "bf16", "fp32"),
        image="diffusion",
        extra="diffusion",
        options={"compile": ("none", "network"), "begin": ("eager", "compiled")},
    ),
)
