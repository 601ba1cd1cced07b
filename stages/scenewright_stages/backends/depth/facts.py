"""Backends of ``depth``. Licences, sizes and file names as the model cards and repositories state them.

Depth Pro's licence (``apple-amlr``) allows research only; Depth Anything V2 is Apache-2.0 in its small size alone.
Sizes are those of the required files only.
"""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, DepthTraits, Weights

_APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
_CC_BY_NC = "https://creativecommons.org/licenses/by-nc/4.0/"
_PACKAGE = "scenewright_stages.backends.depth"
_CHECKPOINT_FILES = ("config.json", "*.safetensors")
_PRECISIONS = ("fp32", "fp16", "bf16")

DEPTH_PRO = Weights(
    id="apple/DepthPro-hf",
    licence="apple-amlr",
    licence_url="https://huggingface.co/apple/DepthPro-hf/blob/main/LICENSE",
    approximate_bytes=1_900_000_000,
    required_files=_CHECKPOINT_FILES,
    optional_files=("preprocessor_config.json",),
    non_commercial=True,
)


def _depth_anything(name: str, size: int, permissive: bool) -> Weights:
    return Weights(
        id=f"depth-anything/{name}",
        licence="apache-2.0" if permissive else "cc-by-nc-4.0",
        licence_url=_APACHE if permissive else _CC_BY_NC,
        approximate_bytes=size,
        required_files=_CHECKPOINT_FILES,
        optional_files=("preprocessor_config.json",),
        non_commercial=not permissive,
    )


def _depth_anything_family() -> dict[str, tuple[Weights, ...]]:
    sizes = (("small", 99_000_000), ("base", 390_000_000), ("large", 1_300_000_000))
    kinds = (("", ""), ("metric-indoor-", "Metric-Indoor-"), ("metric-outdoor-", "Metric-Outdoor-"))
    return {
        f"{prefix}{size}": (
            _depth_anything(f"Depth-Anything-V2-{infix}{size.title()}-hf", size_bytes, permissive=size == "small"),
        )
        for prefix, infix in kinds
        for size, size_bytes in sizes
    }


def _depth_anything_3(name: str, size: int, permissive: bool = True) -> Weights:
    return Weights(
        id=f"depth-anything/{name}",
        licence="apache-2.0" if permissive else "cc-by-nc-4.0",
        licence_url=_APACHE if permissive else _CC_BY_NC,
        approximate_bytes=size,
        required_files=("model.safetensors",),
        optional_files=("config.json",),
        non_commercial=not permissive,
    )


_DA3_BASE = _depth_anything_3("DA3-BASE", 540_000_000)


def _moge(name: str, size: int) -> tuple[Weights, ...]:
    weights = Weights(
        id=f"Ruicheng/{name}",
        licence="mit",
        licence_url="https://github.com/microsoft/MoGe/blob/main/LICENSE",
        approximate_bytes=size,
        required_files=("model.pt",),
    )
    return (weights,)


BACKENDS = (
    BackendFacts(
        name="classic",
        capability="depth",
        family="classic",
        implementation=f"{_PACKAGE}.classic:ClassicDepth",
        notes="A prior, not a measurement: ground ramp, saliency and haze; scale and far:near are assumed.",
        evidence="prior",
        depth=DepthTraits("relative", predicts_new_views=False, assumes_field_of_view=True),
        options={"far_near_ratio": (), "near_metres": ()},
    ),
    BackendFacts(
        name="provided",
        capability="depth",
        family="classic",
        implementation=f"{_PACKAGE}.classic:ProvidedDepth",
        notes="The depth or disparity map that lies beside the image, resampled; nothing is estimated.",
        evidence="measured",
        reads="depth",
        depth=DepthTraits("metric", marks_sky=True, predicts_new_views=False),
    ),
    BackendFacts(
        name="depth-pro",
        capability="depth",
        family="model",
        implementation=f"{_PACKAGE}.depth_pro:load_depth_pro",
        notes="Metric depth and field of view estimated by Depth Pro; unseen scale is the model's guess.",
        depth=DepthTraits("metric", marks_sky=True),
        weights={"default": (DEPTH_PRO,)},
        device="cuda",
        gpu_memory_gib=8.0,
        precisions=_PRECISIONS,
        image="perception",
        extra="diffusion",
    ),
    BackendFacts(
        name="depth-anything",
        capability="depth",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.depth_anything:load_depth_anything",
        notes="Estimated by Depth Anything V2; the metric variants give metres, the relative ones inverse "
        "depth that is spread over an assumed near-to-far range.",
        depth=DepthTraits("relative"),
        # Metric variants end at 20 m indoors, where sky looks like a wall, and at 80 m outdoors.
        depth_by={
            name: DepthTraits("metric", marks_sky=name.startswith("metric-outdoor-"))
            for name in _depth_anything_family()
            if name.startswith("metric-")
        },
        weights=_depth_anything_family(),
        device="cuda",
        gpu_memory_gib=4.0,
        precisions=_PRECISIONS,
        image="perception",
        extra="diffusion",
        options={"near_metres": (), "far_near_ratio": ()},
    ),
    BackendFacts(
        name="depth-anything-3",
        capability="depth",
        rank=2,
        best_variant="metric-large",
        family="model",
        implementation=f"{_PACKAGE}.da3.estimator:load_depth_anything_3",
        notes="Estimated by Depth Anything 3: metric-large in metres, mono-large up to scale and shift, the others up "
        "to one scale. Sky that metric-large and mono-large mark is invalid.",
        depth=DepthTraits("unknown"),
        depth_by={
            "metric-large": DepthTraits("metric", marks_sky=True),
            "mono-large": DepthTraits("relative", marks_sky=True),
        },
        weights={
            "base": (_DA3_BASE,),
            "small": (_depth_anything_3("DA3-SMALL", 140_000_000),),
            "large": (_depth_anything_3("DA3-LARGE-1.1", 1_600_000_000, permissive=False),),
            # The metric network knows no focal length: where none is given, the base network estimates it.
            "metric-large": (_depth_anything_3("DA3METRIC-LARGE", 1_300_000_000), _DA3_BASE),
            "mono-large": (_depth_anything_3("DA3MONO-LARGE", 1_300_000_000),),
        },
        device="cuda",
        gpu_memory_gib=4.0,
        gpu_memory_by={"metric-large": 6.0, "large": 5.0, "mono-large": 5.0},
        precisions=_PRECISIONS,
        image="perception",
        extra="stages",
        options={"resolution": (), "near_metres": (), "far_near_ratio": ()},
    ),
    BackendFacts(
        name="moge",
        capability="depth",
        rank=3,
        best_variant="2-vitl",
        family="model",
        implementation=f"{_PACKAGE}.moge.estimator:load_moge",
        notes="Estimated by MoGe with its own focal length; version 2 is metric, version 1 up to one scale. "
        "Pixels outside its mask (sky) are invalid.",
        depth=DepthTraits("metric", marks_sky=True),
        depth_by={"vitl": DepthTraits("unknown", marks_sky=True)},
        weights={
            "vitl": _moge("moge-vitl", 1_260_000_000),
            "2-vitl": _moge("moge-2-vitl", 1_310_000_000),
            "2-vitl-normal": _moge("moge-2-vitl-normal", 1_330_000_000),
            "2-vitb-normal": _moge("moge-2-vitb-normal", 420_000_000),
            "2-vits-normal": _moge("moge-2-vits-normal", 140_000_000),
        },
        device="cuda",
        gpu_memory_gib=6.0,
        precisions=_PRECISIONS,
        image="perception",
        extra="stages",
        options={"resolution_level": ()},
    ),
)
