"""A pipeline of three GPU stages, for tests in which Pods are simulated: nothing of it is ever run."""

from __future__ import annotations

from pydantic import Field

from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, Resources, StagePod, StageSpec

STAGES = ("paint", "shape", "polish")


class GpuChainParams(Params):
    """Of the pipeline; each stage has its own number, so that an edit reruns from there."""

    paint: int = Field(default=0, ge=0)
    shape: int = Field(default=0, ge=0)
    polish: int = Field(default=0, ge=0)


def stages(params: GpuChainParams) -> tuple[StageSpec, ...]:
    """paint -> shape -> polish."""
    return tuple(
        StageSpec(
            name=name,
            version=1,
            implementation="gpu_chain_pipeline:Nothing",
            reads=(Read(STAGES[position - 1] if position else INPUT),),
            outputs=(OutputContract("result", f"{{sample}}/{name}.json", "json"),),
            parameters=(name,),
            pod=StagePod(resources=Resources(gpus=1)),
        )
        for position, name in enumerate(STAGES)
    )


PIPELINE = Pipeline(
    name="gpuChain", kind="SceneJob", params=GpuChainParams, input=InputKind(suffixes=(".png",)), stages=stages
)
