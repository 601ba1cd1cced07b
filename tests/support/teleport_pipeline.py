"""A pipeline with a capability and a backend of its own, which needs two sets of weights at once."""

from __future__ import annotations

from pydantic import Field

from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.contract.backends import BackendFacts, Weights
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, InputKind, Pipeline, Read, StageModels, StageSpec

SENDER = Weights("lab/sender", "lab-a", "https://example.org/a", 10, ("model.safetensors",), revision="v1", gated=True)
RECEIVER = Weights("lab/receiver", "lab-b", "https://example.org/b", 20, ("model.safetensors",))
PAIR = BackendFacts(
    name="pair",
    capability="teleport",
    family="model",
    implementation="teleport_pipeline:Pair",
    notes="Made up.",
    weights={"default": (SENDER, RECEIVER), "receiver-alone": (RECEIVER,)},
    device="cuda",
    gpu_memory_gib=7.0,
    gpu_memory_by={"receiver-alone": 3.0},
)
WALK = BackendFacts(
    name="walk",
    capability="teleport",
    family="classic",
    implementation="teleport_pipeline:Pair",
    notes="The long way round.",
)


class Pair(WeightlessBackend):
    """Keeps where its weights lie."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self.folders = request.folders


class TeleportParams(Params):
    """Which backends may teleport."""

    backend: str = "pair"
    backends: list[str] = Field(default=[], max_length=4)
    variant: str = ""


def stages(params: TeleportParams) -> tuple[StageSpec, ...]:
    """A single stage."""
    first, *others = params.backends or [params.backend]
    return (
        StageSpec(
            name="go",
            version=1,
            implementation="teleport_pipeline:GoStage",
            reads=(Read(INPUT),),
            outputs=(OutputContract("note", "{sample}/note.txt", "text"),),
            models=StageModels(
                backends={"teleport": first},
                alternatives={"teleport": tuple(others)},
                backend_parameters={"teleport": "backend"},
            ),
        ),
    )


PIPELINE = Pipeline(
    name="teleport",
    kind="SceneJob",
    params=TeleportParams,
    input=InputKind(suffixes=(".txt",)),
    stages=stages,
    backends=(PAIR, WALK),
)
