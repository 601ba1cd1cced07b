"""The table of backends. Licences, sizes and file names as the model cards and repositories state them.

Sizes are those of the required files only. A licence tag is the one on the model card; Depth Pro's
(``apple-amlr``) allows research only, Depth Anything V2 is Apache-2.0 in its small size alone.
"""

from __future__ import annotations

from scenewright_stages.models.relight_catalogue import RELIGHT_BACKENDS
from scenewright_stages.models.specs import BackendSpec, Capability, Weights

_HUB = "https://huggingface.co"
_APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
_CC_BY_NC = "https://creativecommons.org/licenses/by-nc/4.0/"
_PACKAGE = "scenewright_stages.models"

FLUX_FILL = Weights(
    variant="dev",
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

_CHECKPOINT_FILES = ("config.json", "*.safetensors")


def _depth_anything(variant: str, name: str, size: int, permissive: bool) -> Weights:
    return Weights(
        variant=variant,
        id=f"depth-anything/{name}",
        licence="apache-2.0" if permissive else "cc-by-nc-4.0",
        licence_url=_APACHE if permissive else _CC_BY_NC,
        approximate_bytes=size,
        required_files=_CHECKPOINT_FILES,
        optional_files=("preprocessor_config.json",),
        non_commercial=not permissive,
    )


def _depth_anything_family() -> tuple[Weights, ...]:
    sizes = (("small", 99_000_000), ("base", 390_000_000), ("large", 1_300_000_000))
    kinds = (("", ""), ("metric-indoor-", "Metric-Indoor-"), ("metric-outdoor-", "Metric-Outdoor-"))
    return tuple(
        _depth_anything(
            f"{prefix}{size}", f"Depth-Anything-V2-{infix}{size.title()}-hf", size_bytes, permissive=size == "small"
        )
        for prefix, infix in kinds
        for size, size_bytes in sizes
    )


def _moge(variant: str, name: str, size: int) -> Weights:
    return Weights(
        variant=variant,
        id=f"Ruicheng/{name}",
        licence="mit",
        licence_url="https://github.com/microsoft/MoGe/blob/main/LICENSE",
        approximate_bytes=size,
        required_files=("model.pt",),
    )


DEPTH_PRO = Weights(
    variant="default",
    id="apple/DepthPro-hf",
    licence="apple-amlr",
    licence_url=f"{_HUB}/apple/DepthPro-hf/blob/main/LICENSE",
    approximate_bytes=1_900_000_000,
    required_files=_CHECKPOINT_FILES,
    optional_files=("preprocessor_config.json",),
    non_commercial=True,
)


def _classic_fill(capability: Capability) -> BackendSpec:
    return BackendSpec(
        name="classic",
        capability=capability,
        family="classic",
        implementation=f"{_PACKAGE}.classic:ClassicInpainter",
        notes="Texture is copied from the same image by PatchMatch and blended; no new content is invented.",
    )


def _flux_fill(capability: Capability) -> BackendSpec:
    return BackendSpec(
        name="flux-fill",
        capability=capability,
        family="model",
        implementation=f"{_PACKAGE}.flux_fill:load_flux_fill",
        notes="Filled pixels are invented by a generative model; known pixels are the input's own.",
        weights=(FLUX_FILL,),
        device="cuda",
        gpu_memory_gib=28.0,
        extra="diffusion",
        options=(
            ("precision", ("bf16", "fp8", "fp32")),
            ("compile", ("none", "blocks")),
            ("offload", ("none", "model")),
            ("steps", ()),
            ("guidance", ()),
        ),
    )


BACKENDS: tuple[BackendSpec, ...] = (
    _classic_fill("outpaint"),
    _flux_fill("outpaint"),
    _classic_fill("inpaint"),
    _flux_fill("inpaint"),
    BackendSpec(
        name="classic",
        capability="depth",
        family="classic",
        implementation=f"{_PACKAGE}.classic:ClassicDepth",
        notes="A prior, not a measurement: ground ramp, saliency and haze; scale and far:near are assumed.",
        options=(("far_near_ratio", ()), ("near_metres", ())),
    ),
    BackendSpec(
        name="provided",
        capability="depth",
        family="classic",
        implementation=f"{_PACKAGE}.classic:ProvidedDepth",
        notes="The depth or disparity map that lies beside the image, resampled; nothing is estimated.",
    ),
    BackendSpec(
        name="depth-pro",
        capability="depth",
        family="model",
        implementation=f"{_PACKAGE}.depth_pro:load_depth_pro",
        notes="Metric depth and field of view estimated by Depth Pro; unseen scale is the model's guess.",
        weights=(DEPTH_PRO,),
        device="cuda",
        gpu_memory_gib=8.0,
        extra="diffusion",
        options=(("precision", ("fp32", "fp16", "bf16")),),
    ),
    BackendSpec(
        name="depth-anything",
        capability="depth",
        family="model",
        implementation=f"{_PACKAGE}.depth_anything:load_depth_anything",
        notes="Estimated by Depth Anything V2; the metric variants give metres, the relative ones inverse "
        "depth that is spread over an assumed near-to-far range.",
        weights=_depth_anything_family(),
        device="cuda",
        gpu_memory_gib=4.0,
        extra="diffusion",
        options=(("precision", ("fp32", "fp16", "bf16")), ("near_metres", ()), ("far_metres", ())),
    ),
    BackendSpec(
        name="moge",
        capability="depth",
        family="model",
        implementation=f"{_PACKAGE}.moge.estimator:load_moge",
        notes="Estimated by MoGe with its own focal length; version 2 is metric, version 1 up to one scale. "
        "Pixels outside its mask (sky) are invalid.",
        weights=(
            _moge("vitl", "moge-vitl", 1_260_000_000),
            _moge("2-vitl", "moge-2-vitl", 1_310_000_000),
            _moge("2-vitl-normal", "moge-2-vitl-normal", 1_330_000_000),
            _moge("2-vitb-normal", "moge-2-vitb-normal", 420_000_000),
            _moge("2-vits-normal", "moge-2-vits-normal", 140_000_000),
        ),
        device="cuda",
        gpu_memory_gib=6.0,
        extra="stages",
        options=(("precision", ("fp32", "fp16", "bf16")), ("resolution_level", ())),
    ),
    *RELIGHT_BACKENDS,
)
