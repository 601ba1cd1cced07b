"""Backends of ``geometry``. Licences, sizes and file names as the model cards and repositories state them.

Both sets of VGGT's weights hold the same network. The commercial one excludes military use, and its licence must be
accepted by name.
"""

from __future__ import annotations

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

BACKENDS = (
    BackendFacts(
        name="vggt",
        capability="geometry",
        rank=1,
        family="model",
        implementation="scenewright_stages.backends.geometry.vggt.engine:load_vggt",
        notes="Cameras and depth of all pictures together, estimated by VGGT-1B up to one scale.",
        weights={"commercial": (COMMERCIAL,), "research": (RESEARCH,)},
        device="cuda",
        gpu_memory_gib=24.0,
        precisions=("bf16", "fp16", "fp32"),
        image="perception",
        extra="stages",
    ),
)
