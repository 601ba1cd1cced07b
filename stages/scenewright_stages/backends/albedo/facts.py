"""Backends of ``albedo``. Licences, sizes and file names as the model cards and repositories state them.

IntrinsicAnything publishes its weights in a Space without a licence for them: the tag ``intrinsic-anything-unstated``
has to be accepted by name. Sizes are those of the required files only.
"""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_HUB = "https://huggingface.co"
_PACKAGE = "scenewright_stages.backends.albedo"
_PRECISIONS = ("fp32", "fp16", "bf16")

INTRINSIC_ANYTHING = Weights(
    id="LittleFrog/IntrinsicAnything",
    licence="intrinsic-anything-unstated",
    licence_url=f"{_HUB}/spaces/LittleFrog/IntrinsicAnything",
    approximate_bytes=15_000_000_000,
    required_files=("weights/albedo/checkpoints/last.ckpt",),
    optional_files=("weights/albedo/configs/albedo_project.yaml",),
    non_commercial=True,
    repository_type="space",
)


def marigold_weights(name: str) -> tuple[Weights, ...]:
    """A Marigold pipeline, which also estimates normals."""
    weights = Weights(
        id=f"prs-eth/{name}",
        licence="openrail++",
        licence_url=f"{_HUB}/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
        approximate_bytes=5_200_000_000,
        required_files=(
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/*.safetensors",
            "tokenizer/*",
            "unet/config.json",
            "unet/*.safetensors",
            "vae/config.json",
            "vae/*.safetensors",
        ),
    )
    return (weights,)


BACKENDS = (
    BackendFacts(
        name="classic",
        capability="albedo",
        family="classic",
        implementation=f"{_PACKAGE}.interface:ClassicAlbedo",
        notes="Colour Retinex in the gradient domain: slow changes of brightness count as light, jumps of brightness "
        "or chromaticity as albedo.",
        evidence="prior",
        options={"chroma_edge": (), "brightness_edge": ()},
    ),
    BackendFacts(
        name="retinex",
        capability="albedo",
        family="classic",
        implementation=f"{_PACKAGE}.interface:ClassicAlbedo",
        notes="Multi-scale Retinex with colour balance: level and contrast are normalised, not measured.",
        evidence="prior",
        options={"scales": (), "chroma": ("keep", "original")},
    ),
    BackendFacts(
        name="lab",
        capability="albedo",
        family="classic",
        implementation=f"{_PACKAGE}.interface:ClassicAlbedo",
        notes="Lightness divided by its own smooth part: different greys come out alike.",
        evidence="prior",
    ),
    BackendFacts(
        name="marigold-iid",
        capability="albedo",
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.marigold:load_marigold_albedo",
        notes="Estimated by Marigold's intrinsic image decomposition, a generative model.",
        weights={
            "appearance": marigold_weights("marigold-iid-appearance-v1-1"),
            "lighting": marigold_weights("marigold-iid-lighting-v1-1"),
        },
        device="cuda",
        gpu_memory_gib=12.0,
        precisions=_PRECISIONS,
        image="diffusion",
        extra="diffusion",
        options={"batch": (), "steps": (), "resolution": ()},
    ),
    BackendFacts(
        name="intrinsic-anything",
        capability="albedo",
        family="model",
        implementation=f"{_PACKAGE}.intrinsic_anything.estimator:load_intrinsic_anything",
        notes="Estimated by IntrinsicAnything, a generative model for objects on white, at 256 pixels; its colours are "
        "brought to full size along the photograph's edges.",
        weights={"albedo": (INTRINSIC_ANYTHING,)},
        device="cuda",
        gpu_memory_gib=16.0,
        precisions=_PRECISIONS,
        image="diffusion",
        extra="diffusion",
        options={"batch": (), "steps": (), "guidance": ()},
    ),
)
