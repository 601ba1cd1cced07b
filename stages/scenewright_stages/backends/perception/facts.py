"""Backends of ``perception``."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_VGG = Weights(
    id="timm/vgg16.tv_in1k",
    licence="bsd-3-clause",
    licence_url="https://github.com/pytorch/vision/blob/main/LICENSE",
    approximate_bytes=550_000_000,
    required_files=("model.safetensors",),
)
_LPIPS = Weights(
    id="richzhang/PerceptualSimilarity",
    licence="bsd-2-clause",
    licence_url="https://github.com/richzhang/PerceptualSimilarity/blob/master/LICENSE",
    approximate_bytes=6_000,
    required_files=(),
    revision="v0.1",
)

BACKENDS = (
    BackendFacts(
        name="lpips-vgg",
        capability="perception",
        family="model",
        implementation="scenewright_stages.backends.perception.lpips:load_lpips",
        notes="LPIPS 0.1 and Gram matrices on VGG-16, which was trained on ImageNet; the five layers of LPIPS are part "
        "of the installation.",
        weights={"vgg16": (_VGG,)},
        bundled=(_LPIPS,),
        device="cuda",
        gpu_memory_gib=4.0,
        image="gaussians",
        options={"compile": ("none", "network")},
    ),
)
