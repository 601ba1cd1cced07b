"""The table of backends that relight people. Licences, sizes and file names as the model cards state them.

SAM 3's licence allows commercial use with named exceptions and its weights are gated. IntrinsicAnything publishes its
weights in a Space without a licence for them: the tag ``intrinsic-anything-unstated`` has to be accepted by name.
"""

from __future__ import annotations

from scenewright_stages.models.specs import BackendSpec, Weights

_HUB = "https://huggingface.co"
_APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
_OPEN_RAIL = "https://huggingface.co/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL"
_PACKAGE = "scenewright_stages.models"
_PRECISIONS = ("precision", ("fp32", "fp16", "bf16"))
_BATCH = ("batch", ())

SAM3 = Weights(
    variant="default",
    id="facebook/sam3",
    licence="sam-license",
    licence_url=f"{_HUB}/facebook/sam3/blob/main/LICENSE",
    approximate_bytes=3_400_000_000,
    required_files=("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json"),
    optional_files=("processor_config.json", "preprocessor_config.json"),
    gated=True,
)


def _sam2(variant: str, size: int) -> Weights:
    return Weights(
        variant=variant,
        id=f"facebook/sam2.1-hiera-{variant}",
        licence="apache-2.0",
        licence_url=_APACHE,
        approximate_bytes=size,
        required_files=("config.json", "*.safetensors"),
        optional_files=("processor_config.json", "preprocessor_config.json"),
    )


