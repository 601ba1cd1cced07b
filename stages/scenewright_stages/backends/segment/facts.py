"""Backends of ``segment``. Licences, sizes and file names as the model cards and repositories state them.

SAM 3's licence allows commercial use with named exceptions, and its weights are gated. Sizes are those of the required
files only.
"""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_PACKAGE = "scenewright_stages.backends.segment"
_PRECISIONS = ("fp32", "fp16", "bf16")

SAM3 = Weights(
    id="facebook/sam3",
    licence="sam-license",
    licence_url="https://huggingface.co/facebook/sam3/blob/main/LICENSE",
    approximate_bytes=3_400_000_000,
    required_files=("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json"),
    optional_files=("processor_config.json", "preprocessor_config.json"),
    gated=True,
)


def mediapipe_weights(package: str, version: str, size: int) -> Weights:
    """A model of MediaPipe as its npm package holds it; tools/people_models installs the same versions."""
    return Weights(
        id=f"@mediapipe/{package}",
        revision=version,
        licence="apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        approximate_bytes=size,
        required_files=("*.tflite",),
    )


FACE_DETECTION = mediapipe_weights("face_detection", "0.4.1657300184", 1_100_000)
SELFIE_SEGMENTATION = mediapipe_weights("selfie_segmentation", "0.1.1675465747", 500_000)


def _sam2(variant: str, size: int) -> tuple[Weights, ...]:
    weights = Weights(
        id=f"facebook/sam2.1-hiera-{variant}",
        licence="apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        approximate_bytes=size,
        required_files=(f"sam2.1_hiera_{variant.replace('-', '_')}.pt",),
    )
    return (weights,)


BACKENDS = (
    BackendFacts(
        name="classic",
        capability="segment",
        family="classic",
        implementation=f"{_PACKAGE}.interface:ClassicSegmenter",
        notes="The person with the clearest upright face, or the one in a given box, by shape, colour and a graph cut; "
        "what is held in front is left out where its colours differ.",
        evidence="prior",
    ),
    BackendFacts(
        name="selfie",
        capability="segment",
        family="classic",
        implementation=f"{_PACKAGE}.interface:SelfieSegmenter",
        notes="Everybody in the picture, with what they wear and hold, by MediaPipe's small models where they see a "
        "face; else as classic.",
        bundled=(FACE_DETECTION, SELFIE_SEGMENTATION),
        options={"people": ("all", "largest"), "held": ()},
    ),
    BackendFacts(
        name="mask",
        capability="segment",
        family="classic",
        implementation=f"{_PACKAGE}.interface:SuppliedMask",
        notes="The mask that lies beside the image; nothing is estimated.",
        evidence="measured",
        reads="mask",
    ),
    BackendFacts(
        name="sam3",
        capability="segment",
        rank=2,
        family="model",
        implementation=f"{_PACKAGE}.sam3:load_sam3",
        notes="Segmented by SAM 3 from a text prompt: the best scored instance, all or the largest of them, or the one "
        "that fits a given box.",
        weights={"default": (SAM3,)},
        device="cuda",
        gpu_memory_gib=12.0,
        precisions=_PRECISIONS,
        image="perception",
        extra="diffusion",
        options={"batch": (), "threshold": (), "people": ("all", "largest")},
    ),
    BackendFacts(
        name="sam2",
        capability="segment",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.sam2:load_sam2",
        notes="Segmented by SAM 2.1 from a box: the given one, or head and shoulders around the clearest face. It "
        "understands no text.",
        weights={
            "large": _sam2("large", 900_000_000),
            "base-plus": _sam2("base-plus", 324_000_000),
            "small": _sam2("small", 184_000_000),
            "tiny": _sam2("tiny", 156_000_000),
        },
        device="cuda",
        gpu_memory_gib=8.0,
        precisions=_PRECISIONS,
        image="perception",
        extra="sam2",
        options={"batch": (), "threshold": (), "without_face": ("reject", "centre")},
    ),
)
