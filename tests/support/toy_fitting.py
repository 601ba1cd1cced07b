"""Pipelines with named inputs, for tests of plans: nothing of them is ever run."""

from __future__ import annotations

from dataclasses import replace

from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, NamedInput, Pipeline, Read, Resources, StagePod, StageSpec


class FittingParams(Params):
    """A checkpoint by the run that made it, or by its place."""

    tuning_run: str = ""
    checkpoint_uri: str = ""


def _inputs(params: FittingParams) -> tuple[NamedInput, ...]:
    by_name = bool(params.tuning_run)
    if not by_name and not params.checkpoint_uri:
        return ()
    return (
        NamedInput(
            "checkpoint",
            uri=params.checkpoint_uri,
            kind="TuningRun" if by_name else "",
            object=params.tuning_run,
            chosen="best" if by_name else "",
            include=("*.pt",),
            field="tuningRun" if by_name else "checkpointUri",
        ),
    )


def _stages(params: FittingParams) -> tuple[StageSpec, ...]:
    fit = StageSpec("fit", 1, "m:C", (Read(INPUT),), (), inputs=("checkpoint",))
    return fit, replace(fit, name="apart", inputs=())


FITTING = Pipeline("fitting", "SceneJob", FittingParams, _stages, InputKind(suffixes=(".png",)), inputs=_inputs)


class TuningParams(Params):
    """How the model is tuned: processes that work together, and whether each has a GPU."""

    processes: int = 1
    on_gpu: bool = False


def _tuning_stages(params: TuningParams) -> tuple[StageSpec, ...]:
    fit = StageSpec(
        "fit",
        1,
        "m:C",
        (),
        (),
        inputs=("dataset",),
        keeps_state=True,
        pod=StagePod(processes=params.processes, resources=Resources(gpus=int(params.on_gpu))),
    )
    return fit, StageSpec("evaluate", 1, "m:C", (Read("fit"),), (), inputs=("dataset",))


TUNING = Pipeline("tuning", "TuningRun", TuningParams, _tuning_stages)


class PairsParams(Params):
    """Nothing to choose."""


PAIRS = Pipeline(
    "pairs",
    "DatasetJob",
    PairsParams,
    lambda _: (StageSpec("pair", 1, "m:C", (Read(INPUT),), ()),),
    InputKind(suffixes=(".png",)),
    hosts=("tuning_runs/",),
)


FITTED_PAIRS = replace(FITTING, name="pairs", kind="DatasetJob")
"""A data set that needs a tuned checkpoint."""