def _marigold(variant: str, name: str) -> Weights:
    return Weights(
        variant=variant,
        id=f"prs-eth/{name}",
        licence="openrail++",
        licence_url=_OPEN_RAIL,
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


INTRINSIC_ANYTHING = Weights(
    variant="albedo",
    id="LittleFrog/IntrinsicAnything",
    licence="intrinsic-anything-unstated",
    licence_url=f"{_HUB}/spaces/LittleFrog/IntrinsicAnything",
    approximate_bytes=15_000_000_000,
    required_files=("weights/albedo/checkpoints/last.ckpt",),
    optional_files=("weights/albedo/configs/albedo_project.yaml",),
    non_commercial=True,
    repository_type="space",
)


def _dpt(variant: str, name: str, licence: str, size: int) -> Weights:
    return Weights(
        variant=variant,
        id=f"Intel/{name}",
        licence=licence,
        licence_url=_APACHE,
        approximate_bytes=size,
        required_files=("config.json", "*.safetensors"),
        optional_files=("preprocessor_config.json",),
    )


def _qwen_vl(variant: str, name: str, size: int) -> Weights:
    return Weights(
        variant=variant,
        id=f"Qwen/{name}",
        licence="apache-2.0",
        licence_url=_APACHE,
        approximate_bytes=size,
        required_files=("config.json", "*.safetensors", "tokenizer.json", "tokenizer_config.json"),
        optional_files=("preprocessor_config.json", "generation_config.json", "chat_template.json", "vocab.json"),
    )


_SEGMENT = (
    BackendSpec(
        name="classic",
        capability="segment",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:ClassicSegmenter",
        notes="The person with the clearest upright face, or the one in a given box, by shape, colour and a graph cut; "
        "what is held in front is left out where its colours differ.",
    ),
    BackendSpec(
        name="mask",
        capability="segment",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:SuppliedMask",
        notes="The mask that lies beside the image; nothing is estimated.",
    ),
    BackendSpec(
        name="sam3",
        capability="segment",
        family="model",
        implementation=f"{_PACKAGE}.sam3:load_sam3",
        notes="Segmented by SAM 3 from a text prompt: the best scored instance, or the one that fits a given box.",
        weights=(SAM3,),
        device="cuda",
        gpu_memory_gib=12.0,
        extra="diffusion",
        options=(_PRECISIONS, _BATCH, ("threshold", ())),
    ),
    BackendSpec(
        name="sam2",
        capability="segment",
        family="model",
        implementation=f"{_PACKAGE}.sam2:load_sam2",
        notes="Segmented by SAM 2.1 from a box: the given one, or head and shoulders around the clearest face. It "
        "understands no text.",
        weights=(
            _sam2("large", 900_000_000),
            _sam2("base-plus", 324_000_000),
            _sam2("small", 184_000_000),
            _sam2("tiny", 156_000_000),
        ),
        device="cuda",
        gpu_memory_gib=8.0,
        extra="diffusion",
        options=(_PRECISIONS, _BATCH, ("threshold", ()), ("without_face", ("reject", "centre"))),
    ),
)

_ALBEDO = (
    BackendSpec(
        name="classic",
        capability="albedo",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:ClassicAlbedo",
        notes="Colour Retinex in the gradient domain: slow changes of brightness count as light, jumps of brightness "
        "or chromaticity as albedo.",
        options=(("chroma_edge", ()), ("brightness_edge", ())),
    ),
    BackendSpec(
        name="retinex",
        capability="albedo",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:ClassicAlbedo",
        notes="Multi-scale Retinex with colour balance: level and contrast are normalised, not measured.",
        options=(("scales", ()),),
    ),
    BackendSpec(
        name="lab",
        capability="albedo",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:ClassicAlbedo",
        notes="Lightness divided by its own smooth part: different greys come out alike.",
    ),
    BackendSpec(
        name="marigold-iid",
        capability="albedo",
        family="model",
        implementation=f"{_PACKAGE}.marigold:load_marigold_albedo",
        notes="Estimated by Marigold's intrinsic image decomposition, a generative model.",
        weights=(
            _marigold("appearance", "marigold-iid-appearance-v1-1"),
            _marigold("lighting", "marigold-iid-lighting-v1-1"),
        ),
        device="cuda",
        gpu_memory_gib=12.0,
        extra="diffusion",
        options=(_PRECISIONS, _BATCH, ("steps", ()), ("resolution", ())),
    ),
    BackendSpec(
        name="intrinsic-anything",
        capability="albedo",
        family="model",
        implementation=f"{_PACKAGE}.intrinsic_anything.estimator:load_intrinsic_anything",
        notes="Estimated by IntrinsicAnything, a generative model for objects on white, at 256 pixels; its colours are "
        "brought to full size along the photograph's edges.",
        weights=(INTRINSIC_ANYTHING,),
        device="cuda",
        gpu_memory_gib=16.0,
        extra="diffusion",
        options=(_PRECISIONS, _BATCH, ("steps", ()), ("guidance", ())),
    ),
)

_NORMALS = (
    BackendSpec(
        name="classic",
        capability="normals",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:ClassicNormals",
        notes="Not measured: the silhouette blown up like a cushion, with the picture's brightness as relief.",
        options=(("detail", ()),),
    ),
    BackendSpec(
        name="dpt",
        capability="normals",
        family="model",
        implementation=f"{_PACKAGE}.dpt:load_dpt",
        notes="Gradients of MiDaS' relative depth; how deep the relief is stays an assumption.",
        weights=(
            _dpt("large", "dpt-large", "apache-2.0", 1_370_000_000),
            _dpt("hybrid-midas", "dpt-hybrid-midas", "apache-2.0", 490_000_000),
        ),
        device="cuda",
        gpu_memory_gib=6.0,
        extra="diffusion",
        options=(_PRECISIONS, _BATCH, ("relief", ())),
    ),
    BackendSpec(
        name="marigold-normals",
        capability="normals",
        family="model",
        implementation=f"{_PACKAGE}.marigold:load_marigold_normals",
        notes="Estimated by Marigold, a generative model.",
        weights=(_marigold("v1-1", "marigold-normals-v1-1"), _marigold("lcm-v0-1", "marigold-normals-lcm-v0-1")),
        device="cuda",
        gpu_memory_gib=12.0,
        extra="diffusion",
        options=(_PRECISIONS, _BATCH, ("steps", ()), ("resolution", ())),
    ),
)

_CAPTION = (
    BackendSpec(
        name="classic",
        capability="caption",
        family="classic",
        implementation=f"{_PACKAGE}.relight_classic:KnownLightCaption",
        notes="Said from the light that was put on, not seen in the picture.",
    ),
    BackendSpec(
        name="qwen-vl",
        capability="caption",
        family="model",
        implementation=f"{_PACKAGE}.qwen_vl:load_qwen_vl",
        notes="Written by a vision-language model that looks at the picture; it may be wrong about the light.",
        weights=(
            _qwen_vl("7b", "Qwen2.5-VL-7B-Instruct", 16_600_000_000),
            _qwen_vl("4b", "Qwen3-VL-4B-Instruct", 8_900_000_000),
        ),
        device="cuda",
        gpu_memory_gib=24.0,
        extra="diffusion",
        options=(_PRECISIONS, ("tokens", ())),
    ),
)

RELIGHT_BACKENDS: tuple[BackendSpec, ...] = (*_SEGMENT, *_ALBEDO, *_NORMALS, *_CAPTION)
