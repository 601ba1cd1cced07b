"""Backends of ``similarity``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

CLIP_B16 = Weights(
    id="openai/clip-vit-base-patch16",
    licence="mit",
    licence_url="https://github.com/openai/CLIP/blob/main/LICENSE",
    approximate_bytes=600_000_000,
    # The repository has no safetensors; the file is opened as tensors and plain values only.
    required_files=("config.json", "pytorch_model.bin", "vocab.json", "merges.txt"),
)

BACKENDS = (
    BackendFacts(
        name="clip",
        capability="similarity",
        family="model",
        implementation="scenewright_stages.backends.similarity.clip:load_clip",
        notes="Rated by CLIP ViT-B/16: a high rating means that a picture suits a text, not that it is sound.",
        weights={"vit-b-16": (CLIP_B16,)},
        image="perception",
        extra="diffusion",
    ),
)
