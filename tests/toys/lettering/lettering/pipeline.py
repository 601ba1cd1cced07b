"""The training run as data: one stage of two processes over a published data set."""

from __future__ import annotations

from pydantic import Field

from scenewright_stages.contract.outputs import ArrayContract, OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import NamedInput, Pipeline, Resources, StagePod, StageSpec


class LetteringParams(Params):
    """Learns how often the cards of a data set use each letter."""

    album: str = Field(min_length=1, max_length=63, description="DatasetJob whose album says which cards count.")
    steps: int = Field(default=8, ge=1, le=10_000, description="Steps of the training.")
    interval: int = Field(default=2, ge=1, le=10_000, description="Steps after which state is saved.")
    rate: float = Field(default=0.5, gt=0.0, le=1.0, description="How far a step goes towards the measured letters.")
    seconds: float = Field(default=0.0, ge=0.0, le=60.0, description="How long a step takes at least.")


def inputs(params: LetteringParams) -> tuple[NamedInput, ...]:
    """The album of the data set, beside the data set itself."""
    return (NamedInput("album", kind="DatasetJob", object=params.album, chosen="album", field="album"),)


def stages(params: LetteringParams) -> tuple[StageSpec, ...]:
    """fit, of the single sample of a TuningRun."""
    letters = ArrayContract("letters", "float64", 1, minimum=0.0, maximum=1.0)
    return (
        StageSpec(
            name="fit",
            title="Learn the letters",
            version=1,
            implementation=f"{__package__}.fitting:Fit",
            reads=(),
            outputs=(
                OutputContract("weights", "weights.safetensors", "safetensors", arrays=(letters,)),
                OutputContract("history", "history.json", "json", json_keys=("losses",)),
            ),
            parameters=("steps", "rate"),
            inputs=("dataset", "album"),
            keeps_state=True,
            pod=StagePod(processes=2, resources=Resources(cpu=2.0, memory_gib=2.0, scratch_gib=1.0)),
        ),
    )


PIPELINE = Pipeline(
    name="lettering",
    kind="TuningRun",
    params=LetteringParams,
    stages=stages,
    inputs=inputs,
    chosen=f"{__package__}.fitting:chosen_files",
    examples=({"album": "cards"},),
)
