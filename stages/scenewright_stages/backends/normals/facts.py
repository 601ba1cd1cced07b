"""Backends of ``normals``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.backends.albedo.facts import marigold_weights
from scenewright_stages.backends.segment.facts import FACE_DETECTION, mediapipe_weights
from scenewright_stages.contract.backends import BackendFacts, Weights

_PACKAGE = "scenewright_stages.backends.normals"
_PRECISIONS = ("fp32", "fp16", "bf16")


def _dpt(name: str, size: int) -> tuple[Weights, ...]:
    weights = Weights(
        id=f"Intel/{name}",
        licence="apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        approximate_bytes=size,
        required_files=("config.json", "*.safetensors"),
        optional_files=("preprocessor_config.json",),
    )
    return (weights,)


BACKENDS = (
    BackendFacts(
        name="classic",
        capability="normals",
        family="classic",
        implementation=f"{_PACKAGE}.interface:ClassicNormals",
        notes="Not measured: the silhouette blown up like a cushion, with the picture's brightness as relief.",
        evidence="prior",
        options={"detail": ()},
    ),
    BackendFacts(
        name="face-mesh",
        capability="normals",
        family="classic",
        implementation=f"{_PACKAGE}.interface:FaceMeshNormals",
        notes="Faces by MediaPipe's mesh, estimated; all else as classic: not measured.",
        bundled=(FACE_DETECTION, mediapipe_weights("face_mesh", "0.4.1657299874", 1_200_000)),
        options={"detail": ()},
    ),
    BackendFacts(
        name="dpt",
        capability="normals",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.dpt:load_dpt",
        notes="Gradients of MiDaS' relative depth; how deep the relief is stays an assumption.",
        weights={
            "large": _dpt("dpt-large", 1_370_000_000),
            "hybrid-midas": _dpt("dpt-hybrid-midas", 490_000_000),
        },
        device="cuda",
        gpu_memory_gib=6.0,
        precisions=_PRECISIONS,
        image="perception",
        extra="diffusion",
        options={"batch": (), "relief": ()},
    ),
    BackendFacts(
        name="marigold-normals",
        capability="normals",
        rank=2,
        family="model",
        implementation="scenewright_stages.backends.marigold:load_marigold_normals",
        notes="Estimated by Marigold, a generative model.",
        weights={
            "v1-1": marigold_weights("marigold-normals-v1-1"),
            "lcm-v0-1": marigold_weights("marigold-normals-lcm-v0-1"),
        },
        device="cuda",
        gpu_memory_gib=12.0,
        precisions=_PRECISIONS,
        image="diffusion",
        extra="diffusion",
        options={"batch": (), "steps": (), "resolution": ()},
    ),
)
