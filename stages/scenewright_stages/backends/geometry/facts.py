"""Backends of ``geometry``. Licences, sizes and file names as the model cards and repositories state them.

Both sets of weights of a model hold the same network. VGGT's commercial one excludes military use, and its licence must
be accepted by name.
"""

from __future__ import annotations

from dataclasses import replace

from scenewright_stages.contract.backends import BackendFacts, Weights

_HUB = "https://huggingface.co"

COMMERCIAL = Weights(
    id="facebook/VGGT-1B-Commercial",
    licence="vggt-aup-license",
    licence_url=f"{_HUB}/facebook/VGGT-1B-Commercial/blob/main/LICENSE",
    approximate_bytes=5_026_367_224,
    required_files=("model.safetensors",),
    gated=True,
)
RESEARCH = Weights(
    id="facebook/VGGT-1B",
    licence="cc-by-nc-4.0",
    licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
    approximate_bytes=5_026_367_224,
    required_files=("model.safetensors",),
    non_commercial=True,
)
MAP_ANYTHING = Weights(
    id="facebook/map-anything-apache",
    licence="apache-2.0",
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    approximate_bytes=4_914_000_000,
    required_files=("model.safetensors",),
)
MAP_ANYTHING_RESEARCH = replace(
    MAP_ANYTHING,
    id="facebook/map-anything",
    licence="cc-by-nc-4.0",
    licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
    non_commercial=True,
)

BACKENDS = (
    BackendFacts(
        name="map-anything",
        capability="geometry",
        rank=2,
        family="model",
        implementation="scenewright_stages.backends.geometry.map_anything.estimator:load_map_anything",
        notes="Cameras and depth of all pictures together, estimated by MapAnything in metres.",
        weights={"commercial": (MAP_ANYTHING,), "research": (MAP_ANYTHING_RESEARCH,)},
        device="cuda",
        # An estimate: 4.6 GiB of weights in fp32, and working memory as VGGT's for as many tokens.
        gpu_memory_gib=24.0,
        precisions=("bf16", "fp16", "fp32"),
        image="perception",
        extra="stages",
    ),
    BackendFacts(
        name="vggt",
        capability="geometry",
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.geometry.vggt.engine:load_vggt",
        notes="Cameras and depth of all pictures together, estimated by VGGT-1B up to one scale.",
        weights={"commercial": (COMMERCIAL,), "research": (RESEARCH,)},
        device="cuda",
        measured="2.7 s for 64 pictures",
        gpu_memory_gib=24.0,
        precisions=("bf16", "fp16", "fp32"),
        image="perception",
        extra="stages",
    ),
)
