"""Backends of ``locate``. Licences, sizes and file names as the model cards and repositories state them."""

from __future__ import annotations

from scenewright_stages.contract.backends import BackendFacts, Weights

_PACKAGE = "scenewright_stages.backends.locate"
_PRECISIONS = ("fp32", "fp16", "bf16")
_MEMORY = {"vit-h": 8.0, "vit-l": 6.0, "vit-b": 4.0}


def _sam(name: str, size: int) -> tuple[Weights, ...]:
    weights = Weights(
        id=f"facebook/sam-vit-{name}",
        licence="apache-2.0",
        licence_url="https://www.apache.org/licenses/LICENSE-2.0",
        approximate_bytes=size,
        required_files=("config.json", "*.safetensors"),
        optional_files=("preprocessor_config.json",),
    )
    return (weights,)


_VARIANTS = {
    "vit-h": _sam("huge", 2_600_000_000),
    "vit-l": _sam("large", 1_200_000_000),
    "vit-b": _sam("base", 380_000_000),
}

BACKENDS = (
    BackendFacts(
        name="match",
        capability="locate",
        family="classic",
        implementation=f"{_PACKAGE}.interface:MatchLocator",
        notes="Found by edges, colours and local features of the object's photo, then cut out (GrabCut).",
        evidence="prior",
        options={"threshold": ()},
    ),
    BackendFacts(
        name="persam",
        capability="locate",
        rank=2,
        family="model",
        implementation=f"{_PACKAGE}.persam:load_persam",
        notes="Segmented by PerSAM: SAM, guided by the features of the object's photo; nothing is trained.",
        weights=_VARIANTS,
        device="cuda",
        gpu_memory_gib=_MEMORY["vit-h"],
        gpu_memory_by=_MEMORY,
        precisions=_PRECISIONS,
        image="perception",
        extra="diffusion",
        options={"threshold": ()},
    ),
    BackendFacts(
        name="persam-f",
        capability="locate",
        rank=1,
        family="model",
        implementation=f"{_PACKAGE}.persam:load_persam_f",
        notes="Segmented by PerSAM-F: SAM, with two weights of its mask sizes fitted to the object's photo.",
        weights=_VARIANTS,
        device="cuda",
        gpu_memory_gib=_MEMORY["vit-h"],
        gpu_memory_by=_MEMORY,
        precisions=_PRECISIONS,
        image="perception",
        extra="diffusion",
        options={"threshold": (), "learning_rate": (), "epochs": (), "log_epochs": ()},
    ),
)
